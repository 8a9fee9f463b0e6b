"""Idempotency keys: what makes a delivery the same delivery, whatever the order of the YAML."""

from __future__ import annotations

from hashlib import blake2b

_VERSION = b"\x00\x00\x00\x02v1"


def _hash(parts: tuple[str, ...]) -> bytes:
    pieces = [_VERSION]
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        pieces += (len(raw).to_bytes(4, "big"), raw)
    return blake2b(b"".join(pieces), digest_size=16).digest()


def delivery_key(
    *,
    tenant: str,
    identity: str,
    route: str,
    step: str,
    recipient: str,
    endpoint: str,
    part: str = "",
) -> bytes:
    """16 bytes over length-prefixed parts: stable names only, never positions in a file.

    ``identity`` is the event's, ``endpoint`` the device or address in a fan-out, ``part`` the
    piece of a split message.
    """
    return _hash((tenant, identity, route, step, recipient, endpoint, part))


def family_key(*, tenant: str, identity: str, route: str, step: str, recipient: str) -> bytes:
    """16 bytes that all devices of one person share for one event and step."""
    return _hash(("family", tenant, identity, route, step, recipient))


def derived_key(key: bytes, purpose: str) -> bytes:
    """16 bytes for a row that belongs to another: its dead letter, its feedback."""
    return _hash((purpose, key.hex()))


def record_hash(position: str, timestamp: float) -> bytes:
    """16 bytes that tell one record from another of the same identity."""
    return _hash(("record", position, repr(timestamp)))
