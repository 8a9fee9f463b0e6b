"""What every sink has to do, as tests that any sink can run.

Subclass :class:`SinkConformance` in a test module and give it a fixture ``scenario`` that is a
:class:`SinkScenario`. Against a real socket the suite then puts the provider into each
:class:`~router.testing.providers.Situation` and looks at what the sink answers, how often it
asked, and what it let slip.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, final, get_args

import anyio
import pytest

from router.clock import SystemClock
from router.messages import (
    Channel,
    Delivered,
    Halt,
    InDoubt,
    Message,
    Outcome,
    Parcel,
    Retry,
    Scope,
    Target,
)
from router.sinks import BatchSink, Sink, SinkConfig, SinkTools, SinkType
from router.testing.providers import Provider, Situation
from router.testing.rules import mistakes_in

EVENT_TIME = 1_767_323_045.0
AT_MOST_S = 10.0
SHORT = "400ms"
"""The sink's timeout where a test waits for it."""

_CODE = re.compile(r"[a-z][a-z0-9_]{1,39}")


@dataclass(frozen=True, slots=True)
class SinkScenario:
    """One sink, what it sends, and its provider.

    Attributes:
        kind: What the module exports as ``SINK``.
        message: A message that the provider takes.
        address: Where to; empty for a request.
        target: Where to, with more than an address, such as a device's platform.
        provider: Runs a fresh provider until the block ends.
        secrets: Texts in the options that nobody may ever read.
        has_key: The provider's protocol has a place for the delivery's key.
        is_idempotent: The provider recognises repeats by that key, so that a lost answer may
            simply be tried again.
        limit_s: What ``Situation.LIMITED`` asks for, in seconds; None where it names no time.
        impossible: Situations that this provider does not have, each with the reason.
    """

    kind: SinkType[Any]
    message: Message
    provider: Callable[[], AbstractAsyncContextManager[Provider]]
    address: str = ""
    target: Target | None = None
    secrets: tuple[str, ...] = ()
    has_key: bool = False
    is_idempotent: bool = False
    limit_s: float | None = 7.0
    impossible: Mapping[Situation, str] = field(default_factory=dict[Situation, str])


@final
class AwakeClock:
    """The machine's time, for a sink that never sleeps."""

    def __init__(self) -> None:
        self._base = SystemClock()

    def now(self) -> float:
        return self._base.now()

    def monotonic(self) -> float:
        return self._base.monotonic()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("a sink does not sleep: say in Retry how long to wait")


@dataclass(frozen=True, slots=True)
class Open:
    """An open sink and its provider."""

    scenario: SinkScenario
    provider: Provider
    sink: Sink | BatchSink

    def parcel(self, number: int = 1, **changes: Any) -> Parcel:
        """A parcel; its number makes its key."""
        scenario = self.scenario
        target = scenario.target or Target(scenario.address, scenario.kind.address_kind)
        values: dict[str, Any] = {
            "event_time": EVENT_TIME,
            "event_type": "order.paid",
            **changes,
        }
        return Parcel(number.to_bytes(16, "big"), scenario.message, target, **values)

    async def send(self, number: int = 1, **changes: Any) -> Outcome:
        """One attempt; it has to end in time, and in an outcome."""
        parcel = self.parcel(number, **changes)
        with anyio.fail_after(AT_MOST_S):
            if isinstance(self.sink, BatchSink):
                outcomes = list(await self.sink.send_batch([parcel]))
                assert len(outcomes) == 1, f"{len(outcomes)} outcomes for one parcel"
                outcome = outcomes[0]
            else:
                outcome = await self.sink.send(parcel)
        assert isinstance(outcome, get_args(Outcome)), f"{outcome!r} is no outcome"
        return outcome

    async def send_when(self, situation: Situation, number: int = 1) -> Outcome:
        """One attempt in a situation."""
        self.provider.behave(situation)
        return await self.send(number)


@asynccontextmanager
async def opened(
    scenario: SinkScenario, provider: Provider, options: Mapping[str, Any] | None = None
) -> AsyncGenerator[Open]:
    """The sink, open until the block ends."""
    given = {"type": scenario.kind.name, **provider.options, **(options or {})}
    config = scenario.kind.config.model_validate(given)
    with anyio.fail_after(AT_MOST_S * 6):
        async with scenario.kind.open(config, SinkTools("conformance", AwakeClock())) as sink:
            yield Open(scenario, provider, sink)


@asynccontextmanager
async def running(scenario: SinkScenario, **options: Any) -> AsyncGenerator[Open]:
    """A fresh provider and a sink that sends to it."""
    async with scenario.provider() as provider:
        async with opened(scenario, provider, options) as sink:
            yield sink


def needs(scenario: SinkScenario, *situations: Situation) -> None:
    """Skips a test whose situation the provider does not have."""
    for situation in situations:
        if situation in scenario.impossible:
            pytest.skip(scenario.impossible[situation])


