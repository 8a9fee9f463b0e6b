"""What the suites need of a provider: a few situations that it can be put into."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol, final

from router.sandbox.faults import ANY_TARGET, Fault, Faults, lost_answer
from router.sandbox.http import Answer, Call, Endpoint, json_answer, serve_http


class Situation(StrEnum):
    """What an attempt can meet, whatever the provider."""

    ACCEPTS = "accepts"
    """It takes the message."""
    REFUSES_CONNECTION = "refuses_connection"
    """Nothing listens at its address."""
    LOSES_ANSWER = "loses_answer"
    """It takes the message, and the connection breaks before its answer."""
    SILENT = "silent"
    """It reads the message and never answers."""
    UNAUTHORIZED = "unauthorized"
    """It does not accept the credentials."""
    LIMITED = "limited"
    """It wants no more for a while, and says for how long."""
    FAILING = "failing"
    """It has a trouble of its own."""


class Provider(Protocol):
    """A running provider under the suite's control."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The sink's options that reach it, without ``type``."""
        ...

    @property
    def unreachable(self) -> Mapping[str, Any]:
        """The same options, with an address at which nothing listens."""
        ...

    @property
    def requests(self) -> int:
        """How many sends have reached it, whatever became of them; log-ins don't count."""
        ...

    @property
    def keys(self) -> Sequence[str | None]:
        """The identity that each message carried that it took, oldest first."""
        ...

    def behave(self, situation: Situation) -> None:
        """How it meets every send from now on."""
        ...


REFUSALS: Mapping[Situation, Answer] = MappingProxyType(
    {
        Situation.UNAUTHORIZED: json_answer(401, {"error": "unauthorized"}),
        Situation.LIMITED: json_answer(429, {"error": "rate_limited"}, {"Retry-After": "7"}),
        Situation.FAILING: json_answer(503, {"error": "unavailable"}),
    }
)
"""What most HTTP APIs say."""


@final
class HttpProvider:
    """An HTTP API on loopback; :func:`http_provider` runs it."""

    def __init__(
        self,
        answer: Callable[[Call], Answer],
        options: Mapping[str, Any],
        unreachable: Mapping[str, Any],
        refusals: Mapping[Situation, Answer],
        key: Callable[[Call], str | None],
        is_send: Callable[[Call], bool],
    ) -> None:
        self.options = options
        self.unreachable = unreachable
        self.requests = 0
        self.keys: list[str | None] = []
        self.calls: list[Call] = []
        self.faults = Faults()
        self._answer = answer
        self._refusals = refusals
        self._key = key
        self._is_send = is_send

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self._target, self._take, self.faults)

    def behave(self, situation: Situation) -> None:
        match situation:
            case Situation.ACCEPTS:
                fault = None
            case Situation.LOSES_ANSWER:
                fault = lost_answer()
            case Situation.SILENT:
                fault = Fault("stall", seconds=60)
            case Situation.REFUSES_CONNECTION:
                raise ValueError("nothing can be told to a provider that is not there")
            case _:
                refusal = self._refusals[situation]
                fault = Fault(
                    "answer",
                    status=refusal.status,
                    headers=refusal.headers,
                    body=refusal.body.decode(),
                )
        self.faults.plan(ANY_TARGET, always=fault)

    def _target(self, call: Call) -> str:
        if not self._is_send(call):
            self.faults.plan("other")
            return "other"
        self.requests += 1
        self.calls.append(call)
        return "send"

    def _take(self, call: Call) -> Answer:
        answer = self._answer(call)
        if self._is_send(call) and answer.status < 300:
            self.keys.append(self._key(call))
        return answer


@asynccontextmanager
async def http_provider(
    answer: Callable[[Call], Answer],
    options: Callable[[str], Mapping[str, Any]],
    *,
    key: Callable[[Call], str | None] = lambda call: None,
    refusals: Mapping[Situation, Answer] = REFUSALS,
    is_send: Callable[[Call], bool] = lambda call: True,
) -> AsyncGenerator[HttpProvider]:
    """Runs a look-alike of an HTTP API until the block ends.

    Args:
        answer: What the API says to a call. Be as strict as the real one: what it refuses to the
            suite's messages is what it would refuse to yours.
        options: The sink's options for an address such as ``http://127.0.0.1:4711``.
        key: Where a call carries the delivery's key.
        refusals: What it says in the situations that are its own refusals.
        is_send: Which calls are sends; the others (for a token, say) are always answered.
    """
    with closed_port() as closed:
        provider = HttpProvider(
            answer, {}, options(f"http://127.0.0.1:{closed}"), refusals, key, is_send
        )
        async with serve_http(provider.endpoint) as port:
            provider.options = options(f"http://127.0.0.1:{port}")
            yield provider


@contextmanager
def closed_port() -> Generator[int]:
    """A port of loopback at which nothing listens, and nothing else will until the block ends."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
