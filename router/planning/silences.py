"""Silences: what operators keep from being sent for a while. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from router.messages import Reason
from router.nodes import plain_node
from router.planning.model import Delivery, Member
from router.planning.policies import Bypass
from router.problems import Position, Problems, Source
from router.routing import Condition, Expression, evaluate, parse_condition

SILENCED: Final = "silenced"
_NOWHERE: Final = Position(Source.of("silence", ""), 1, 1)


@dataclass(frozen=True, slots=True)
class Silence:
    """Keeps deliveries from being sent until it ends; all of its conditions have to hold.

    Attributes:
        until, created: Seconds since the epoch.
        match: Conditions on the event as they were written: plain YAML values.
        condition: The same, compiled.
        route, category, sink, channel, recipient: Names; empty: any.
    """

    id: str
    until: float
    author: str
    comment: str
    created: float
    match: Mapping[str, Any] | None = None
    condition: Condition | None = None
    route: str = ""
    category: str = ""
    sink: str = ""
    channel: str = ""
    recipient: str = ""

    @property
    def reason(self) -> Reason:
        return Reason(SILENCED, f"silence {self.id}")

    @property
    def is_bounded(self) -> bool:
        """It does not simply silence everything."""
        names = (self.route, self.category, self.sink, self.channel, self.recipient)
        return bool(self.match) or any(names)

    def covers(self, muted: Muted, now: float) -> bool:
        """Whether it keeps something from being sent now."""
        return (
            now < self.until
            and self.route in ("", muted.route)
            and self.category in ("", muted.category)
            and self.sink in ("", muted.sink)
            and self.channel in ("", muted.channel)
            and self.recipient in ("", muted.recipient)
            and (self.condition is None or any(evaluate(self.condition, e) for e in muted.events()))
        )


@dataclass(frozen=True, slots=True)
class Muted:
    """What silences look at.

    Attributes:
        sink, channel: Empty for a member of a digest: its message is looked at when it goes.
        events: The event, or each way to read it; asked for only where a condition needs it.
    """

    route: str
    category: str
    sink: str
    channel: str
    recipient: str
    events: Callable[[], Iterable[Any]]


def silence_over(
    silences: Iterable[Silence], subject: Delivery | Member, now: float
) -> Silence | None:
    """The first silence that keeps a delivery or a member from being sent.

    Args:
        now: Seconds since the epoch.
    """
    route, recipient = subject.route, subject.recipient
    if Bypass.SILENCES in route.policy.bypass:
        return None
    step = subject.step if isinstance(subject, Delivery) else None
    muted = Muted(
        route=route.id,
        category=route.category or "",
        sink=step.sink if step else "",
        channel=str(step.channel) if step else "",
        recipient=recipient.id if recipient else "",
        events=lambda: [subject.event],
    )
    return first_over(silences, muted, now)


def first_over(silences: Iterable[Silence], muted: Muted, now: float) -> Silence | None:
    """The first of these silences that keeps something from being sent now."""
    return next((silence for silence in silences if silence.covers(muted, now)), None)


# As it is kept -----------------------------------------------------------------------------------


def silence_to_dict(silence: Silence) -> dict[str, Any]:
    """The stable JSON form."""
    return {
        "id": silence.id,
        "match": silence.match,
        "route": silence.route or None,
        "category": silence.category or None,
        "sink": silence.sink or None,
        "channel": silence.channel or None,
        "recipient": silence.recipient or None,
        "until": silence.until,
        "author": silence.author,
        "comment": silence.comment,
        "created": silence.created,
    }


def silence_of(fields: Mapping[str, Any]) -> Silence:
    """What :func:`silence_to_dict` was given.

    Raises:
        ValueError: it can't be understood; the message says why.
    """
    texts = {
        name: _text(fields, name) for name in ("route", "category", "sink", "channel", "recipient")
    }
    match = fields.get("match")
    return Silence(
        id=_text(fields, "id", is_needed=True),
        until=_number(fields, "until"),
        author=_text(fields, "author"),
        comment=_text(fields, "comment"),
        created=_number(fields, "created"),
        match=match,
        condition=compile_silence(match) if match is not None else None,
        **texts,
    )


def why_refused(silence: Silence, now: float) -> str | None:
    """What a new silence lacks, in words; None: it may be added."""
    if not silence.comment:
        return "a silence needs a comment: why?"
    if not silence.author:
        return "a silence needs an author"
    if not silence.is_bounded:
        return "say what is silenced: match, route, category, sink, channel or recipient"
    if not now < silence.until < float("inf"):
        return "a silence ends in the future"
    return None


def compile_silence(match: Any) -> Condition:
    """The condition that a silence's plain values describe.

    Raises:
        ValueError: it can't be understood; the message says what to write.
    """
    problems = Problems()
    node = plain_node(match, _NOWHERE)
    condition = parse_condition(node, problems, compile_expression=_no_expression)
    if condition is None or problems.has_errors:
        raise ValueError("; ".join(problem.message for problem in problems.found))
    return condition


def _no_expression(text: str, at: Position, problems: Problems) -> Expression | None:
    problems.error("R126", "a silence has no when:; compare values instead", at)
    return None


def _text(fields: Mapping[str, Any], name: str, *, is_needed: bool = False) -> str:
    value = fields.get(name) or ""
    if not isinstance(value, str) or (is_needed and not value):
        raise ValueError(f"{name} is a text")
    return value


def _number(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is a number of seconds since the epoch")
    return float(value)
