"""A law that nothing breaks is none: a day is told otherwise than it was, and its law notices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest

from router.events import Event, Record
from router.ledger import Row, State
from router.messages import Reason
from router.planning.silences import silence_of
from router.recipients import Recipient
from router.telemetry import Balance
from tests.day.books import balance
from tests.day.journal import Answer, Attempt, Journal, Life, Published
from tests.day.laws import LAWS
from tests.day.project import variant

NOON = 1_784_030_400.0
"""In July, UTC."""
HOUR = 3600.0
_NOTHING = Balance(0, 0, 0, 0, 0, 0, 0, 0)


class Told:
    """A day as it is told: one process, and everybody was taken in within a second."""

    def __init__(self) -> None:
        known = {"u1": Recipient(id="u1", timezone="UTC", preferences={"talk/email": False})}
        self.journal = Journal(variant(0).rules, known)
        self.journal.lives.append(Life(NOON - 10 * HOUR, NOON + 90 * HOUR))
        self._keys = count(1)

    def event(self, id: str, type: str, at: float = NOON, key: bytes = b"k", **data: object) -> str:
        offset = len(self.journal.events)
        record = Record("events", 0, offset, at, key, b"{}")
        event = Event(id, type, "events", None, at, data, {}, f"events/{id}", record)
        self.journal.events[id] = Published(at, event)
        self.journal.rests = sorted([*self.journal.rests, at + 1])
        return id

    def sent(
        self,
        route: str,
        sink: str,
        *events: str,
        at: float = NOON,
        answer: Answer = Answer.DELIVERED,
        key: bytes | None = None,
        count: int | None = None,
        address: str = "a",
        wait: float = 0.0,
    ) -> Attempt:
        key = key or next(self._keys).to_bytes(16, "big")
        attempt = Attempt(
            at,
            1,
            sink,
            key,
            address,
            route,
            "u1",
            events,
            len(events) if count is None else count,
            answer,
            at + 0.5,
            wait,
        )
        self.journal.attempts.append(attempt)
        state = State.DELIVERED if answer is Answer.DELIVERED else State.DEAD
        self.journal.rows[key] = Row(key, state=state, sink=sink)
        return attempt

    def breaks(self, law: str) -> bool:
        return bool(list(LAWS[law](self.journal)))


def preferences(day: Told) -> None:
    day.sent("comment", "mail", day.event("a", "comment.made"))


def shadow(day: Told) -> None:
    day.sent("quiet-trial", "bot", day.event("a", "login.new"))


def throttle(day: Told) -> None:
    for number in range(4):
        at = NOON + number * HOUR
        id = day.event(f"e{number}", "payment.failed", at, subscription="s")
        day.sent("payment-failed", "phones", id, at=at)


def dedupe(day: Told) -> None:
    for number in range(2):
        day.sent("cart", "mail", day.event(f"e{number}", "cart.left", cart="c"))


def digest_twice(day: Told) -> None:
    id = day.event("a", "comment.made")
    day.sent("comment", "mail", id)
    day.sent("comment", "mail", id)


def digest_count(day: Told) -> None:
    day.sent("comment", "mail", day.event("a", "comment.made"), count=2)


def delay(day: Told) -> None:
    day.sent("cart", "mail", day.event("a", "cart.left", cart="c"), at=NOON + HOUR)


def quiet_hours(day: Told) -> None:
    day.sent("comment", "bot", day.event("a", "comment.made"), at=NOON + 11 * HOUR)


def silence(day: Told) -> None:
    named = {"id": "s", "author": "ops", "comment": "noise", "created": NOON - HOUR}
    day.journal.silences.append(silence_of({**named, "until": NOON + HOUR, "route": "tip"}))
    day.sent("tip", "bot", day.event("a", "tip.found"))


def cancelled(day: Told) -> None:
    id = day.event("a", "payment.failed", subscription="s")
    day.event("b", "payment.succeeded", NOON + 60, subscription="s")
    day.sent("payment-failed", "phones", id, at=NOON + HOUR)


def seen(day: Told) -> None:
    id = day.event("a", "bill.issued", bill="b", shop="s1")
    day.event("b", "push.opened", NOON + 60, bill="b")
    day.sent("bill", "mail", id, at=NOON + HOUR)


def expired(day: Told) -> None:
    day.sent("code", "mail", day.event("a", "code.asked"), at=NOON + HOUR)


def order(day: Told) -> None:
    first, second = (day.event(id, "entry.booked") for id in "ab")
    day.sent("entry", "accounting", second)
    day.sent("entry", "accounting", first, at=NOON + 1)


def priority(day: Told) -> None:
    urgent, bulk = day.event("a", "code.asked"), day.event("b", "letter.sent")
    for number in range(300):
        day.sent("letter", "mail", bulk, at=NOON + 10 + number / 100)
    day.sent("code", "mail", urgent, at=NOON + 60)


def fallback(day: Told) -> None:
    id = day.event("a", "payment.failed", subscription="s")
    day.sent("payment-failed", "phones", id)
    day.sent("payment-failed", "bot", id, at=NOON + 700)


def retry_after(day: Told) -> None:
    id = day.event("a", "deal.closed")
    day.sent("deal", "crm", id, answer=Answer.WAIT, wait=600.0)
    day.sent("deal", "crm", id, at=NOON + 60)


def gone(day: Told) -> None:
    day.sent("login", "phones", day.event("a", "login.new"), answer=Answer.GONE)
    later = day.event("b", "login.new", NOON + HOUR)
    day.sent("login", "phones", later, at=NOON + HOUR)


def halt(day: Told) -> None:
    key = day.sent("deal", "crm", day.event("a", "deal.closed"), answer=Answer.HALT).key
    row = day.journal.rows[key]
    day.journal.rows[key] = replace(row, state=State.DEAD, reason=Reason("unauthorized"))


@pytest.mark.parametrize(
    ("law", "break_it"),
    [
        ("preferences", preferences),
        ("modes, rollouts", shadow),
        ("throttles", throttle),
        ("dedupe", dedupe),
        ("digests", digest_twice),
        ("digests", digest_count),
        ("delays", delay),
        ("quiet hours", quiet_hours),
        ("silences", silence),
        ("cancel_on, unless", cancelled),
        ("cancel_on, unless", seen),
        ("expires", expired),
        ("ordering", order),
        ("priority", priority),
        ("fallbacks", fallback),
        ("Retry-After", retry_after),
        ("gone addresses", gone),
        ("halts", halt),
    ],
)
def test_a_law_that_is_broken_shows(law: str, break_it: Callable[[Told], None]) -> None:
    day = Told()
    assert not day.breaks(law)
    break_it(day)
    assert day.breaks(law)


# Books -------------------------------------------------------------------------------------------


def problems(day: Told) -> str:
    return "; ".join(p for p in balance(day.journal).problems if "books" not in p)


def told() -> tuple[Told, Attempt]:
    day = Told()
    day.journal.lives[0].balance = _NOTHING
    return day, day.sent("deal", "crm", day.event("a", "deal.closed"))


def test_what_was_delivered_must_have_arrived() -> None:
    day, attempt = told()
    assert not problems(day)
    attempt.answer = Answer.BUSY
    assert "never took it" in problems(day)


def test_what_arrived_must_be_delivered() -> None:
    day, attempt = told()
    day.journal.rows[attempt.key] = Row(attempt.key, state=State.SUPPRESSED, sink="crm")
    assert "ended as suppressed" in problems(day)


def test_a_repeat_needs_a_reason_and_is_counted() -> None:
    day, attempt = told()
    day.sent("deal", "crm", "a", key=attempt.key)
    assert "again for no reason" in problems(day)
    assert "1 again, and 0 were counted" in problems(day)


def test_what_is_expected_must_be_there() -> None:
    day, _ = told()
    day.journal.expected[b"x" * 16] = ("deal", "a")
    assert "('deal', 'a') is lost" in problems(day)


def test_what_is_open_or_uncommitted_shows() -> None:
    day, attempt = told()
    day.journal.rows[attempt.key] = Row(attempt.key, state=State.SCHEDULED, sink="crm")
    day.journal.uncommitted = 2
    assert "is scheduled" in problems(day)
    assert "2 records are not committed" in problems(day)


def test_a_dead_one_must_be_published() -> None:
    day, attempt = told()
    day.journal.rows[attempt.key] = Row(attempt.key, state=State.DEAD, sink="crm")
    assert "was not published" in problems(day)
