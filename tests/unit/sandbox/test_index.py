from __future__ import annotations

import pytest

from router.clock import SystemClock
from router.messages import Channel
from router.sandbox.index import REFUSED, REPEATS, Index, View, Whom
from router.sandbox.record import Received, Record

EVERYTHING = View()


def chat(text: str = "hi", to: str = "42", key: str | None = None) -> Received:
    return Received("telegram", Channel.CHAT, to, "", text, key=key)


def push(to: str = "tok", **details: str) -> Received:
    return Received("fcm", Channel.PUSH, to, "title", "text", details=details)


def indexed(*entries: Received) -> tuple[Record, Index]:
    record = Record(SystemClock())
    for entry in entries:
        record.add(entry)
    return record, Index(record)


def numbers(
    index: Index, view: View = EVERYTHING, after: int = 0, limit: int | None = None
) -> list[int]:
    return [item.entry.number for item in index.items(view, after, limit)]


def test_items_come_newest_first_and_in_pages() -> None:
    _, index = indexed(*(chat(str(n)) for n in range(5)))
    assert numbers(index, limit=2) == [5, 4]
    assert numbers(index, View(before=4), limit=2) == [3, 2]
    assert numbers(index, after=3) == [5, 4]


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (View(who="Ann"), [2, 1]),
        (View(who="tok"), [2]),
        (View(show="push"), [2]),
        (View(text="ANN"), [2, 1]),
        (View(text="phone"), [2]),
        (View(text="телеграф"), [1]),
        (View(text=" k-1 "), [1]),
        (View(text="telegram"), [3, 1]),
        (View(who="Ann", text="nowhere"), []),
    ],
)
def test_views_narrow_by_person_channel_and_text(view: View, expected: list[int]) -> None:
    _, index = indexed(chat("Телеграф", key="k-1"), push(), chat("other", to="43"))
    index.introduce({"42": Whom("Ann", "42", True), "tok": Whom("Ann", "phone, android", True)})
    assert numbers(index, view) == expected


def test_people_come_before_other_addresses_with_all_their_own() -> None:
    record, index = indexed(chat(to="a"), chat(to="42"), push("tok"), push("tok"))
    record.refuse("apns", "gone", "410 Unregistered")
    index.introduce({"42": Whom("Ann", "42", True), "tok": Whom("Ann", "phone", True)})
    ann, a, gone = index.parties()
    assert (ann.whom.name, ann.addresses, ann.total) == ("Ann", ("42", "tok"), 3)
    assert ann.received[Channel.PUSH] == 2
    assert (a.whom.name, a.whom.is_person) == ("a", False)
    assert (gone.total, gone.refused) == (0, 1)


def test_repeats_are_sends_of_one_key_to_one_recipient() -> None:
    _, index = indexed(chat(key="k"), chat(to="43", key="k"), chat(key="k"), chat(), chat())
    assert numbers(index, View(show=REPEATS)) == [3, 1]
    second, first = index.items(View(show=REPEATS))
    assert (first.nth, first.times, second.nth, second.times) == (1, 2, 2, 2)
    assert [party.repeats for party in index.parties()] == [1, 0]


@pytest.mark.parametrize(
    ("later", "replaced_by"),
    [
        (push(tag="order"), 2),
        (push(collapse_id="order"), 2),
        (push(tag="other"), None),
        (push(to="another", tag="order"), None),
        (push(tag="order", silent="yes"), None),
        (push(tag="order", push_type="background"), None),
    ],
)
def test_a_push_is_replaced_by_a_later_one_that_is_shown_in_its_place(
    later: Received, replaced_by: int | None
) -> None:
    _, index = indexed(push(tag="order"), later)
    *_, first = index.items(View())
    assert first.replaced_by == replaced_by


def test_older_items_are_told_when_newer_ones_change_them() -> None:
    record, index = indexed(chat(key="k"), push(tag="order"), chat("else"))
    assert index.changed(View(), after=3) == []
    record.add(chat(key="k"))
    record.add(push(tag="order"))
    assert [item.entry.number for item in index.changed(View(), after=3)] == [2, 1]
    assert [item.entry.number for item in index.changed(View(show="push"), after=3)] == [2]
    assert [item.entry.number for item in index.changed(View(), after=4)] == [2]
    assert index.changed(View(), after=5) == []


def test_refusals_alike_in_a_row_are_one() -> None:
    record, index = indexed()
    for why in ("429", "429", "410", "429"):
        record.refuse("fcm", "tok", why)
    record.refuse("smtp", "ann@post.example", "550")
    found = index.refusals(View(show=REFUSED), limit=10)
    assert [(it.last.why, it.times) for it in found] == [
        ("550", 1),
        ("429", 1),
        ("410", 1),
        ("429", 2),
    ]
    assert [it.last.why for it in index.refusals(View(who="tok"), limit=1)] == ["429"]
    assert [it.last.why for it in index.refusals(View(text="SMTP"), limit=10)] == ["550"]
