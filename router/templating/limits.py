"""What one rendering may use up, and the meter that counts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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

MAX_WEIGHT = 4 * 1024 * 1024
"""Of a list or mapping: its items and characters, those of everything in it included."""


class Meter:
    """Counts what one rendering uses and ends it at a limit.

    Attributes:
        output: How many characters a part of the message may have.
    """

    __slots__ = ("_deadline", "_depth", "_iterations", "_limits", "_produced", "_weights", "output")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.output = limits.output
        self._iterations = 0
        self._produced = 0
        self._depth = 0
        self._weights: dict[int, tuple[Any, int]] = {}
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
        if self._produced > 4 * self.output:
            raise self.too_long()
        if self._iterations % 16 == 0 and limits.monotonic:
            self._look_at_clock(limits.monotonic)

    def produce(self, size: int) -> None:
        """So many characters were made, whether or not they end up in the message.

        Raises:
            RenderError: more than four times the output limit.
        """
        self._produced += size
        if self._produced > 4 * self.output:
            raise self.too_long()

    def too_long(self) -> RenderError:
        """What ends a rendering whose output passes the limit."""
        return RenderError("T165", f"the text grew over {self.output} characters")

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

    def weigh(self, value: Any) -> Any:
        """The value, if writing or comparing all of it is affordable.

        A list that holds another one many times costs as much as if it held copies, so a few
        nested lists could keep a serialiser busy for ever. Weights are kept: the work is linear.

        Raises:
            RenderError: it is too heavy.
        """
        if isinstance(value, list | tuple | dict):
            self._weight(value)
        return value

    def _weight(self, value: Any) -> int:
        if isinstance(value, str):
            return 1 + len(value)
        if not isinstance(value, list | tuple | dict):
            return 1
        known = self._weights.get(id(value))
        if known:
            return known[1]
        parts = value if isinstance(value, list | tuple) else (*value.keys(), *value.values())
        weight = 1
        for part in parts:
            weight += self._weight(part)
            if weight > MAX_WEIGHT:
                raise RenderError("T165", "a list or mapping holds too much")
        self._weights[id(value)] = (value, weight)
        return weight

    def _look_at_clock(self, monotonic: Callable[[], float]) -> None:
        if monotonic() > self._deadline:
            raise RenderError("T165", f"rendering took longer than {self._limits.seconds:g} s")
