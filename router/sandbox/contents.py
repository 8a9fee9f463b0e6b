"""What the inbox page shows inside one entry, read out of what came over the wire."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson

from router.messages import Channel
from router.sandbox.record import Received

_LONGEST_SHOWN = 40_000
_LONGEST_VALUE = 300
_OF_THE_PROTOCOL = frozenset({"time", "distinct_id", "$insert_id", "token"})
_PLATFORM = re.compile(r"\b(android|ios|web)\b")
_PLATFORMS = {"android": "Android", "ios": "iOS", "web": "Web"}
# Browsers connect ahead for these, before they ask whether a policy allows it.
_CONNECTING = re.compile(
    r"(?P<open></?)(?=(?:iframe|frame|frameset|fencedframe|object|embed|portal|link)\b)",
    re.IGNORECASE,
)
_FORM = re.compile(r"[\w.%+*-]+=[^&\s]*(&[\w.%+*-]+=[^&\s]*)*")


@dataclass(frozen=True, slots=True)
class Property:
    """A named value of an analytics event or a profile; ``how`` is the operation on a profile."""

    name: str
    value: str
    how: str = ""


def is_profile(entry: Received) -> bool:
    """Whether it changes a profile, rather than tells what happened."""
    return entry.channel is Channel.ANALYTICS and entry.details.get("kind") == "profile"


def headline(entry: Received) -> str:
    """What an entry says, in a line: its title, what it changes of a profile, or its first line."""
    if is_profile(entry):
        changes = (f"{p.name} {p.value}".rstrip() for p in properties(entry))
        return f"profile: {', '.join(changes)}"
    lines = (line.strip() for line in entry.text.splitlines())
    return entry.title or next((line for line in lines if line), "")


def properties(entry: Received) -> Sequence[Property]:
    """An event's properties, or what becomes of a profile's; not those that every event has."""
    how = entry.title if is_profile(entry) else ""
    match _json(entry.text):
        case dict(fields):
            return [Property(n, _shown(v), how) for n, v in _named(fields)]
        case list(operations):
            return list(_operations(operations, how))
        case _:
            return []


def _operations(operations: Sequence[Any], how: str) -> Iterator[Property]:
    for operation in operations:
        match operation:
            case {"op": str(op), "key": str(key)}:
                yield Property(key, _shown(operation.get("value")), op)
            case str(name):
                yield Property(name, "", how)
            case _:
                yield Property("", _shown(operation), how)


def _named(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in fields.items() if name not in _OF_THE_PROTOCOL)


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def platform(entry: Received, address: str) -> str:
    """A push's platform, as far as the service or the address says."""
    if entry.provider.startswith("apns"):
        return "iOS"
    found = _PLATFORM.search(address)
    return _PLATFORMS[found[1]] if found else ""


def body(entry: Received) -> str:
    """The bytes as people like to read them: JSON indented, forms a field a line."""
    text = entry.raw.decode("utf-8", "replace")
    match _json(text):
        case dict() | list() as value:
            text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
        case _ if _FORM.fullmatch(text):
            text = "\n".join(f"{name} = {value}" for name, value in parse_qsl(text, True))
        case _:
            pass
    if len(text) <= _LONGEST_SHOWN:
        return text
    return f"{text[:_LONGEST_SHOWN]}\n… {len(text) - _LONGEST_SHOWN} characters more"


def framed_html(mail: Received) -> str:
    """A mail's HTML without elements that reach out whatever the policy says, and with links that
    open elsewhere."""
    return _CONNECTING.sub(r"\g<open>x-", mail.html or "") + '\n<base target="_blank">'


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
