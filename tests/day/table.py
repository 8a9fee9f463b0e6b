"""Days as a table for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tests.day.lived import Lived

_COLUMNS = ("seed", "events", "planned", "delivered", "suppressed", "dead", "repeats", "took", "ok")
_WIDTHS = (8, 9, 10, 11, 12, 8, 9, 8, 6)
_SHOWN = 5


def header() -> str:
    """The columns' names."""
    return _line(_COLUMNS)


def lines(day: Lived) -> str:
    """One day in a line, and what else is worth telling below it."""
    mark, took = "ok" if day.is_good else "FAILED", f"{day.seconds:.0f} s"
    books = day.books
    if books is None:
        return _line((str(day.plan.seed), str(day.plan.events), *[""] * 5, took, mark))
    numbers = (books.planned, books.delivered, books.suppressed, books.dead, books.repeats)
    cells = (str(day.plan.seed), str(day.plan.events), *map(str, numbers), took, mark)
    return "\n".join(
        [
            _line(cells),
            f"    suppressed: {_counts(books.reasons)}",
            f"    went wrong: {_counts(day.troubles)}",
            f"    {day.attempts} attempts by {day.processes} processes; laws: {_laws(day.laws)}",
        ]
    )


def failures(days: Sequence[Lived], ledger: str) -> str:
    """What did not hold, and how to see it again."""
    told: list[str] = []
    for day in days:
        plan = day.plan
        again = f"make day SEED={plan.seed} EVENTS={plan.events} LEDGER={ledger}"
        told.append(f"\nseed {plan.seed}: {again} ARGS='--at-once 1'\n{day.failure}")
        found = {"books": day.books.problems if day.books else (), **day.laws}
        for name, broken in found.items():
            told += [f"    {name}: {each}\n" for each in broken[:_SHOWN]]
            if len(broken) > _SHOWN:
                told.append(f"    {name}: and {len(broken) - _SHOWN} more\n")
    return "".join(told)


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def _laws(laws: Mapping[str, Sequence[str]]) -> str:
    bad = [name for name, found in laws.items() if found]
    return f"{len(laws) - len(bad)} hold" + (f", broken: {', '.join(bad)}" if bad else "")


def _line(cells: Sequence[str]) -> str:
    return "".join(f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()
