"""What outcomes mean for the delivery, and for its sink."""

from __future__ import annotations

from random import Random
from typing import Any

from router.clock import ManualClock
from router.delivery.gates import By, Gates
from router.delivery.health import SINK_BUG, Health
from router.delivery.job import Job
from router.messages import Delivered, Halt, InDoubt, Outcome, Reason, Rejected, Retry, Scope
from router.planning import Arrived, Dead, Scheduled, Settlement, Suppressed
from router.sinks import SinkConfig
from router.telemetry import Metrics
from tests.unit.delivery.builders import job

BUSY = Reason("busy")
WRONG = Reason("unauthorized")


class Patient:
    """A sink's health on a clock that stands still unless moved."""

    def __init__(self, **config: Any) -> None:
        self.clock = ManualClock()
        self.gates = Gates("mail", "c1")
        given = {"type": "test", "retry": {"first": "1s", "give_up": "1h"}, **config}
        self.health = Health(
            self.gates,
            SinkConfig.model_validate(given),
            self.clock,
            Metrics().sink("mail"),
            Random(7),
        )

    @property
    def now(self) -> float:
        return self.clock.now()

    def answer(
        self, outcome: Outcome, made: Job | None = None, *, is_probe: bool = False
    ) -> Settlement:
        made = made or job()
        made.attempts += 1
        made.first_at = self.now if made.first_at is None else made.first_at
        return self.health.conclude(made, outcome, is_probe=is_probe)

    def fail(self, times: int) -> None:
        for number in range(times):
            self.answer(Retry(BUSY), job(number))

    @property
    def closed(self) -> By | None:
        gate = self.gates.closed(self.now)
        return gate.by if gate else None


def test_failures_open_the_breaker_by_share_and_count() -> None:
    patient = Patient(breaker={"failures": 0.5, "at_least": 4})
    for number in range(3):
        patient.answer(Delivered(), job(number))
    patient.fail(2)
    assert patient.closed is None
    patient.fail(1)
    assert patient.closed is By.BREAKER


def test_old_failures_do_not_count() -> None:
    patient = Patient(breaker={"at_least": 4, "window": "1m"})
    patient.fail(3)
    patient.clock.advance(70)
    patient.fail(3)
    assert patient.closed is None


def test_a_probe_that_fails_closes_the_breaker_again_and_one_that_works_opens_it() -> None:
    patient = Patient(breaker={"at_least": 2, "half_open": "30s"})
    patient.fail(2)
    patient.clock.advance(30)
    assert patient.gates.wants_probe(patient.now)
    patient.answer(Retry(BUSY), is_probe=True)
    assert patient.closed is By.BREAKER
    patient.clock.advance(30)
    patient.answer(Delivered(), is_probe=True)
    assert patient.closed is None
    patient.fail(1)
    assert patient.closed is None


def test_late_answers_of_others_neither_open_the_breaker_nor_prolong_it() -> None:
    patient = Patient(breaker={"at_least": 2, "half_open": "30s"})
    patient.fail(2)
    gate = patient.gates.closed(patient.now)
    patient.clock.advance(10)
    patient.answer(Delivered(), job(8))
    patient.fail(5)
    assert patient.gates.closed(patient.now) == gate


def test_a_provider_that_refuses_a_message_works() -> None:
    patient = Patient(breaker={"at_least": 2})
    for number in range(5):
        patient.answer(Rejected(BUSY), job(number))
    assert patient.closed is None


def test_retry_after_closes_what_its_scope_says() -> None:
    for scope in (Scope.SINK, Scope.ENDPOINT):
        patient = Patient()
        patient.answer(Retry(BUSY, 60, scope))
        assert patient.closed is By.RETRY_AFTER
    patient = Patient()
    made = job()
    settlement = patient.answer(Retry(BUSY, 60, Scope.TARGET), made)
    assert patient.closed is None
    assert isinstance(settlement, Scheduled)
    assert patient.gates.target_until(made.target.address, patient.now) == settlement.due


def test_others_wait_although_this_delivery_is_given_up() -> None:
    patient = Patient()
    made = job(expires_at=patient.now + 5)
    assert isinstance(patient.answer(Retry(BUSY, 60, Scope.SINK), made), Suppressed)
    assert patient.closed is By.RETRY_AFTER


def test_two_halts_keep_the_messages_until_the_probe() -> None:
    patient = Patient()
    first = patient.answer(Halt(WRONG), job(1))
    second = patient.answer(Halt(WRONG), job(2))
    assert isinstance(first, Scheduled)
    assert patient.closed is By.HALT
    # The gate keeps them, and whatever opens it lets them go.
    assert second == Scheduled(patient.now + 1, WRONG)
    assert patient.gates.closed_until(By.HALT) == patient.now + 30


def test_a_halted_message_is_due_before_it_expires() -> None:
    patient = Patient()
    patient.answer(Halt(WRONG), job(1))
    settlement = patient.answer(Halt(WRONG), job(2, expires_at=patient.now + 0.5))
    assert settlement == Scheduled(patient.now + 0.5, WRONG)


def test_a_delivery_that_halts_after_another_worked_is_dead() -> None:
    patient = Patient()
    made = job(1)
    patient.answer(Halt(WRONG), made)
    patient.answer(Delivered(), job(2))
    assert patient.answer(Halt(WRONG), made) == Dead(WRONG)
    assert patient.closed is None


def test_giving_up_stands_still_while_halted() -> None:
    patient = Patient()
    made = job(1)
    patient.answer(Halt(WRONG), made)
    patient.answer(Halt(WRONG), job(2))
    patient.clock.advance(7200)
    patient.answer(Delivered(), job(3), is_probe=True)
    assert isinstance(patient.answer(Retry(BUSY), made), Scheduled)
    patient.clock.advance(3600)
    assert isinstance(patient.answer(Retry(BUSY), made), Dead)


def test_a_sinks_bug_is_tried_a_few_times() -> None:
    patient = Patient()
    made = job()
    bug = InDoubt(Reason(SINK_BUG, "ValueError"))
    settlements = [patient.answer(bug, made) for _ in range(5)]
    assert [type(s) for s in settlements] == [Scheduled] * 4 + [Dead]


def test_delivered_is_arrived() -> None:
    assert Patient().answer(Delivered()) == Arrived(None)
