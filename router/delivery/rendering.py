"""A lane's messages: each is rendered just before its claim, or on its way to the schedule."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from router.clock import Clock
from router.delivery.job import Job, render_job
from router.delivery.sending import Workers
from router.delivery.stages import Stage, reached
from router.planning import Dead

_YIELD_EVERY_S = 0.004


async def render_all(jobs: Sequence[Job], workers: Workers, clock: Clock) -> list[Job]:
    """Those that have a message, or must be claimed first; other tasks get their turn meanwhile."""
    rendered: list[Job] = []
    started = clock.monotonic()
    for job in jobs:
        if not job.is_contested and not has_message(job, workers, clock):
            continue
        reached(Stage.RENDERED)
        rendered.append(job)
        if clock.monotonic() - started > _YIELD_EVERY_S:
            await anyio.lowlevel.checkpoint()
            started = clock.monotonic()
    return rendered


def has_message(job: Job, workers: Workers, clock: Clock) -> bool:
    """Renders a delivery where that has not been done; one that can't be is dead."""
    if job.message is None and (reason := render_job(job, clock.now())):
        workers.end(job, Dead(reason))
        return False
    return True
