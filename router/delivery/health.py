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
from router.planning import Attempt, Dead, Scheduled, Settlement, Waits, conclude
from router.sinks import SinkConfig
from router.telemetry import SinkMetrics

log = logging.getLogger("router.delivery")


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
                return self._halt(job, outcome, settlement, now)
            case Retry(scope=Scope.TARGET) if isinstance(settlement, Scheduled):
                self.gates.wait(settlement.due, outcome.reason, now, job.target.address)
            case Retry(scope=Scope.SINK | Scope.ENDPOINT) if isinstance(settlement, Scheduled):
                self.gates.wait(settlement.due, outcome.reason, now)
            case Retry() | InDoubt():
                self._failed(outcome.reason, now, is_probe=is_probe)
            case Delivered() | Rejected():
                self._worked(now)
        return settlement

    def _halt(self, job: Job, outcome: Halt, settlement: Settlement, now: float) -> Settlement:
        if not self.gates.halt(job.key, outcome.reason, now):
            return Dead(outcome.reason)
        gate = self.gates.closed(now)
        if gate is None or not isinstance(settlement, Scheduled):
            return settlement
        log.error("sink %s is halted, its messages are kept: %s", self.gates.sink, outcome.reason)
        self._count.gates("sink", "halt", 1)
        return Scheduled(gate.until, outcome.reason)

    def _failed(self, reason: Reason, now: float, *, is_probe: bool) -> None:
        tripped = self._failures.count(True, self._clock.monotonic())
        if tripped or (is_probe and self.gates.is_closed_by(By.BREAKER)):
            self.gates.trip(now + self._half_open_s, Reason("breaker", str(reason)), now)
            self._count.breaker("open")
            log.error(
                "sink %s keeps failing and is left alone for %gs: %s",
                self.gates.sink,
                self._half_open_s,
                reason,
            )

    def _worked(self, now: float) -> None:
        self._failures.count(False, self._clock.monotonic())
        if self.gates.worked(now):
            self._failures.forget()
            self._count.gates("sink", "halt", 0)
            self._count.breaker("closed")
            log.warning("sink %s works again", self.gates.sink)
