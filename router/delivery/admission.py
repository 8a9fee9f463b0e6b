"""Lets notifications in: asks the ledger what only it can answer for all replicas."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

import anyio

from router.clock import Clock
from router.delivery.job import job_of, render_job
from router.ledger import Take, Verdict
from router.planning import Delivery, Ruleset
from router.planning.admission import Admission, Refused, Subject
from router.planning.silences import Silence
from router.telemetry import Metrics

log = logging.getLogger("router.delivery")

_YIELD_EVERY_S = 0.004


class Admits(Protocol):
    """The part of a ledger that counts."""

    async def admit(self, asks: Sequence[Take]) -> Sequence[Verdict]: ...


async def admit(
    ledger: Admits, subjects: Sequence[Subject], silences: Sequence[Silence], now: float
) -> list[Refused | None]:
    """Decides who is let in, in one call for each level of policies that is in use.

    Asking again for the same subjects gives the same answers.

    Args:
        now: Seconds since the epoch; windows go by the ledger's own clock.

    Returns:
        Aligned with the subjects: why one is suppressed, or None.

    Raises:
        LedgerDown: nothing is decided; ask again.
    """
    admission = Admission(subjects, silences, now)
    while asks := admission.next_asks():
        takes = [Take(ask.bucket, ask.member, ask.limit, ask.window) for ask in asks]
        admission.answer([verdict.granted for verdict in await ledger.admit(takes)])
    return admission.verdicts


async def try_shadows(
    shadows: Iterable[tuple[Delivery, Ruleset]], clock: Clock, metrics: Metrics
) -> None:
    """Renders what is not sent, so that a template's mistakes show before it is."""
    started = clock.monotonic()
    for delivery, rules in shadows:
        job = job_of(delivery, rules, None)
        if reason := render_job(job, clock.now()):
            metrics.route(delivery.route.id).shadow_failed()
            log.warning(
                "a message in shadow mode can't be rendered: %s",
                reason,
                extra={"router": job.names},
            )
        if clock.monotonic() - started > _YIELD_EVERY_S:
            await anyio.lowlevel.checkpoint()
            started = clock.monotonic()
