"""The suite itself: a sound sink passes, each way of being unsound fails the test made for it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from pydantic import Field

from router.messages import Request
from router.sinks import (
    Channel,
    Delivered,
    Halt,
    HttpClient,
    HttpOptions,
    HttpRequest,
    HttpResponse,
    InDoubt,
    Outcome,
    Parcel,
    Reason,
    Retry,
    Scope,
    SinkConfig,
    SinkTools,
    SinkType,
    answer_text,
    exchange,
    expect,
    open_client,
    retry_after,
)
from router.testing import (
    Call,
    Provider,
    SinkConformance,
    SinkScenario,
    http_provider,
    json_answer,
    mistakes_in,
)
from router.values import Secret

pytestmark = pytest.mark.anyio

TOKEN = "planted-token"
NOTE = Request(path="/notes", body=b"{}")


class NotesConfig(SinkConfig):
    """Notes in the company's notebook."""

    base_url: str = Field(description="Its address.", examples=["https://notes.acme.example"])
    token: Secret = Field(description="Its token.", examples=["!env NOTES_TOKEN"])


class Notes:
    """A sound sink, of parts that tests spoil."""

    def __init__(self, config: NotesConfig, tools: SinkTools, client: HttpClient) -> None:
        self.config = config
        self.tools = tools
        self.client = client

    def request(self, parcel: Parcel) -> HttpRequest:
        message = expect(parcel, Request)
        headers = {"Authorization": f"Bearer {self.config.token.reveal()}"}
        headers["Idempotency-Key"] = parcel.key.hex()
        url = self.config.base_url + message.path
        return HttpRequest("POST", url, headers, message.body, self.config.timeout)

    def outcome(self, response: HttpResponse) -> Outcome:
        match response.status:
            case 200:
                return Delivered()
            case 401:
                return Halt(Reason("token_refused", answer_text(response)))
            case 429:
                after = retry_after(response, self.tools.clock.now())
                return Retry(Reason("rate_limited"), after, Scope.SINK)
            case _:
                return Retry(Reason("provider_error", answer_text(response)))

    async def send(self, parcel: Parcel) -> Outcome:
        response = await exchange(self.client, self.request(parcel))
        return self.outcome(response) if isinstance(response, HttpResponse) else response


def kind(sink: type[Notes] = Notes, config: type[NotesConfig] = NotesConfig) -> SinkType[Any]:
    @asynccontextmanager
    async def open_notes(options: NotesConfig, tools: SinkTools) -> AsyncGenerator[Notes]:
        async with open_client(HttpOptions(connections=options.concurrency)) as client:
            yield sink(options, tools, client)

    return SinkType("notes", config, lambda options: Channel.REQUEST, "request", open_notes)


@asynccontextmanager
async def notebook() -> AsyncGenerator[Provider]:
    def answer(call: Call) -> Any:
        if call.headers.get("Authorization") != f"Bearer {TOKEN}":
            return json_answer(401, {"error": "token"})
        return json_answer(200, {"id": 1})

    async with http_provider(
        answer,
        lambda url: {"base_url": url, "token": TOKEN},
        key=lambda call: call.headers.get("Idempotency-Key"),
    ) as provider:
        yield provider


def scenario(sink: type[Notes] = Notes, config: type[NotesConfig] = NotesConfig) -> SinkScenario:
    return SinkScenario(kind(sink, config), NOTE, notebook, has_key=True, secrets=(TOKEN,))


class TestASoundSink(SinkConformance):
    @pytest.fixture
    def scenario(self) -> SinkScenario:
        return scenario()


class SendsAgain(Notes):
    async def send(self, parcel: Parcel) -> Outcome:
        outcome = await super().send(parcel)
        return outcome if isinstance(outcome, Delivered) else await super().send(parcel)


class Hopes(Notes):
    async def send(self, parcel: Parcel) -> Outcome:
        outcome = await super().send(parcel)
        return Retry(outcome.reason) if isinstance(outcome, InDoubt) else outcome


class Doubts(Notes):
    async def send(self, parcel: Parcel) -> Outcome:
        outcome = await super().send(parcel)
        return InDoubt(outcome.reason) if isinstance(outcome, Retry) else outcome


class Sleeps(Notes):
    async def send(self, parcel: Parcel) -> Outcome:
        outcome = await super().send(parcel)
        if isinstance(outcome, Retry):
            await self.tools.clock.sleep(outcome.after or 1)
        return outcome


class Raises(Notes):
    def outcome(self, response: HttpResponse) -> Outcome:
        if response.status != 200:
            raise ValueError("not what was hoped for")
        return Delivered()


