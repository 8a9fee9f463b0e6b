"""Planned misbehaviour: which call to which target goes wrong, and how. Nothing is random."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, final, get_args

ANY_TARGET = "*"
"""A plan for this target holds for every target without one of its own."""

UNREAD = "<unread>"
"""A plan for this target strikes HTTP calls before their body is read."""

Kind: TypeAlias = Literal[
    "answer",
    "reset",
    "close",
    "stall",
    "drip",
    "cut",
    "truncate",
    "html",
    "rst_stream",
    "goaway",
]
Command: TypeAlias = Literal["RCPT", "DATA", "."]


@dataclass(frozen=True, slots=True)
class Fault:
    """What one call meets instead of an honest answer.

    Attributes:
        kind: ``answer`` gives the stated one; ``reset`` and ``close`` end the connection without
            an answer; ``stall`` says nothing for ``seconds``, then closes; ``drip`` spreads the
            honest answer over ``seconds``; ``cut`` ends the connection in the middle of it;
            ``truncate`` sends half of it as if it were whole; ``html`` gives it a wrong
            content type. SMTP knows ``answer``, ``reset``, ``close`` and ``stall``. Over
            HTTP/2, ``rst_stream`` ends the stream alone, and ``goaway`` the connection: once the
            earlier streams are answered, and this one too with ``after_effect``. Over HTTP/1.1
            they are as ``reset``.
        after_effect: The message is stored all the same, so a second attempt shows as a repeat.
        status: HTTP status or SMTP reply code of ``answer``.
        headers: Of ``answer``.
        body: Of ``answer``; for SMTP the reply's text, beginning with its enhanced code; the
            remark of ``goaway``.
        code: HTTP/2 error code of ``rst_stream`` and ``goaway``.
        seconds: How long ``stall`` and ``drip`` take.
        command: For a mail's recipient: when the fault strikes; ``.`` is the end of the data.
    """

    kind: Kind
    after_effect: bool = False
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: str = ""
    code: int = 0
    seconds: float = 30.0
    command: Command = "RCPT"

    @property
    def needs_effect(self) -> bool:
        """Whether the call is served as usual before the fault shows."""
        return self.after_effect or self.kind in ("drip", "cut", "truncate", "html")

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Fault:
        """A fault from its JSON form.

        Raises:
            TypeError: a field is unknown or missing.
            ValueError: there is no such kind or command.
        """
        fault = cls(**fields)
        if fault.kind not in get_args(Kind) or fault.command not in get_args(Command):
            raise ValueError(f"no fault {fault.kind!r} at {fault.command!r}")
        return fault


def answer(status: int, body: str = "", headers: Mapping[str, str] | None = None) -> Fault:
    """A stated answer and no effect."""
    return Fault("answer", status=status, body=body, headers=headers or {})


def bad_gateway() -> Fault:
    """The page that a proxy in front of a provider gives when the provider is gone."""
    page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>nginx</body>\r\n</html>"
    return answer(502, page, {"Content-Type": "text/html"})


def lost_answer(kind: Literal["reset", "close", "stall"] = "reset", seconds: float = 30.0) -> Fault:
    """The effect happens, and the client never hears of it."""
    return Fault(kind, after_effect=True, seconds=seconds)


@dataclass(frozen=True, slots=True)
class Plan:
    """Faults of one target.

    Attributes:
        on: Fault by number of call, from 1.
        always: For every other call; None answers honestly.
    """

    on: Mapping[int, Fault] = field(default_factory=dict[int, Fault])
    always: Fault | None = None


@final
class Faults:
    """The plans of one provider. Calls count per target from when its plan was set."""

    def __init__(self) -> None:
        self._plans: dict[str, Plan] = {}
        self._calls: Counter[str] = Counter()

    def plan(
        self, target: str, on: Mapping[int, Fault] | None = None, always: Fault | None = None
    ) -> None:
        """Sets the plan of a target, or of every other target for ``*``."""
        self._plans[target] = Plan(on or {}, always)
        self._calls[target] = 0

    def calls(self, target: str) -> int:
        """How many calls to a target there were since its plan was set."""
        return self._calls[target]

    def clear(self) -> None:
        """Back to honesty."""
        self._plans.clear()
        self._calls.clear()

    def draw(self, target: str, *, or_any: bool = True) -> Fault | None:
        """What this call to the target meets; each draw is one call."""
        planned = ANY_TARGET if or_any and target not in self._plans else target
        plan = self._plans.get(planned)
        if plan is None:
            return None
        self._calls[planned] += 1
        return plan.on.get(self._calls[planned], plan.always)
