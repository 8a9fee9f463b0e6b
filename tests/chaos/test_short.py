"""The short form of ``make chaos``: some of its scenarios, all at the same time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tests.brokers import Broker
from tests.chaos.catalogue import SCENARIOS
from tests.chaos.running import Case, Result, cases, results_of
from tests.servers import Server

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_SHORT = (
    "broker-unreachable",
    "ledger-locked",
    "provider-refuses",
    "provider-closes",
    "provider-401",
    "provider-429-chat",
    "sink-dead",
)
_CASES: Mapping[str, Case] = {case.name: case for case in cases(SCENARIOS)}


@pytest.fixture(scope="module")
def results(
    evicting_broker: Broker,
    servers: Callable[[str], Server],
    tmp_path_factory: pytest.TempPathFactory,
) -> Mapping[str, Result]:
    """What became of each."""
    folder = tmp_path_factory.mktemp("chaos")
    return results_of(
        [_CASES[name] for name in _SHORT], evicting_broker, servers, folder, at_once=len(_SHORT)
    )


@pytest.mark.parametrize("name", _SHORT)
def test_a_fault_leaves_the_books_in_order(results: Mapping[str, Result], name: str) -> None:
    result = results[name]
    if result.skipped:
        pytest.skip(result.skipped)
    assert result.failure == ""
