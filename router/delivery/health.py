"""What an outcome means: for the delivery, and for the sink or target it went to."""

from __future__ import annotations

import logging
from random import Random
from typing import final

from router.clock import Clock
from router.delivery.breaker import Failures
from router.delivery.gates import By, Gates
from router.delivery.job import Job
from router.messages import Delivered, Halt, InDoubt, Outcome, Reason, Rejected, Retry, Scope
from router.planning import (
    ENDPOINT,
    Attempt,
    Dead,
    Scheduled,
    Settlement,
    Waits,
    backoff,
    conclude,
)
from router.sinks import SinkConfig
from router.telemetry import SinkMetrics

log = logging.getLogger("router.delivery")

SINK_BUG = "sink_bug"
"""Reason code of attempts that a sink's own mistake broke off."""

_MOST_BUGS = 5
_OTHERS_FIRST_S = 1.0
_ENDPOINT_QUIET_S = 60.0


@final
class Health:
    """Turns a sink's outcomes into settlements, and closes and opens its gates by them."""

    def __init__(
        self, gates: Gates, config: SinkConfig, clock: Clock, count: SinkMetrics, random: Random
    ) -> None:
        self.gates = gates
        self._clock = clock
        self._count = count
        self._random = random
        self._half_open_s = config.breaker.half_open
        self._waits = Waits(
            config.retry.first, config.retry.factor, config.retry.cap, config.retry.give_up
        )
        self._failures = Failures(
            share=config.breaker.failures,
            at_least=config.breaker.at_least,
            window=config.breaker.window,
        )

    def conclude(self, job: Job, outcome: Outcome, *, is_probe: bool) -> Settlement:
        """What becomes of a delivery whose attempt ended so."""
        now = self._clock.now()
        first_at = now if job.first_at is None else job.first_at
        attempt = Attempt(
            number=job.attempts,
            first_at=first_at + self.gates.halted_since(first_at, now),
            expires_at=job.expires_at,
            in_doubt=job.in_doubt,
        )
        settlement = conclude(outcome, attempt, self._waits, now, self._random.random())
        match outcome:
            case Halt():
                settlement = self._halt(job, outcome, settlement, now, is_probe=is_probe)
            case Retry() | InDoubt() if job.target.kind == ENDPOINT:
                self._endpoint_failed(job, outcome, settlement, now)
            case Retry(scope=Scope.TARGET):
                self.gates.wait(
                    self._until(job, outcome, settlement, now),
                    outcome.reason,
                    now,
                    job.target.address,
                )
            case Retry(scope=Scope.SINK | Scope.ENDPOINT):
                self.gates.wait(self._until(job, outcome, settlement, now), outcome.reason, now)
            case Retry() | InDoubt():
                self._failed(outcome.reason, now, is_probe=is_probe)
            case Delivered() | Rejected():
                self._worked(now, is_probe=is_probe)
        if isinstance(settlement, Scheduled) and settlement.reason.code == SINK_BUG:
            return Dead(settlement.reason) if job.attempts >= _MOST_BUGS else settlement
        return settlement

    def _endpoint_failed(
        self, job: Job, outcome: Retry | InDoubt, settlement: Settlement, now: float
    ) -> None:
        """A customer's endpoint is a server of its own: its failures say nothing of the others.

        One that asks for time, or does not answer and so holds up a worker, is left alone.
        """
        address = job.target.address
        if isinstance(outcome, InDoubt):
            self.gates.wait(now + _ENDPOINT_QUIET_S, outcome.reason, now, address)
        elif outcome.scope is not Scope.MESSAGE:
            until = self._until(job, outcome, settlement, now)
            self.gates.wait(until, outcome.reason, now, address)

    def _until(self, job: Job, outcome: Retry, settlement: Settlement, now: float) -> float:
        """Until when others wait, whether or not this delivery is worth another attempt."""
        if isinstance(settlement, Scheduled):
            return settlement.due
        after = backoff(job.attempts, self._waits, 1.0) if outcome.after is None else outcome.after
        return now + after

    def _halt(
        self, job: Job, outcome: Halt, settlement: Settlement, now: float, *, is_probe: bool
    ) -> Settlement:
        was_halted = self.gates.is_closed_by(By.HALT)
        if not self.gates.halt(job.key, outcome.reason, now, is_probe=is_probe):
            return Dead(outcome.reason)
        until = self.gates.closed_until(By.HALT)
        if until is None or not isinstance(settlement, Scheduled):
            return settlement
        if not was_halted:
            log.error(
                "sink %s is halted, its messages are kept: %s", self.gates.sink, outcome.reason
            )
        # The gate keeps it as long as need be; of what waits behind the gate, others go first.
        due = min(until, now + _OTHERS_FIRST_S)
        return Scheduled(
            due if job.expires_at is None else min(due, job.expires_at), outcome.reason
        )

    def _failed(self, reason: Reason, now: float, *, is_probe: bool) -> None:
        tripped = self._failures.count(True, self._clock.monotonic())
        is_open = self.gates.is_closed_by(By.BREAKER)
        if (tripped and not is_open) or (is_probe and is_open):
            self.gates.trip(now + self._half_open_s, Reason("breaker", str(reason)), now)
            self._count.breaker("open")
            log.error(
                "sink %s keeps failing and is left alone for %gs: %s",
                self.gates.sink,
                self._half_open_s,
                reason,
            )
        if is_probe:
            self.gates.failed(now)

    def _worked(self, now: float, *, is_probe: bool) -> None:
        self._failures.count(False, self._clock.monotonic())
        if self.gates.worked(now, is_probe=is_probe):
            self._failures.forget()
            self._count.breaker("closed")
            log.warning("sink %s works again", self.gates.sink)