class SinkTypeConformance:
    """The tests that need no provider: of what ``SINK`` says about itself."""

    @pytest.fixture
    def kind(self, scenario: SinkScenario) -> SinkType[Any]:
        return scenario.kind

    def test_it_is_called_as_a_type_can_be_called(self, kind: SinkType[Any]) -> None:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", kind.name)
        assert kind.address_kind

    def test_its_options_are_described_and_secrets_are_secret(self, kind: SinkType[Any]) -> None:
        assert issubclass(kind.config, SinkConfig)
        shared = frozenset(SinkConfig.model_fields)
        assert mistakes_in(kind.config, but=shared) == []


@pytest.mark.anyio
class SinkConformance(SinkTypeConformance):
    """The tests of every kind. It needs a fixture ``scenario``."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture(autouse=True)
    def told(
        self, scenario: SinkScenario, caplog: pytest.LogCaptureFixture
    ) -> Generator[list[str]]:
        """Whatever a test was told; none of it may hold a secret. Logs are listened to as well."""
        caplog.set_level(logging.DEBUG)
        said: list[str] = []
        yield said
        said += [record.getMessage() for record in caplog.get_records("call")]
        said += [str(record.exc_info) for record in caplog.records if record.exc_info]
        for secret in scenario.secrets:
            assert not any(secret in text for text in said), "a secret was told"

    # Outcomes ----------------------------------------------------------------------------------

    async def test_what_the_provider_takes_is_delivered(
        self, scenario: SinkScenario, told: list[str]
    ) -> None:
        async with running(scenario) as sink:
            outcome = await sink.send()
            assert isinstance(outcome, Delivered), outcome
            assert (sink.provider.requests, len(sink.provider.keys)) == (1, 1)
        self._check(scenario, outcome, told)

    async def test_a_refused_connection_is_tried_again(
        self, scenario: SinkScenario, told: list[str]
    ) -> None:
        needs(scenario, Situation.REFUSES_CONNECTION)
        async with scenario.provider() as provider:
            async with opened(scenario, provider, provider.unreachable) as sink:
                outcome = await sink.send()
        assert isinstance(outcome, Retry), f"nothing can have arrived: {outcome}"
        self._check(scenario, outcome, told)

    async def test_a_lost_answer_is_in_doubt(self, scenario: SinkScenario, told: list[str]) -> None:
        needs(scenario, Situation.LOSES_ANSWER)
        async with running(scenario) as sink:
            outcome = await sink.send_when(Situation.LOSES_ANSWER)
            assert sink.provider.requests == 1, "a sink does not send again by itself"
        assert isinstance(outcome, _doubt(scenario)), f"the provider has it, or not: {outcome}"
        self._check(scenario, outcome, told)

    async def test_no_answer_in_time_is_in_doubt(
        self, scenario: SinkScenario, told: list[str]
    ) -> None:
        needs(scenario, Situation.SILENT)
        async with running(scenario, timeout=SHORT) as sink:
            outcome = await sink.send_when(Situation.SILENT)
            assert sink.provider.requests == 1, "a sink does not send again by itself"
        assert isinstance(outcome, _doubt(scenario)), f"the provider may have it: {outcome}"
        self._check(scenario, outcome, told)

    async def test_wrong_credentials_halt(self, scenario: SinkScenario, told: list[str]) -> None:
        needs(scenario, Situation.UNAUTHORIZED)
        async with running(scenario) as sink:
            outcome = await sink.send_when(Situation.UNAUTHORIZED)
        assert isinstance(outcome, Halt), f"no message is to blame: {outcome}"
        self._check(scenario, outcome, told)

    async def test_a_limit_makes_more_than_the_message_wait(
        self, scenario: SinkScenario, told: list[str]
    ) -> None:
        needs(scenario, Situation.LIMITED)
        async with running(scenario) as sink:
            outcome = await sink.send_when(Situation.LIMITED)
            assert sink.provider.requests == 1, "a sink does not send again by itself"
        assert isinstance(outcome, Retry), outcome
        assert outcome.scope is not Scope.MESSAGE, "the next message would meet the same limit"
        assert outcome.after is not None, "say how long to wait"
        assert scenario.limit_s in (None, outcome.after)
        self._check(scenario, outcome, told)

    async def test_a_trouble_of_the_providers_is_tried_again(
        self, scenario: SinkScenario, told: list[str]
    ) -> None:
        needs(scenario, Situation.FAILING)
        async with running(scenario) as sink:
            outcome = await sink.send_when(Situation.FAILING)
            assert sink.provider.requests == 1, "a sink does not send again by itself"
        assert isinstance(outcome, Retry), outcome
        self._check(scenario, outcome, told)

    # Keys --------------------------------------------------------------------------------------

    async def test_a_delivery_keeps_its_identity_over_its_attempts(
        self, scenario: SinkScenario
    ) -> None:
        if not scenario.has_key:
            pytest.skip("the provider's protocol has no place for a key")
        async with running(scenario) as sink:
            for attempt in (1, 2):
                assert isinstance(await sink.send(7, attempt=attempt), Delivered)
            assert isinstance(await sink.send(8), Delivered)
            first, again, other = sink.provider.keys
        assert first is not None
        assert first == again
        assert first != other

    # Life --------------------------------------------------------------------------------------

    async def test_it_opens_again_after_it_was_closed(self, scenario: SinkScenario) -> None:
        async with scenario.provider() as provider:
            for number in (1, 2):
                async with opened(scenario, provider) as sink:
                    assert isinstance(await sink.send(number), Delivered)

    async def test_two_of_them_are_open_side_by_side(self, scenario: SinkScenario) -> None:
        async with scenario.provider() as provider:
            async with opened(scenario, provider) as one:
                async with opened(scenario, provider) as other:
                    assert isinstance(await one.send(1), Delivered)
                    assert isinstance(await other.send(2), Delivered)
                assert isinstance(await one.send(3), Delivered)

    async def test_nothing_is_sent_by_opening(self, scenario: SinkScenario) -> None:
        async with running(scenario) as sink:
            assert (sink.provider.requests, len(sink.provider.keys)) == (0, 0)

    async def test_sends_side_by_side_all_arrive(self, scenario: SinkScenario) -> None:
        numbers = range(20)
        outcomes: dict[int, Outcome] = {}
        async with running(scenario, concurrency=4) as sink:

            async def send(number: int) -> None:
                outcomes[number] = await sink.send(number)

            async with anyio.create_task_group() as tasks:
                for number in numbers:
                    tasks.start_soon(send, number)
            taken = sink.provider.keys
        assert [type(outcomes[number]) for number in numbers] == [Delivered] * len(numbers)
        assert len(taken) == len(numbers)
        if scenario.has_key:
            assert len(set(taken)) == len(numbers)

    async def test_a_trouble_leaves_no_mark(self, scenario: SinkScenario) -> None:
        """What went wrong once does not go wrong for the next message."""
        troubles = [Situation.LOSES_ANSWER, Situation.LIMITED, Situation.FAILING]
        async with running(scenario, concurrency=1) as sink:
            for number, situation in enumerate(troubles):
                if situation in scenario.impossible:
                    continue
                outcome = await sink.send_when(situation, 2 * number)
                assert not isinstance(outcome, Delivered)
                outcome = await sink.send_when(Situation.ACCEPTS, 2 * number + 1)
                assert isinstance(outcome, Delivered), f"after {situation}: {outcome}"

    async def test_a_cancelled_send_leaves_the_sink_usable(self, scenario: SinkScenario) -> None:
        needs(scenario, Situation.SILENT)
        async with running(scenario, concurrency=1) as sink:
            sink.provider.behave(Situation.SILENT)
            for number in (1, 2, 3):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(sink.send, number)
                    await _until(lambda number=number: sink.provider.requests >= number)
                    tasks.cancel_scope.cancel()
            outcome = await sink.send_when(Situation.ACCEPTS, 4)
            assert isinstance(outcome, Delivered), outcome

    # Batches -----------------------------------------------------------------------------------

    async def test_a_batch_has_one_outcome_for_each_parcel(self, scenario: SinkScenario) -> None:
        outcomes = None
        async with running(scenario) as sink:
            if isinstance(sink.sink, BatchSink):
                assert list(await sink.sink.send_batch([])) == []
                parcels = [sink.parcel(number) for number in range(5)]
                outcomes = await sink.sink.send_batch(parcels)
        if outcomes is None:
            pytest.skip("it sends one by one")
        assert [type(outcome) for outcome in outcomes] == [Delivered] * 5

    # What is told ------------------------------------------------------------------------------

    async def test_its_configuration_shows_no_secret(self, scenario: SinkScenario) -> None:
        async with scenario.provider() as provider:
            given = {"type": scenario.kind.name, **provider.options}
            config = scenario.kind.config.model_validate(given)
            assert isinstance(scenario.kind.channel(config), Channel)
            shown = [repr(config), str(config), str(config.model_dump()), config.model_dump_json()]
        for secret in scenario.secrets:
            assert not any(secret in text for text in shown), "an option is not typed Secret"

    def _check(self, scenario: SinkScenario, outcome: Outcome, told: list[str]) -> None:
        """An outcome's reason is a metric's label and a line for operators."""
        told.append(repr(outcome))
        reason = outcome.note if isinstance(outcome, Delivered) else outcome.reason
        if reason is None:
            return
        assert _CODE.fullmatch(reason.code), f"{reason.code!r} is not a short snake_case code"
        assert "\n" not in reason.text
        if len(scenario.address) > 3:
            assert scenario.address not in reason.text, "an address is personal data"


def _doubt(scenario: SinkScenario) -> tuple[type[Retry | InDoubt], ...]:
    return (InDoubt, Retry) if scenario.is_idempotent else (InDoubt,)


async def _until(holds: Callable[[], bool]) -> None:
    """Waits until a condition holds that nothing announces."""
    with anyio.fail_after(AT_MOST_S):
        while not holds():  # noqa: ASYNC110
            await anyio.sleep(0.005)
