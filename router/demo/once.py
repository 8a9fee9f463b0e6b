"""``--once``: every sample once, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import anyio

from router.daemon import Daemon
from router.demo.running import Running
from router.demo.samples import publish, stamped
from router.demo.witness import WITNESSED, Witness, origins_of
from router.ledger import Kind, Ledger, Row, State
from router.sandbox import Received

_SETTLE_S = 60.0
_ARRIVE_S = 5.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message in the sandbox's record, and where it came from."""

    sink: str
    channel: str
    recipient: str
    title: str
    text: str
    event_id: str
    route: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What ``--once`` came to; deliveries by how they ended.

    Attributes:
        missing: Delivered keys that the sandbox's record does not have.
    """

    events: int
    planned: int
    delivered: int
    scheduled: int
    suppressed: int
    dead: int
    repeats: int
    inbox: tuple[Arrival, ...] = field(default=())
    missing: int = 0

    @property
    def is_fine(self) -> bool:
        """Nothing is dead or open, and everything delivered did arrive."""
        return self.dead == 0 and self.scheduled == 0 and self.missing == 0

    def as_dict(self) -> dict[str, Any]:
        names = [n for n in self.__slots__ if n not in ("inbox", "missing")]
        arrivals = [{n: getattr(a, n) for n in a.__slots__} for a in self.inbox]
        return {n: getattr(self, n) for n in names} | {"inbox": arrivals}


async def run_once(demo: Running) -> Summary:
    """Publishes every sample once and waits until nothing is open, for a minute at most."""
    now = demo.clock.now()
    records = [stamped(sample, now) for sample in demo.samples]
    origins = await origins_of(demo.project, records, now, demo.clock)
    await publish(demo.producer, records)
    with anyio.move_on_after(_SETTLE_S):
        while demo.daemon.records_read < len(records) or not await _is_settled(demo.daemon):
            await demo.clock.sleep(_POLL_S)
    types = {name: facts.type for name, facts in demo.project.sink_facts.items()}
    witness = Witness(types, origins)
    delivered = await _delivered_keys(demo)
    with anyio.move_on_after(_ARRIVE_S):
        while delivered - {*witness.keys_of(demo.box.record)}:
            await demo.clock.sleep(_POLL_S)
    return await _summary(demo, len(records), witness, delivered)


async def _is_settled(daemon: Daemon) -> bool:
    if not daemon.is_idle:
        return False
    await daemon.settler.flush()
    stats = await daemon.look_at_ledger()
    return not any(count for (_, state), count in stats.rows.items() if not state.is_final)


async def _delivered_keys(demo: Running) -> set[str]:
    """Keys of deliveries that a look-alike must have seen."""
    sinks = demo.project.sinks
    return {
        row.key.hex()
        for row in await _delivered(demo.daemon.ledger)
        if row.kind is Kind.DELIVERY and row.sink in sinks and sinks[row.sink].type in WITNESSED
    }


async def _delivered(ledger: Ledger) -> list[Row]:
    rows: list[Row] = []
    while page := await ledger.rows(
        state=State.DELIVERED, after=rows[-1].key if rows else None, limit=500
    ):
        rows += page
    return rows


async def _summary(demo: Running, events: int, witness: Witness, delivered: set[str]) -> Summary:
    stats = await demo.daemon.look_at_ledger()
    counts = {state: stats.rows.get((Kind.DELIVERY, state), 0) for state in State}
    entries = list(demo.box.record)
    keys = witness.keys_of(entries)
    return Summary(
        events=events,
        planned=sum(counts.values()),
        delivered=counts[State.DELIVERED],
        scheduled=counts[State.SCHEDULED] + counts[State.WAITING] + counts[State.CLAIMED],
        suppressed=counts[State.SUPPRESSED],
        dead=counts[State.DEAD],
        repeats=sum(n - 1 for n in demo.box.record.repeats().values()),
        inbox=tuple(
            _arrival(entry, key, witness) for entry, key in zip(entries, keys, strict=True)
        ),
        missing=len(delivered - {*keys}),
    )


def _arrival(entry: Received, key: str, witness: Witness) -> Arrival:
    origin = witness.origin_of(key, entry)
    return Arrival(
        sink=origin.sink,
        channel=entry.channel,
        recipient=entry.recipient,
        title=entry.title,
        text=entry.text,
        event_id=origin.event_id,
        route=origin.route,
    )
