"""What Mixpanel is sent: one record an event, one an operation on a profile, cut into calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import chain
from typing import Any
from uuid import UUID

import orjson

from router.messages import AnalyticsEvent, Parcel, ProfileUpdate, Reason, Rejected

MOST_RECORDS = 2000
MOST_BYTES = 2_000_000
"""Of one request, before compression; newer pages of the vendor allow five times as much."""

_MOST_RECORD_BYTES = 1_000_000
_MOST_MEMBERS = 255


class Kind(Enum):
    """What a call changes; only additions to profiles must not be made twice."""

    EVENTS = auto()
    PROFILES = auto()
    ADDITIONS = auto()


@dataclass(frozen=True, slots=True)
class Item:
    """One parcel's part of a call.

    Attributes:
        place: The parcel's index in the batch.
        attempt: The parcel's, 1 for the first.
        insert_id: Of an event; empty for profiles.
        records: JSON texts; one for an event, one an operation for a profile.
    """

    place: int
    attempt: int
    kind: Kind
    insert_id: str
    records: tuple[bytes, ...]

    @property
    def size(self) -> int:
        return sum(len(record) + 1 for record in self.records)


@dataclass(frozen=True, slots=True)
class Call:
    """One request: items of one kind, whole."""

    kind: Kind
    items: tuple[Item, ...]

    @property
    def body(self) -> bytes:
        return b"[%s]" % b",".join(chain.from_iterable(entry.records for entry in self.items))

    def halves(self) -> tuple[Call, Call]:
        """The same items in two calls."""
        middle = len(self.items) // 2
        return Call(self.kind, self.items[:middle]), Call(self.kind, self.items[middle:])


def insert_id(key: bytes) -> str:
    """36 characters out of a delivery's key, the same for every attempt."""
    return str(UUID(bytes=key))


def item(place: int, parcel: Parcel, token: str) -> Item | Rejected:
    """What a parcel comes to, or why Mixpanel would not take it."""
    match parcel.message:
        case AnalyticsEvent() as event:
            kind = Kind.EVENTS
            found = [_event(parcel, event)]
        case ProfileUpdate() as update:
            kind = Kind.ADDITIONS if update.add or update.append else Kind.PROFILES
            found = _operations(update, token)
        case message:
            name = type(message).__name__
            raise TypeError(f"expected AnalyticsEvent or ProfileUpdate, not {name}")
    if not found:
        return Rejected(Reason("nothing_to_change", "the update names no property"))
    records: list[bytes] = []
    for fields in found:
        record = fields if isinstance(fields, Rejected) else _encoded(fields)
        if isinstance(record, Rejected):
            return record
        records.append(record)
    identity = insert_id(parcel.key) if kind is Kind.EVENTS else ""
    return Item(place, parcel.attempt, kind, identity, tuple(records))


def calls(items: Sequence[Item]) -> Iterator[Call]:
    """Cuts items into calls within the limits; each addition gets one of its own."""
    for kind in (Kind.EVENTS, Kind.PROFILES):
        yield from _cut(kind, [entry for entry in items if entry.kind is kind])
    for entry in items:
        if entry.kind is Kind.ADDITIONS:
            yield Call(Kind.ADDITIONS, (entry,))


def _cut(kind: Kind, items: Sequence[Item]) -> Iterator[Call]:
    chosen: list[Item] = []
    count, size = 0, 2
    for entry in items:
        is_full = count + len(entry.records) > MOST_RECORDS or size + entry.size > MOST_BYTES
        if chosen and is_full:
            yield Call(kind, tuple(chosen))
            chosen, count, size = [], 0, 2
        chosen.append(entry)
        count += len(entry.records)
        size += entry.size
    if chosen:
        yield Call(kind, tuple(chosen))


def _event(parcel: Parcel, event: AnalyticsEvent) -> dict[str, Any] | Rejected:
    if not event.name:
        return Rejected(Reason("name_invalid", "an event needs a name"))
    mark = {"router_test": True} if parcel.is_test else {}
    properties = {
        **event.properties,
        **mark,
        "time": round(event.time * 1000),
        "distinct_id": event.distinct_id,
        "$insert_id": insert_id(parcel.key),
    }
    if _is_too_wide(properties):
        text = f"an event, and each object or list in it, has at most {_MOST_MEMBERS - 1} members"
        return Rejected(Reason("too_many_properties", text))
    return {"event": event.name, "properties": properties}


def _operations(update: ProfileUpdate, token: str) -> list[dict[str, Any] | Rejected]:
    if not update.distinct_id:
        return [Rejected(Reason("person_missing", "distinct_id names no person"))]
    changes: dict[str, Any] = {
        "$set": update.set,
        "$set_once": update.set_once,
        "$add": update.add,
        "$append": update.append,
        "$union": update.union,
        "$remove": update.remove,
        "$unset": list(update.unset),
    }
    person = {
        "$token": token,
        "$distinct_id": update.distinct_id,
        "$ip": "0",
        "$ignore_time": True,
    }
    return [{**person, name: change} for name, change in changes.items() if change]


def _encoded(fields: Mapping[str, Any]) -> bytes | Rejected:
    try:
        record = orjson.dumps(fields)
    except TypeError:
        return Rejected(Reason("not_json", "the properties can't be written as JSON"))
    if len(record) >= _MOST_RECORD_BYTES:
        return Rejected(Reason("too_large", f"{len(record)} of {_MOST_RECORD_BYTES} bytes"))
    return record


def _is_too_wide(value: object) -> bool:
    match value:
        case dict():
            return len(value) >= _MOST_MEMBERS or any(map(_is_too_wide, value.values()))
        case list() | tuple():
            return len(value) >= _MOST_MEMBERS or any(map(_is_too_wide, value))
        case _:
            return False
