"""The record: what came, in order, counted, waited for and followed."""

from __future__ import annotations

import anyio
import pytest

from router.clock import ManualClock
from router.messages import Channel
from router.sandbox import Received, Record

pytestmark = pytest.mark.anyio


def received(text: str = "hi", to: str = "ann", key: str | None = None) -> Received:
    return Received("smtp", Channel.EMAIL, to, "title", text, key=key)


def test_entries_are_numbered_and_dated() -> None:
    clock = ManualClock(100.0)
    record = Record(clock)
    record.add(received("one"))
    clock.advance(5)
    record.add(received("two"))
    assert [(e.number, e.at, e.text) for e in record] == [(1, 100.0, "one"), (2, 105.0, "two")]
    assert [e.text for e in record.after(1)] == ["two"]
    assert record.after(2) == ()


def test_entries_are_found_by_provider_and_recipient() -> None:
    record = Record(ManualClock())
    record.add(received(to="ann"))
    record.add(received(to="bob"))
    assert [e.recipient for e in record.of("smtp")] == ["ann", "bob"]
    assert [e.recipient for e in record.of("smtp", "bob")] == ["bob"]
    assert record.of("telegram") == ()


def test_repeats_are_counted_by_key_and_recipient() -> None:
    record = Record(ManualClock())
    for to, key in [("ann", "a"), ("ann", "a"), ("ann", "b"), ("bob", "b"), ("bob", None)]:
        record.add(received(to=to, key=key))
    assert record.repeats() == {"a": 2}
    assert (record.count("a"), record.count("b"), record.count("c")) == (2, 2, 0)


async def test_waiting_ends_when_enough_has_come() -> None:
    record = Record(ManualClock())
    record.add(received("wanted 1"))

    async def add_more() -> None:
        record.add(received("other"))
        record.add(received("wanted 2"))

    async with anyio.create_task_group() as group:
        group.start_soon(add_more)
        with anyio.fail_after(1):
            found = await record.wait_for(lambda entry: "wanted" in entry.text, count=2)
    assert [entry.text for entry in found] == ["wanted 1", "wanted 2"]


async def test_feed_gives_what_comes_and_counts_what_it_missed() -> None:
    record = Record(ManualClock())
    record.add(received("before"))
    with record.follow(capacity=2) as feed:
        for text in ("one", "two", "three"):
            record.add(received(text))
        seen = [(await anext(feed)).text for _ in range(2)]
        assert seen == ["one", "two"]
        assert feed.missed == 1
    assert [entry async for entry in feed] == []