class ForgetsTheLimit(Notes):
    def outcome(self, response: HttpResponse) -> Outcome:
        return Delivered() if response.status == 200 else Retry(Reason("provider_error"))


class MakesUpKeys(Notes):
    def request(self, parcel: Parcel) -> HttpRequest:
        request = super().request(parcel)
        headers = {**request.headers, "Idempotency-Key": f"{parcel.key.hex()}-{parcel.attempt}"}
        return HttpRequest("POST", request.url, headers, request.body, request.timeout_s)


class Talks(Notes):
    def outcome(self, response: HttpResponse) -> Outcome:
        if response.status == 200:
            return Delivered()
        return Retry(Reason("Provider Error!", "first\nsecond"))


class KeepsAPlace(Notes):
    places = 0

    async def send(self, parcel: Parcel) -> Outcome:
        while self.places >= self.config.concurrency:  # noqa: ASYNC110
            await anyio.sleep(0.01)
        self.places += 1
        outcome = await super().send(parcel)
        self.places -= 1
        return outcome


class AnswersWithText(Notes):
    async def send(self, parcel: Parcel) -> Outcome:
        await super().send(parcel)
        return "sent"  # pyright: ignore


Test = Callable[[SinkConformance, SinkScenario], Any]


@pytest.mark.parametrize(
    ("sink", "test"),
    [
        (SendsAgain, lambda s, x: s.test_a_lost_answer_is_in_doubt(x, [])),
        (SendsAgain, lambda s, x: s.test_a_trouble_of_the_providers_is_tried_again(x, [])),
        (Hopes, lambda s, x: s.test_a_lost_answer_is_in_doubt(x, [])),
        (Hopes, lambda s, x: s.test_no_answer_in_time_is_in_doubt(x, [])),
        (Doubts, lambda s, x: s.test_a_refused_connection_is_tried_again(x, [])),
        (Sleeps, lambda s, x: s.test_a_limit_makes_more_than_the_message_wait(x, [])),
        (Raises, lambda s, x: s.test_wrong_credentials_halt(x, [])),
        (ForgetsTheLimit, lambda s, x: s.test_a_limit_makes_more_than_the_message_wait(x, [])),
        (ForgetsTheLimit, lambda s, x: s.test_wrong_credentials_halt(x, [])),
        (MakesUpKeys, lambda s, x: s.test_a_delivery_keeps_its_identity_over_its_attempts(x)),
        (Talks, lambda s, x: s.test_a_trouble_of_the_providers_is_tried_again(x, [])),
        (AnswersWithText, lambda s, x: s.test_what_the_provider_takes_is_delivered(x, [])),
    ],
)
async def test_an_unsound_sink_fails(sink: type[Notes], test: Test) -> None:
    with pytest.raises((AssertionError, ValueError)):
        await test(SinkConformance(), scenario(sink))


async def test_a_sink_that_keeps_a_cancelled_sends_place_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("router.testing.sinks.AT_MOST_S", 0.5)
    with pytest.raises((TimeoutError, ExceptionGroup)):
        await SinkConformance().test_a_cancelled_send_leaves_the_sink_usable(scenario(KeepsAPlace))


async def test_an_option_that_shows_a_secret_fails() -> None:
    class OpenConfig(NotesConfig):
        """Notes."""

        token: str = Field(description="Its token.", examples=["x"])  # pyright: ignore

    shown = SinkScenario(kind(config=OpenConfig), NOTE, notebook, secrets=(TOKEN,))
    with pytest.raises(AssertionError):
        await SinkConformance().test_its_configuration_shows_no_secret(shown)


def test_secrets_in_logs_fail(caplog: pytest.LogCaptureFixture) -> None:
    listening = SinkConformance.told.__wrapped__(SinkConformance(), scenario(), caplog)  # type: ignore[attr-defined]
    next(listening)
    logging.getLogger("acme").debug("sent with %s", TOKEN)
    with pytest.raises(AssertionError, match="a secret was told"):
        next(listening)


def test_a_configuration_model_is_looked_at_closely() -> None:
    class Inner(SinkConfig):
        url: str = Field(description="Where.")

    class Odd(SinkConfig, extra="allow"):
        """Odd."""

        api_key: str = Field(description="Key.", examples=["k"])
        plain: str = "x"
        inner: Inner | None = Field(None, description="Inner.")

    assert mistakes_in(Odd, but=frozenset(SinkConfig.model_fields)) == [
        'Odd takes unknown keys: keep extra="forbid"',
        "Odd.api_key looks like a secret and is not typed Secret",
        "Odd.plain has no description",
        "Inner has no docstring: say what it is in a sentence",
        "Inner.type has no examples",
        "Inner.url has no examples",
    ]
