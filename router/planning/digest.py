"""From the events that a digest has collected to the one event that tells of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from router.events import Collected, Event, TopicPartition

MOST_SHOWN: Final = 100
"""So many events a template can go through; it knows the number of all."""
_IDENTITY: Final = "digest:"


@dataclass(frozen=True, slots=True)
class Told:
    """An event of a digest.

    Attributes:
        key: 16 bytes, of the member.
        item: The element of ``each`` that names the person in this event, or None.
    """

    key: bytes
    event: Event
    item: Any = None


def digest_event(
    key: bytes, members: Sequence[Told], count: int | None = None
) -> tuple[Event, Any]:
    """The event that stands for a digest, and its item: the newest one, as the digest's own.

    Of events of one time the later record is the newer one.

    Its identity is the digest's, whichever of the members are left: a digest that is flushed
    twice is told of once.

    Args:
        key: 16 bytes, of the digest.
        members: At least one, in any order.
        count: How many there were, where not all are there any more.
    """
    told = sorted(members, key=_age)
    newest = told[-1]
    shown = tuple((member.event, member.item) for member in told[:MOST_SHOWN])
    collected = Collected(len(told) if count is None else count, shown)
    event = replace(newest.event, identity=_IDENTITY + key.hex(), collected=collected)
    return event, newest.item


def is_of_digest(identity: str) -> bool:
    """Whether an event's identity is that of a digest."""
    return identity.startswith(_IDENTITY)


def digest_key_of(identity: str) -> bytes:
    """The key of the digest that an event of this identity stands for."""
    return bytes.fromhex(identity.removeprefix(_IDENTITY))


def _age(member: Told) -> tuple[float, TopicPartition, int, bytes]:
    record = member.event.record
    return member.event.time, record.place, record.offset, member.key
