"""The events of a digest whose message is not rendered yet: they go with it, for nobody else has
them any more once its digest has ended."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from router.delivery.blobs import pack_record, unpack_record
from router.delivery.readings import Readings
from router.events import Event, Record
from router.planning import Route, Told, digest_event, digest_key_of, draft_for

_MOST_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class KeptEvents:
    """What a digest tells of.

    Attributes:
        count: How many events it has collected.
        records: Of the earliest of them, as many as a message can show.
    """

    count: int
    records: tuple[Record, ...]


def kept_events(event: Event) -> KeptEvents | None:
    """What is to be kept of a digest's event, up to some size; None for any other event."""
    if event.collected is None:
        return None
    records: list[Record] = []
    size = 0
    for one, _ in event.collected.events:
        size += len(one.record.value or b"")
        if size > _MOST_BYTES:
            break
        records.append(one.record)
    return KeptEvents(event.collected.count, tuple(records))


def digest_events(
    kept: KeptEvents, identity: str, newest: Record, route: Route, recipient: str, read: Readings
) -> Iterator[Event]:
    """The digest's event again, once for each way in which its records can be read today."""
    others = [record for record in kept.records if record.position != newest.position]
    for events in read.all_together([*others, newest]):
        told = [Told(b"", event, draft_for(route, event, recipient).item) for event in events]
        yield digest_event(digest_key_of(identity), told, kept.count)[0]


def to_facts(kept: KeptEvents) -> list[Any]:
    """As JSON can hold it."""
    packed = (base64.b64encode(pack_record({}, record)) for record in kept.records)
    return [kept.count, [blob.decode("ascii") for blob in packed]]


def from_facts(facts: Sequence[Any]) -> KeptEvents:
    """What :func:`to_facts` was given."""
    count, packed = facts
    records = (unpack_record(base64.b64decode(text))[1] for text in packed)
    return KeptEvents(count, tuple(records))
