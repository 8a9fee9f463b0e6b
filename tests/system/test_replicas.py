"""Replicas on a shared ledger: one is killed amid its work, another comes, the rest go on."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from router.clock import SystemClock
from router.ledger import KINDS as LEDGERS
from router.ledger import Row, State
from router.sandbox import ANY_TARGET, Fault, Received, Sandbox, sandbox
from tests.brokers import Broker, create_topic
from tests.servers import PASSWORD, Server, fresh_name
from tests.system.processes import Scrape, arrivals, count_states, daemon, eventually
from tests.system.projects import (
    Env,
    api_sink,
    kafka_source,
    order_route,
    secrets_of,
    write_project,
)
from tests.system.topics import committed, order, publish

pytestmark = pytest.mark.kill

_COUNT = 200
_PARTITIONS = 4
_AT_ONCE = 2
_NAMESPACES = {"postgres": "schema_name", "redis": "prefix"}


@dataclass(slots=True)
class Aftermath:
    """What was found once the survivors had finished.

    Attributes:
        in_doubt: Keys that the killed one had claimed.
        rows: Deliveries in the ledger at the end.
        sent: What the provider accepted from anybody.
        scrapes: Metrics of the survivors.
    """

    in_doubt: frozenset[str] = frozenset()
    rows: Sequence[Row] = ()
    sent: Sequence[Received] = ()
    scrapes: Sequence[Scrape] = field(default_factory=list[Scrape])


async def rows_of(kind: str, options: Mapping[str, Any]) -> list[Row]:
    """Every delivery in the ledger, seen from outside."""
    ledger = LEDGERS.load(kind)
    assert ledger.open_reader is not None
    config = ledger.config.model_validate({**options, "password": PASSWORD})
    async with ledger.open_reader(config, clock=SystemClock()) as reader:
        return list(await reader.rows(limit=10_000))


async def kill_one_of_three(
    kind: str, server: Server, bootstrap: str, box: Sandbox, folder: Path
) -> Aftermath:
    mark = uuid.uuid4().hex[:8]
    group, topic = f"router.{kind}.{mark}", f"orders.{kind}.{mark}"
    options = {"type": kind, "url": server.url, _NAMESPACES[kind]: fresh_name()}
    projects = [
        write_project(
            folder / kind / name,
            sources={"main": kafka_source(bootstrap, [topic], group) | {"session_timeout": "2s"}},
            sinks={"api": api_sink(box, concurrency=_AT_ONCE, timeout="1s")},
            routes={"paid": order_route(f"/{kind}")},
            env={**secrets_of(box), "LEDGER_PASSWORD": PASSWORD},
            ledger={**options, "password": Env("LEDGER_PASSWORD")},
        )
        for name in ("one", "two", "three")
    ]
    await create_topic(Broker("", bootstrap), topic, _PARTITIONS)

    def is_ours(entry: Received) -> bool:
        return entry.recipient.startswith(f"/{kind}/")

    async def is_committed() -> bool:
        places = range(_PARTITIONS)
        return [await committed(bootstrap, group, topic, p) for p in places] == [
            _COUNT // _PARTITIONS
        ] * _PARTITIONS

    after = Aftermath()
    async with daemon(projects[0]) as doomed, daemon(projects[1]) as second:
        await publish(bootstrap, topic, [order(n) for n in range(_COUNT)], _PARTITIONS)
        await arrivals(box, 20, is_ours)
        await doomed.kill()
        owned = f"-{doomed.process.pid}-"
        left = [r for r in await rows_of(kind, options) if r.state is State.CLAIMED]
        after.in_doubt = frozenset(r.key.hex() for r in left if owned in (r.owner or ""))
        async with daemon(projects[2]) as third:
            await eventually(is_committed, f"{kind}: all is committed")
            after.scrapes = [await second.scrape(), await third.scrape()]
            assert await third.stop() == 0
        assert await second.stop() == 0
    after.rows = await rows_of(kind, options)
    after.sent = [entry for entry in box.record if is_ours(entry)]
    return after


@pytest.mark.anyio
async def test_a_killed_replica_is_followed_by_the_others(
    servers: Callable[[str], Server], evicting_broker: Broker, tmp_path: Path
) -> None:
    """Both kinds at the same time: most of it is waiting for leases to end."""
    found: dict[str, Aftermath] = {}
    running = {kind: servers(kind) for kind in _NAMESPACES}

    async with sandbox() as box:
        box.http.faults.plan(ANY_TARGET, always=Fault("drip", seconds=0.05))

        async def one(kind: str) -> None:
            found[kind] = await kill_one_of_three(
                kind, running[kind], evicting_broker.bootstrap, box, tmp_path
            )

        async with anyio.create_task_group() as tasks:
            for kind in _NAMESPACES:
                tasks.start_soon(one, kind)

    for kind, after in found.items():
        times = Counter(entry.key for entry in after.sent)
        repeated = {key for key, count in times.items() if count > 1}
        assert count_states(after.rows) == {State.DELIVERED: _COUNT}, kind
        assert times.keys() == {row.key.hex() for row in after.rows}, kind
        assert max(times.values()) <= 2, kind
        assert repeated <= after.in_doubt, kind
        counted = sum(scrape.total("router_repeats_total") for scrape in after.scrapes)
        assert counted >= len(repeated), kind
