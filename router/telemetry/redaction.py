"""Keeps secrets and personal data out of whatever is written for people to read."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import fields, is_dataclass
from typing import Any, Final, final
from urllib.parse import quote

from pydantic import BaseModel

from router.values import Secret

MASK: Final = "***"

_SHORTEST_SECRET = 6
_PATTERNS: Final = (
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "<email>"),
    (re.compile(r"/bot\d+:[\w-]+"), "/bot***"),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]+", re.IGNORECASE), r"\1 ***"),
    (re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"), MASK),
)
_PRIVATE_FIELDS: Final = frozenset(
    {"address", "authorization", "chat_id", "email", "password", "phone", "secret", "token"}
)
_RECIPIENT_FIELDS: Final = frozenset({"recipient", "recipient_id"})
_HASH = re.compile(r"[0-9a-f]{16}")


@final
class RecipientHash:
    """Shows a recipient as a keyed hash: the same person, the same 16 hex digits, no way back."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.blake2b(key, digest_size=32).digest()

    def __call__(self, recipient_id: str) -> str:
        return hashlib.blake2b(recipient_id.encode(), key=self._key, digest_size=8).hexdigest()


recipient_hash: Final = RecipientHash(secrets.token_bytes(32))
"""With a key of this process alone."""


def people_hash(key: Secret | None) -> RecipientHash:
    """With the configured key, or this process's own."""
    return recipient_hash if key is None else RecipientHash(key.reveal().encode())


@final
class Redactor:
    """Scrubs known secrets, and what looks like personal data, from text and fields.

    A last defence: nothing should get this far. Secrets shorter than six characters are not
    searched for, since they would blot out ordinary words.

    Args:
        people: Shows recipients' ids.
    """

    def __init__(
        self, known: Iterable[Secret] = (), *, people: RecipientHash = recipient_hash
    ) -> None:
        self._people = people
        self._spellings: set[str] = set()
        self._known: re.Pattern[str] | None = None
        self.learn(known)

    def learn(self, known: Iterable[Secret]) -> None:
        """Scrubs these from now on, too: as they are, URL-encoded and JSON-escaped."""
        for secret in known:
            if secret.known and len(value := secret.reveal()) >= _SHORTEST_SECRET:
                self._spellings |= _spellings(value)
        if self._spellings:
            longest_first = sorted(self._spellings, key=len, reverse=True)
            self._known = re.compile("|".join(map(re.escape, longest_first)))

    def text(self, text: str) -> str:
        """The text without secrets and personal data."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def value(self, value: object) -> Any:
        """A JSON-ready copy: text scrubbed, fields with private names masked, the rest as text."""
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return self.text(value)
            case Mapping():
                return self.fields(value)
            case bytes() | bytearray():
                return f"<{len(value)} bytes>"
            case list() | tuple() | set() | frozenset():
                return [self.value(item) for item in value]
            case _:
                return self.text(str(value))

    def fields(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        """Named values, scrubbed: private ones masked whole, recipients' ids as their hash."""
        return {str(name): self._field(str(name).lower(), value) for name, value in values.items()}

    def _field(self, name: str, value: object) -> Any:
        if name in _PRIVATE_FIELDS:
            return MASK
        if name in _RECIPIENT_FIELDS and isinstance(value, str) and not _HASH.fullmatch(value):
            return self._people(value)
        return self.value(value)


def _spellings(value: str) -> set[str]:
    return {
        value,
        quote(value, safe=""),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
    }


def secrets_in(value: object) -> Iterator[Secret]:
    """Every secret inside configuration models, dataclasses, mappings and sequences."""
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_in(getattr(value, name))
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from secrets_in(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from secrets_in(item)
    elif isinstance(value, list | tuple | Set):
        for item in value:
            yield from secrets_in(item)
