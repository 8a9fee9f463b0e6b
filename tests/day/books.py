"""The books of a day: what was planned is somewhere, and what was delivered arrived.

planned = delivered + scheduled + suppressed + dead
what providers took = delivered + repeats, each counted and with a reason + what was in doubt
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from router.ledger import State
from tests.day.journal import Answer, Attempt, Journal

_A_FAMILY = 20
"""At most so many rows are written beside one delivery: its fallbacks, a digest's members."""


@dataclass(frozen=True, slots=True)
class Books:
    """What the ledger has in the end, and what is wrong with it.

    Attributes:
        repeats: Messages that a provider took again.
        reasons: Of suppressed ones.
    """

    planned: int
    delivered: int
    suppressed: int
    dead: int
    repeats: int
    reasons: Counter[str] = field(default_factory=Counter[str])
    problems: tuple[str, ...] = ()


def balance(journal: Journal) -> Books:
    """Does the books."""
    states = Counter(row.state for row in journal.rows.values())
    accepted = Counter(a.key for a in journal.attempts if a.is_accepted)
    return Books(
        planned=len(journal.rows),
        delivered=states[State.DELIVERED],
        suppressed=states[State.SUPPRESSED],
        dead=states[State.DEAD],
        repeats=sum(count - 1 for count in accepted.values()),
        reasons=Counter(
            row.reason.code
            for row in journal.rows.values()
            if row.state is State.SUPPRESSED and row.reason
        ),
        problems=tuple(_problems(journal)),
    )


def _problems(journal: Journal) -> Iterator[str]:
    yield from _ledger(journal)
    yield from _identity(journal)
    yield from _record(journal)
    yield from _repeats(journal)
    yield from _letters(journal)


def _ledger(journal: Journal) -> Iterator[str]:
    """Everything has come to its end, nothing is missing, every offset is free."""
    for row in (*journal.rows.values(), *journal.digests):
        if not row.state.is_final:
            yield f"{row.kind} {row.key.hex()} is {row.state}: {row.reason}"
    for key in journal.expected.keys() - journal.known().keys():
        yield f"{journal.expected[key]} is lost"
    if journal.uncommitted:
        yield f"{journal.uncommitted} records are not committed"


def _identity(journal: Journal) -> Iterator[str]:
    """In each process's books and in all together; what a killed one had under way is in the books
    of another."""
    books, under_way = Counter[str](), 0
    for number, life in enumerate(journal.lives, 1):
        was = life.balance
        assert was is not None
        entered = was.planned - was.in_flight
        if entered != was.delivered + was.scheduled + was.suppressed + was.dead:
            yield f"process {number}: {was}"
        if was.in_flight and not life.is_killed:
            yield f"process {number} ended with {was.in_flight} under way"
        under_way += was.in_flight if life.is_killed else 0
        books.update(
            planned=entered,
            delivered=was.delivered,
            scheduled=was.scheduled,
            suppressed=was.suppressed,
            dead=was.dead,
        )
    states = Counter(row.state for row in journal.rows.values())
    ledger = Counter(
        planned=len(journal.rows),
        delivered=states[State.DELIVERED],
        suppressed=states[State.SUPPRESSED],
        dead=states[State.DEAD],
    )
    for name in ("planned", "delivered", "scheduled", "suppressed", "dead"):
        if abs(ledger[name] - books[name]) > _A_FAMILY * under_way:
            yield f"{name}: {ledger[name]} in the ledger, {books[name]} in the processes' books"


def _record(journal: Journal) -> Iterator[str]:
    """What the ledger calls delivered arrived; what arrived is delivered, or was in doubt."""
    taken: dict[bytes, Attempt] = {a.key: a for a in journal.attempts if a.is_accepted}
    for key, row in journal.rows.items():
        if row.state is State.DELIVERED and key not in taken:
            yield f"{key.hex()} is called delivered, and {row.sink} never took it"
    attempts = journal.by_key()
    for key, attempt in taken.items():
        row = journal.rows.get(key)
        if row is None:
            yield f"{attempt.sink} took {key.hex()}, of which the ledger does not know"
        elif row.state is not State.DELIVERED and not any(
            _is_in_doubt(journal, each) for each in attempts[key] if each.is_accepted
        ):
            yield f"{attempt.sink} took {key.hex()}, which ended as {row.state} {row.reason}"


def _repeats(journal: Journal) -> Iterator[str]:
    """Each was counted, and has a reason."""
    seen = Counter[str]()
    for attempts in journal.by_key().values():
        taken = [attempt for attempt in attempts if attempt.is_accepted]
        for first, again in pairwise(taken):
            seen[again.sink] += 1
            if not _is_in_doubt(journal, first):
                yield f"{again.sink} got {again.key.hex()} again for no reason"
            if journal.rows[again.key].sink in _ONCE:
                yield f"{again.sink} got {again.key.hex()} again though it must not"
    for sink, count in seen.items():
        counted = sum(life.repeats.get(sink, 0) for life in journal.lives)
        if counted < count:
            yield f"{sink} got {count} again, and {counted} were counted"


_ONCE = frozenset({"crm"})
"""Sinks all of whose messages say ``in_doubt: dead_letter``."""


def _is_in_doubt(journal: Journal, attempt: Attempt) -> bool:
    """Nobody could know that it was accepted: no answer came, or the process died."""
    if attempt.answer is Answer.LOST or attempt.ended is None or _took_too_long(attempt):
        return True
    return journal.lives[attempt.life - 1].is_killed


def _took_too_long(attempt: Attempt) -> bool:
    """Its answer came after the timeout."""
    return attempt.ended is not None and attempt.ended - attempt.at > 5


def _letters(journal: Journal) -> Iterator[str]:
    """Every dead delivery is published."""
    published = {letter.delivery_key for letter in journal.letters}
    for key, row in journal.rows.items():
        # Recipients that fail for one reason share a letter, which has no delivery's key.
        if row.state is State.DEAD and row.sink and key not in published:
            yield f"{key.hex()} is dead ({row.reason}), and was not published"
