"""A consumer does not ask without pause where a broker has nothing and says so at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from router.clock import ManualClock
from router.kafka.patience import make_patient


class FetchRequest:
    pass


class MetadataRequest:
    pass


class Client:
    """Answers like the library's client: topics, partitions, and the records' bytes last."""

    def __init__(self, clock: ManualClock, takes_s: float, records: bytes, error: int) -> None:
        self.clock = clock
        self.takes_s = takes_s
        self.response = SimpleNamespace(topics=[("orders", [(0, error, 7, records)])])

    async def send(self, node_id: int, request: Any) -> Any:
        self.clock.advance(self.takes_s)
        return self.response


async def seconds_to_answer(
    request: object, *, takes_s: float = 0.001, records: bytes = b"", error: int = 0
) -> float:
    clock = ManualClock()
    client = Client(clock, takes_s, records, error)
    make_patient(SimpleNamespace(_client=client), clock)
    started = clock.monotonic()
    assert await client.send(1, request) is client.response
    return clock.monotonic() - started


@pytest.mark.anyio
async def test_an_empty_answer_that_came_at_once_is_passed_on_later() -> None:
    assert await seconds_to_answer(FetchRequest()) == pytest.approx(0.016)


@pytest.mark.anyio
async def test_records_errors_and_answers_that_took_their_time_are_passed_on_at_once() -> None:
    assert await seconds_to_answer(FetchRequest(), records=b"batch") == pytest.approx(0.001)
    assert await seconds_to_answer(FetchRequest(), error=3) == pytest.approx(0.001)
    assert await seconds_to_answer(FetchRequest(), takes_s=0.5) == pytest.approx(0.5)
    assert await seconds_to_answer(MetadataRequest()) == pytest.approx(0.001)
