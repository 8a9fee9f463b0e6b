"""What one rendering may use up, and the meter that counts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from router.templating.codes import RenderError


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one rendering.

    Attributes:
        output: Characters of one part of a message (a body, a subject).
        iterations: Turns of all loops together, calls of macros and texts included.
        depth: Macros, texts and recursive loops inside one another.
        seconds: Time, looked at between turns; needs ``monotonic``.
        monotonic: A clock in seconds, such as ``time.monotonic``.
    """

    output: int = 256 * 1024
    iterations: int = 100_000
    depth: int = 32
    seconds: float = 1.0
    monotonic: Callable[[], float] | None = None


LIMITS = Limits()


class Meter:
    """Counts what one rendering uses and ends it at a limit."""

    __slots__ = ("_deadline", "_depth", "_iterations", "_limits", "_produced")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._iterations = 0
        self._produced = 0
        self._depth = 0
        monotonic = limits.monotonic
        self._deadline = monotonic() + limits.seconds if monotonic else 0.0

    def step(self, weight: int = 0) -> None:
        """One turn of a loop or one call; ``weight`` is the fixed text it writes.

        Raises:
            RenderError: too many turns, too much text or too much time.
        """
        self._iterations += 1
        self._produced += weight
        limits = self._limits
        if self._iterations > limits.iterations:
            raise RenderError("T165", f"loops turned more than {limits.iterations} times")
        if self._produced > 4 * limits.output:
            raise self._too_long()
        if self._iterations % 16 == 0 and limits.monotonic:
            self._look_at_clock(limits.monotonic)

    def produce(self, size: int) -> None:
        """So many characters were made, whether or not they end up in the message.

        Raises:
            RenderError: more than four times the output limit.
        """
        self._produced += size
        if self._produced > 4 * self._limits.output:
            raise self._too_long()

    def check_output(self, size: int) -> None:
        """Raises:
        RenderError: a part of the message has more characters than the limit.
        """
        if size > self._limits.output:
            raise self._too_long()

    def enter(self) -> None:
        """One level deeper; every ``enter`` has its ``leave``.

        Raises:
            RenderError: too deep.
        """
        if self._depth >= self._limits.depth:
            raise RenderError("T165", f"macros or texts call one another over {self._depth} deep")
        self.step()
        self._depth += 1

    def leave(self) -> None:
        self._depth -= 1

    def _look_at_clock(self, monotonic: Callable[[], float]) -> None:
        if monotonic() > self._deadline:
            raise RenderError("T165", f"rendering took longer than {self._limits.seconds:g} s")

    def _too_long(self) -> RenderError:
        return RenderError("T165", f"the text grew over {self._limits.output} characters")
