"""Token buckets and the breaker's memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.clock import ManualClock
from router.delivery.breaker import Failures
from router.delivery.rate import SharedBucket, SharedTargets, TargetBuckets, TokenBucket
from router.ledger.memory import MemoryLedger
from router.values import Rate


def test_a_bucket_gives_a_seconds_worth_at_once() -> None:
    bucket = TokenBucket(Rate.parse("30/s"), 0.0)
    assert bucket.take(100, 0.0) == 30
    assert bucket.take(1, 0.0) == 0
    assert bucket.wait(0.0) == pytest.approx(1 / 30)
    assert bucket.take(100, 0.5) == 15


def test_slow_rates_give_one_message_at_a_time() -> None:
    bucket = TokenBucket(Rate.parse("6/min"), 0.0)
    assert bucket.take(5, 0.0) == 1
    assert bucket.wait(0.0) == pytest.approx(10)
    assert bucket.take(5, 9.9) == 0
    assert bucket.take(5, 10.0) == 1


def test_unused_tokens_come_back_but_do_not_pile_up() -> None:
    bucket = TokenBucket(Rate.parse("2/s"), 0.0)
    bucket.give_back(bucket.take(2, 0.0))
    bucket.give_back(5)
    assert bucket.take(9, 0.0) == 2


@given(
    st.sampled_from(["1/s", "30/s", "1000/min", "5/10s", "3/h"]),
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50)), max_size=40),
)
def test_a_bucket_never_gives_more_than_its_rate(text: str, takes: list[tuple[float, int]]) -> None:
    rate, now, given = Rate.parse(text), 0.0, 0
    bucket = TokenBucket(rate, now)
    burst = bucket.take(10**6, now)
    for pause, wanted in takes:
        now += pause
        given += bucket.take(wanted, now)
    assert given <= now * rate.per_second + burst + 1e-6


@pytest.mark.anyio
async def test_targets_have_buckets_of_their_own() -> None:
    buckets = TargetBuckets(Rate.parse("1/s"))
    assert await buckets.try_take("a", 0.0) == 0
    assert await buckets.try_take("a", 0.25) == pytest.approx(0.75)
    assert await buckets.try_take("b", 0.25) == 0
    assert await buckets.try_take("a", 1.0) == 0


@pytest.mark.anyio
async def test_the_target_not_met_for_longest_is_forgotten() -> None:
    buckets = TargetBuckets(Rate.parse("1/min"), most=2)
    for target in "abac":
        await buckets.try_take(target, 0.0)
    assert await buckets.try_take("a", 0.0) > 0
    assert await buckets.try_take("b", 0.0) == 0


@pytest.mark.anyio
async def test_replicas_share_one_rate_through_the_ledger() -> None:
    clock = ManualClock()
    ledger = MemoryLedger(owner="a", clock=clock)
    rate = Rate.parse("40/s")
    replicas = [SharedBucket(ledger.sharing(name), "rate:bot", rate) for name in "ab"]
    sent = 0
    for _ in range(400):
        now = clock.monotonic()
        for bucket in replicas:
            if bucket.wants_slice:
                await bucket.fetch(now)
            sent += bucket.take(7, now)
        clock.advance(0.025)
    assert 10 * 40 * 0.9 <= sent <= 10 * 40 + 40 + 2 * 10


@pytest.mark.anyio
async def test_replicas_share_a_chats_rate_and_a_promised_token_is_asked_for_once() -> None:
    clock = ManualClock()
    ledger = MemoryLedger(owner="a", clock=clock)
    first, second = (
        SharedTargets(ledger.sharing(name), "rate:bot:target", Rate.parse("1/s")) for name in "ab"
    )
    assert await first.try_take("chat", clock.monotonic()) == 0
    wait = await second.try_take("chat", clock.monotonic())
    assert wait == pytest.approx(1.0)
    assert await second.try_take("chat", clock.monotonic()) == pytest.approx(1.0)
    clock.advance(1.0)
    assert await second.try_take("chat", clock.monotonic()) == 0
    assert await first.try_take("chat", clock.monotonic()) == pytest.approx(1.0)


def test_a_breaker_needs_enough_attempts_and_a_share_of_failures() -> None:
    failures = Failures(share=0.7, at_least=10, window=60)
    assert not any(failures.count(False, 0.0) for _ in range(3))
    assert [failures.count(True, 1.0) for _ in range(7)] == [False] * 6 + [True]


def test_a_breaker_forgets_what_is_older_than_its_window() -> None:
    failures = Failures(share=0.5, at_least=4, window=10)
    for _ in range(3):
        failures.count(True, 0.0)
    assert failures.count(True, 9.0)
    failures.forget()
    for _ in range(3):
        failures.count(True, 20.0)
    assert not failures.count(True, 31.5)


def test_a_window_of_nothing_is_a_very_short_one() -> None:
    failures = Failures(share=0.5, at_least=1, window=0.0)
    assert failures.count(True, 5.0)
