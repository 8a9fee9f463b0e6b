"""Records that can't become events, or can't be delivered: dead letters; the partition moves on."""

from __future__ import annotations

from typing import Any

import pytest

from router.events import DeadLetter, Record, dead_letter_from_kafka
from router.ledger import Kind, State
from router.sandbox import sandbox
from tests.system.place import Place, orders_of
from tests.system.processes import arrivals, daemon
from tests.system.topics import order, publish_record

pytestmark = [pytest.mark.anyio, pytest.mark.kafka]

_PAID = b'{"id": "o-1", "type": "order.paid", "x": '
_BATCH = (("content-type", b"application/cloudevents-batch+json"),)
_POISON: dict[str, tuple[bytes | None, tuple[tuple[str, bytes], ...]]] = {
    "invalid_json": (_PAID, ()),
    "invalid_utf8": (_PAID + b'"\xff\xfe"}', ()),
    "tombstone": (None, ()),
    "oversize": (_PAID + b'"' + b"x" * 100_000 + b'"}', ()),
    "cloudevents_batch": (b"[]", _BATCH),
    "not_an_object": (b"[1, 2]", ()),
    "missing_type": (b'{"id": "o-1"}', ()),
    "too_deep": (_PAID + b"[" * 5000 + b"]" * 5000 + b"}", ()),
}
"""Value and headers by the code of the reason."""


def _letter(record: Any) -> DeadLetter:
    place = record.topic, record.partition, record.offset, record.timestamp / 1000
    return dead_letter_from_kafka(Record(*place, record.key, record.value, record.headers))


async def test_poison_becomes_dead_letters_and_the_partition_moves_on(place: Place) -> None:
    await place.create()
    own = (("tenant", b"acme"), ("router-route", b"forged"))
    async with sandbox() as box:
        project = place.project(box, source={"decode": {"max_size": "64KiB"}})
        async with daemon(project) as running:
            for name, (value, headers) in _POISON.items():
                await publish_record(
                    place.broker.bootstrap,
                    place.topic,
                    value,
                    key=name.encode(),
                    headers=(*headers, *own),
                )
            await place.publish([order("last")])
            await arrivals(box)
            records = await place.dead_letters(len(_POISON))
            await place.commits(len(_POISON) + 1)
            assert await running.total("router_events_total", outcome="poison") == len(_POISON)
            assert await running.is_ready()

        assert orders_of(list(box.record)) == ["o-last"]
        letters = {(letter := _letter(record)).record.key: letter for record in records}
        assert len(records) == len(letters) == len(_POISON)
        for offset, (name, (value, headers)) in enumerate(_POISON.items()):
            letter = letters[name.encode()]
            assert (letter.record.topic, letter.record.partition) == (place.topic, 0)
            assert letter.record.offset == offset
            assert letter.record.headers == (*headers, *own)
            assert letter.record.value == value
            assert (letter.reason.code, letter.stage, letter.cut) == (name, "decode", None)
        assert await place.states(project, Kind.DEAD_LETTER) == {State.DELIVERED: len(_POISON)}
