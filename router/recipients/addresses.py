"""Which addresses of a person a sink can use, and what a well-formed address looks like."""

from __future__ import annotations

import re

from router.messages.model import Target
from router.messages.outcome import Reason
from router.recipients.model import Recipient

UNREACHABLE = "unreachable"

_ATOM = r"""[^\s@<>,;:"()\[\]\\\x00-\x1f\x7f]"""
_SHAPES = {
    "email": (re.compile(f"{_ATOM}{{1,64}}@{_ATOM}+"), 254),
    "telegram": (re.compile(r"-?\d{1,20}|@[A-Za-z]\w{3,31}", re.ASCII), 64),
    "max": (re.compile(r"-?\d{1,20}", re.ASCII), 64),
    "device": (re.compile(r"[\x21-\x7e]+"), 4096),
}
_OTHER = (re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]+"), 2048)


def is_address(address: str, kind: str) -> bool:
    """The text has the shape of such an address; nobody is asked whether it exists.

    In particular it has no line ends, so that it can stand in a header.
    """
    shape, longest = _SHAPES.get(kind, _OTHER)
    return len(address) <= longest and shape.fullmatch(address) is not None


def targets(recipient: Recipient, address_kind: str) -> tuple[Target, ...]:
    """Where a sink of this address kind reaches the person; none means unreachable.

    Addresses of the wrong shape are left out, repeats too. ``any`` is the first address there
    is, at last the bare id; ``request`` needs none.
    """
    if address_kind == "request":
        return (Target("", "request"),)
    if address_kind == "any":
        return _any(recipient)
    found: dict[str, Target] = {}
    for target in _candidates(recipient, address_kind):
        if is_address(target.address, address_kind):
            found.setdefault(target.address, target)
    return tuple(found.values())


def why_unreachable(recipient: Recipient, address_kind: str) -> Reason | None:
    """The reason where :func:`targets` finds none; None where it finds some."""
    if targets(recipient, address_kind):
        return None
    if _candidates(recipient, address_kind):
        return Reason(UNREACHABLE, f"no {address_kind} address of a valid shape")
    return Reason(UNREACHABLE, f"no {address_kind} address")


def _any(recipient: Recipient) -> tuple[Target, ...]:
    for kind in ("email", "telegram", "max", "device"):
        if found := targets(recipient, kind):
            return found[:1]
    return (Target(recipient.id, "any"),) if is_address(recipient.id, "any") else ()


def _candidates(recipient: Recipient, kind: str) -> list[Target]:
    match kind:
        case "email":
            addresses: list[object] = [recipient.email]
        case "telegram":
            addresses = [recipient.telegram]
        case "max":
            addresses = [recipient.max]
        case "device":
            return [
                Target(
                    d.token,
                    "device",
                    d.registered_at,
                    d.platform,
                    d.environment,
                    None if d.id == d.token else d.id,
                )
                for d in recipient.devices
            ]
        case _:
            value = recipient.attributes.get(kind)
            addresses = list(value) if isinstance(value, list | tuple) else [value]
    return [Target(text, kind) for text in map(_address_text, addresses) if text]


def _address_text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None
