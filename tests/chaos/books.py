"""The accounting identity: every delivery's end in the ledger, against what the sandbox got."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from router.clock import SystemClock
from router.ledger import KINDS as LEDGERS
from router.ledger import Kind, LedgerReader, Row, State

_PAGE = 1000


@asynccontextmanager
async def _reader(ledger: Mapping[str, Any]) -> AsyncGenerator[LedgerReader]:
    """Looks at a ledger beside whoever has it; ``ledger`` are its options."""
    found = LEDGERS.load(ledger["type"])
    assert found.open_reader is not None
    config = found.config.model_validate(dict(ledger))
    async with found.open_reader(config, clock=SystemClock()) as reader:
        yield reader


async def read_rows(
    ledger: Mapping[str, Any], kind: Kind = Kind.DELIVERY, state: State | None = None
) -> list[Row]:
    """Every row of a kind, or those in a state."""
    rows: list[Row] = []
    async with _reader(ledger) as reader:
        while page := await reader.rows(
            kind=kind, state=state, after=rows[-1].key if rows else None, limit=_PAGE
        ):
            rows += page
    return rows


async def count_rows(ledger: Mapping[str, Any]) -> dict[State, int]:
    """How many deliveries are in each state, states without any left out."""
    async with _reader(ledger) as reader:
        stats = await reader.stats()
    return {state: n for (kind, state), n in stats.rows.items() if kind is Kind.DELIVERY and n}


@dataclass(frozen=True, slots=True)
class Books:
    """What came of everything that was published.

    Attributes:
        planned: Deliveries that the published events ask for.
        states: How many of the ledger's rows are in each state.
        lost: Deliveries that the ledger does not have, or has as delivered and nobody got.
        accepted: Effects in the sandbox's record.
        repeats: Effects that came a second time or more.
        counted: Second sends that the daemons have counted.
        unexplained: Keys that came twice without a reason.
        unknown: Effects of deliveries that the ledger does not call delivered, nor in doubt.
        letters_open: Dead letters that are not published.
    """

    planned: int
    states: Mapping[State, int]
    lost: int
    accepted: int
    repeats: int
    counted: int
    unexplained: int
    unknown: int
    letters_open: int

    @property
    def problems(self) -> list[str]:
        """Everything in which they do not balance."""
        named = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        opened = sum(count for state, count in self.states.items() if not state.is_final)
        checks = {
            f"planned {self.planned}, but the ledger has {named or 'nothing'}": (
                sum(self.states.values()) == self.planned
            ),
            f"{opened} deliveries are open": not opened,
            f"{self.lost} are lost": not self.lost,
            f"{self.repeats} repeats, but {self.counted} counted": self.repeats <= self.counted,
            f"{self.unexplained} deliveries came twice for no reason": not self.unexplained,
            f"{self.unknown} came that the ledger does not call delivered": not self.unknown,
            f"{self.letters_open} dead letters are not published": not self.letters_open,
        }
        return [problem for problem, holds in checks.items() if not holds]


def balance(
    planned: int,
    rows: Sequence[Row],
    letters: Sequence[Row],
    arrived: Sequence[str],
    counted: int,
    excused: Collection[str],
) -> Books:
    """The books at the end.

    Args:
        rows, letters: The ledger's deliveries and dead letters.
        arrived: The key of each effect in the sandbox's record, in hexadecimal.
        counted: Second sends by the daemons' metrics.
        excused: Keys whose repeats have a reason.
    """
    states = Counter(row.state for row in rows)
    delivered = {row.key.hex() for row in rows if row.state is State.DELIVERED}
    in_doubt = {
        row.key.hex() for row in rows if row.reason is not None and row.reason.code == "in_doubt"
    }
    times = Counter(arrived)
    repeated = {key for key, count in times.items() if count > 1}
    return Books(
        planned=planned,
        states=states,
        lost=max(0, planned - len(rows)) + len(delivered - times.keys()),
        accepted=len(arrived),
        repeats=len(arrived) - len(times),
        counted=counted,
        unexplained=len(repeated - set(excused)),
        unknown=len(times.keys() - delivered - in_doubt),
        letters_open=sum(not row.state.is_final for row in letters),
    )
