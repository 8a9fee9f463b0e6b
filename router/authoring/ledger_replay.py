"""Dead letters of a project without Kafka, put back into its ledger to be tried again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from router.authoring.dead_letters import Found, Skipped, route_names
from router.clock import Clock
from router.config import Project
from router.delivery.input_rows import replay_row
from router.events import MAX_HOPS, DeadLetter, Event, Poison, Replay, decode
from router.ledger import KINDS, LedgerDown, Row, Settle, Settled
from router.planning import Route, Ruleset, UnknownTenant
from router.problems import ConfigError
from router.sources import SourceConfig
from router.sources.file import FileSourceConfig

Rows: TypeAlias = tuple[Row, ...]
"""What has one dead letter tried again: a row for each route."""


class NotReplayed(Exception):
    """The ledger can't be written; the message says why."""


def rows_of(
    project: Project, found: Iterable[Found], now: float
) -> list[tuple[Found, Rows | Skipped]]:
    """What to write into the ledger for each dead letter."""
    rules, names = project.rules(), route_names(project)
    return [(one, _rows(project, rules, names, one.letter, now)) for one in found]


def _rows(
    project: Project, rules: Ruleset, names: dict[str, str], letter: DeadLetter, now: float
) -> Rows | Skipped:
    if letter.cut is not None:
        return Skipped("only the beginning of the original was kept")
    if letter.hop >= MAX_HOPS:
        return Skipped(f"it has been replayed {MAX_HOPS} times: it goes in circles")
    if letter.route is not None and letter.route not in names:
        return Skipped(f'there is no route "{letter.route}" any more')
    source, config = _source_of(project, letter.record.topic)
    event = decode(letter.record, config.decode)
    if isinstance(event, Poison):
        return Skipped(f"it is no event: {event.reason}")
    tenant = rules.tenants.of(event)
    if isinstance(tenant, UnknownTenant):
        return Skipped(str(tenant))
    routes = _routes(rules, event, names.get(letter.route or ""))
    if not routes:
        return Skipped("no route wants it")
    asked = frozenset({names[letter.route]} if letter.route is not None else ())
    replay = Replay(asked, letter.delivery_key, letter.hop + 1)
    return tuple(
        replay_row(
            event, route, replay, source=source, tenant=tenant.name, died_at=letter.at, now=now
        )
        for route in routes
    )


def _routes(rules: Ruleset, event: Event, only: str | None) -> list[Route]:
    return [route for route in rules.matching(event) if only in (None, route.id)]


def _source_of(project: Project, topic: str) -> tuple[str, SourceConfig]:
    """The source that a record came from, or the first."""
    for name, config in project.sources.items():
        if isinstance(config, FileSourceConfig) and Path(config.path).name == topic:
            return name, config
    return next(iter(project.sources.items()))


async def write_rows(project: Project, rows: Sequence[Row], clock: Clock) -> set[bytes]:
    """Puts rows into the project's ledger; those that are there already stay as they are.

    Returns:
        The keys of those that are new.

    Raises:
        NotReplayed: it is in memory, a daemon has it, or it can't be written.
    """
    kind = KINDS.load(project.ledger.type)
    if project.ledger.type == "memory":
        raise NotReplayed("the ledger is in the daemon's memory: there is nowhere to put them")
    try:
        async with kind.open(project.ledger, owner="replay", clock=clock) as ledger:
            answers = await ledger.settle([Settle(row) for row in rows])
    except LedgerDown as error:
        raise NotReplayed(f"the ledger is down: {error}") from None
    except ConfigError as error:
        text = "; ".join(problem.message for problem in error.problems)
        hint = "a SQLite ledger is written while the daemon is stopped"
        raise NotReplayed(f"{text}; {hint}") from None
    return {row.key for row, answer in zip(rows, answers, strict=True) if answer is Settled.OK}
