"""What one input may cost: processor time, and memory where it is asked for."""

from __future__ import annotations

import resource
import signal
import tracemalloc
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class TooSlow(BaseException):
    """No ``except Exception`` on the way can take it for an error of its own."""


class TooMuch(AssertionError):
    """More memory than the input is worth."""


@contextmanager
def bounded_time(seconds: float) -> Generator[None]:
    """Of the processor, not of the clock: others may be using it.

    Raises:
        TooSlow: it was not enough.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"took over {seconds:g} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def bounded_memory(megabytes: int, *, of_process: bool = False) -> Generator[None]:
    """Of Python's own objects, which is exact and slow, or of the process.

    Raises:
        TooMuch: at some moment more was held.
    """
    if of_process:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        yield
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        _check(grown * 1024, megabytes)
        return
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    _check(peak, megabytes)


def _check(peak: int, megabytes: int) -> None:
    if peak > megabytes * 1024**2:
        raise TooMuch(f"{peak / 1024**2:.0f} MB were held, {megabytes} are enough")
