"""Replicas on a shared ledger: one is killed, stalled or cut off amid its work; all are rolled."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import asyncpg
import pytest

from tests.brokers import Broker
from tests.chaos.replicas import SCENARIOS
from tests.chaos.running import Result, cases, results_of
from tests.servers import PASSWORD, Server
from tests.system.processes import eventually

pytestmark = [pytest.mark.kill, pytest.mark.timeout(600)]

_ON_APACHE = "apache" in os.environ.get("ROUTER_TEST_BROKERS", "")
_SOME = (
    "replica-killed@postgres",
    "replica-stalled@redis",
    "replica-without-broker@redis",
    "replica-without-ledger@postgres",
    "rolling-restart@redis",
)
"""What the default suite has time for; Apache Kafka gets them all."""

_CASES = {case.name: case for case in cases(SCENARIOS) if _ON_APACHE or case.name in _SOME}


@pytest.fixture(scope="module")
def results(
    evicting_broker: Broker,
    servers: Callable[[str], Server],
    tmp_path_factory: pytest.TempPathFactory,
) -> Mapping[str, Result]:
    """What became of each."""
    folder = tmp_path_factory.mktemp("replicas")
    return results_of(list(_CASES.values()), evicting_broker, servers, folder, at_once=len(_SOME))


@pytest.mark.parametrize("name", _CASES)
def test_replicas_lose_nothing_and_every_repeat_is_counted_and_has_a_reason(
    results: Mapping[str, Result], name: str
) -> None:
    result = results[name]
    if result.skipped:
        pytest.skip(result.skipped)
    assert result.failure == ""


@pytest.mark.anyio
async def test_replicas_leave_no_connection_behind(
    results: Mapping[str, Result], postgres_server: Server
) -> None:
    assert results
    administrator = await asyncpg.connect(postgres_server.url, password=PASSWORD)

    async def are_gone() -> bool:
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'router'"
        return not await administrator.fetchval(sessions)

    try:
        await eventually(are_gone, "no session of a replica")
    finally:
        await administrator.close()
