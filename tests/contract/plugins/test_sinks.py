"""Every built-in sink passes the suite that plugins' authors run."""

from __future__ import annotations

import pytest

from router.sinks import KINDS, SinkConfig, SinkType
from router.testing.rules import mistakes_in
from router.testing.sinks import SinkConformance, SinkScenario, SinkTypeConformance
from tests.contract.plugins.scenarios import SCENARIOS


class TestBuiltInSinks(SinkConformance):
    @pytest.fixture(params=SCENARIOS.values(), ids=SCENARIOS)
    def scenario(self, request: pytest.FixtureRequest) -> SinkScenario:
        return request.param


class TestBuiltInTypes(SinkTypeConformance):
    @pytest.fixture(params=KINDS.names())
    def kind(self, request: pytest.FixtureRequest) -> SinkType:
        return KINDS.load(request.param)


def test_the_options_of_every_sink_are_described() -> None:
    base = frozenset({"type", "concurrency", "real"})
    assert mistakes_in(SinkConfig, but=base) == []


ELSEWHERE = {
    "by_platform": "a group of other sinks, which sends nothing itself",
    "kafka": "needs a broker: its tests run on every broker there is",
}


def test_every_built_in_sink_has_a_scenario() -> None:
    assert {one.kind.name for one in SCENARIOS.values()} == set(KINDS.names()) - set(ELSEWHERE)
