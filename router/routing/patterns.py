"""Text patterns and networks that a condition holds: regular expressions, globs, CIDR blocks.

Everything runs in time linear in the text (RE2), so that no event can stall the router.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final, Self

import re2

_MAX_PATTERN_BYTES: Final = 2 << 20
_LONGEST_ADDRESS: Final = 64


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression or glob; equal if its text and kind are.

    Attributes:
        text: As written.
        kind: ``regex`` (found anywhere) or ``glob`` (the whole text).
    """

    text: str
    kind: str
    _compiled: Any = field(compare=False, repr=False)

    @classmethod
    def regex(cls, text: str) -> Self:
        """Raises:
        ValueError: RE2 does not take it; the message says what to write.
        """
        return cls(text, "regex", _compile(text))

    @classmethod
    def glob(cls, text: str) -> Self:
        """``*`` any text, ``?`` one character, ``[a-z]`` and ``[!a-z]`` one of a set.

        Raises:
            ValueError: a ``[`` has no ``]``, or the set is not one.
        """
        return cls(text, "glob", _compile(_glob_regex(text)))

    def found_in(self, text: str) -> bool:
        """False also for text that is not valid Unicode (a lone surrogate)."""
        try:
            encoded = text.encode()
        except UnicodeEncodeError:
            return False
        return self._compiled.search(encoded) is not None


@dataclass(frozen=True, slots=True)
class Networks:
    """Address blocks, IPv4 and IPv6."""

    blocks: tuple[IPv4Network | IPv6Network, ...]

    def contain(self, text: str) -> bool:
        """The text is an address in one of them; ``::ffff:10.0.0.1`` is 10.0.0.1."""
        if len(text) > _LONGEST_ADDRESS:
            return False
        try:
            address: IPv4Address | IPv6Address = ip_address(text)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in block for block in self.blocks)


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """A block such as ``10.0.0.0/8``, or a single address.

    Raises:
        ValueError: it is neither; the message says what to write.
    """
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        wider = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f'not an address or network: "{text}"; write 10.0.0.0/8, 2001:db8::/32 or one address'
        ) from None
    raise ValueError(f'not a network: "{text}" has bits beyond its length; write {wider}')


def _compile(text: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MAX_PATTERN_BYTES
    try:
        return re2.compile(text, options)
    except re2.error as error:
        cause: Any = error.args[0]
        reason = cause.decode("utf-8", "replace") if isinstance(cause, bytes) else str(cause)
    except UnicodeEncodeError:
        reason = "it is not valid Unicode"
    raise ValueError(f"{reason}{_advice(reason)}")


def _advice(reason: str) -> str:
    if "(?" in reason:
        return (
            ". Look-around is not supported, since it can't run in linear time; "
            "combine several conditions instead"
        )
    if re.search(r"\\\d", reason):
        return ". Back-references are not supported, since they can't run in linear time"
    if r"\Z" in reason:
        return r". Write \z for the end of the text"
    if "repetition" in reason:
        return ". Possessive and very large repetitions are not supported"
    return ""


def _glob_regex(glob: str) -> str:
    parts: list[str] = []
    at = 0
    while at < len(glob):
        character = glob[at]
        at += 1
        if character == "*":
            parts.append(".*")
        elif character == "?":
            parts.append(".")
        elif character == "[":
            end = glob.find("]", at + (2 if glob[at : at + 1] == "!" else 1))
            if end < 0:
                raise ValueError('"[" has no "]"; for the character itself write [[]')
            parts.append(_glob_set(glob[at:end]))
            at = end + 1
        else:
            parts.append(re2.escape(character))
    return rf"(?s)\A(?:{''.join(parts)})\z"


def _glob_set(inside: str) -> str:
    negated = inside.startswith("!")
    members = inside[1:] if negated else inside
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", members)
    return f"[{'^' if negated else ''}{escaped}]"
