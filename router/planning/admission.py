"""Which notifications are let in: modes, rollouts, silences, duplicates, throttles.

It decides what it can, says what has to be asked of the ledger, and weighs the answers. Pure.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

from router.messages import Reason
from router.planning.fan_out import GONE
from router.planning.keys import delivery_key
from router.planning.model import Cause, Delivery, Member, Route
from router.planning.plan import UNREACHABLE
from router.planning.policies import OPTED_OUT, Bypass, Mode, Rollout, RoutePolicy, Throttle
from router.planning.silences import Silence, silence_over
from router.problems import Position
from router.routing import MISSING, Path
from router.values import format_duration

Subject: TypeAlias = Delivery | Member
"""What asks to be let in."""

SHADOW: Final = Reason("shadow", "the route is in shadow mode")
ROLLOUT: Final = Reason("rollout", "not drawn for the rollout")
_KINDS: Final = {"route": 1, "category": 2, "all": 3}
_DEDUPE: Final = (0, 0)
_DRAWS: Final = 2**64
_Level: TypeAlias = tuple[int, int]
_Notification: TypeAlias = list[int]
"""The places of its subjects in the admission: its channels and devices."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It is suppressed.

    Attributes:
        at: Where the rule is written, if it is.
    """

    reason: Reason
    at: Position | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Asks for one of at most ``limit`` places in a bucket within ``window`` seconds.

    Who asks again for the same ``member`` is told what was said the first time.
    """

    bucket: str
    member: str
    limit: int
    window: float


@dataclass(frozen=True, slots=True)
class _Rule:
    """An ask, and what a refusal means."""

    level: _Level
    ask: Ask
    refusal: Refused
    is_for_people: bool


def is_free(policy: RoutePolicy) -> bool:
    """Nothing holds up the route's notifications, but for silences."""
    return (
        policy.mode is Mode.LIVE
        and policy.rollout is None
        and policy.dedupe is None
        and not policy.throttles
    )


def notification_key(subject: Subject) -> str:
    """What throttles and dedupes count: route x recipient for an event, without steps."""
    identity, route = subject.event.identity, subject.route.key_id
    return _hash(subject, "notification", identity=identity, route=route).hex()


@final
class Admission:
    """Decides on a batch, level by level: the ledger is asked for all duplicates at once, then for
    the narrowest throttles, then for the wider ones.

    ``while asks := admission.next_asks(): admission.answer(…)``; then :attr:`verdicts` are final.
    Within a level events are in order. Only what was let in so far asks on.

    Attributes:
        verdicts: Aligned with the subjects: None lets one in.
    """

    def __init__(
        self, subjects: Sequence[Subject], silences: Sequence[Silence] = (), now: float = 0.0
    ) -> None:
        self._subjects = subjects
        self.verdicts: list[Refused | None] = [screen(s, silences, now) for s in subjects]
        self._levels: dict[_Level, list[tuple[_Notification, _Rule]]] = defaultdict(list)
        self._asked: list[tuple[_Notification, _Rule]] = []
        for notification in self._notifications():
            for rule in _rules([subjects[place] for place in notification]):
                self._levels[rule.level].append((notification, rule))

    def next_asks(self) -> list[Ask]:
        """What to ask of the ledger next; empty: everything is decided."""
        while self._levels:
            level = self._levels.pop(min(self._levels))
            self._asked = [entry for entry in level if self._concerned(*entry)]
            if self._asked:
                return [rule.ask for _, rule in self._asked]
        return []

    def answer(self, granted: Sequence[bool]) -> None:
        """Takes the ledger's answers, aligned with what :meth:`next_asks` gave last."""
        for (notification, rule), is_granted in zip(self._asked, granted, strict=True):
            if not is_granted:
                for place in self._concerned(notification, rule):
                    self.verdicts[place] = rule.refusal

    def _notifications(self) -> Iterable[_Notification]:
        """Those that have something to send, and rules to keep."""
        found: dict[str, _Notification] = {}
        for place, (subject, verdict) in enumerate(zip(self._subjects, self.verdicts, strict=True)):
            policy = subject.route.policy
            if verdict is None and (policy.dedupe or policy.throttles) and _can_be_sent(subject):
                found.setdefault(notification_key(subject), []).append(place)
        return found.values()

    def _concerned(self, notification: _Notification, rule: _Rule) -> list[int]:
        """Places of those that are still let in, and that the rule is about."""
        return [
            place
            for place in notification
            if self.verdicts[place] is None
            and (not rule.is_for_people or _is_for_people(self._subjects[place]))
        ]


def screen(subject: Subject, silences: Sequence[Silence], now: float) -> Refused | None:
    """What can be decided without the ledger.

    Args:
        now: Seconds since the epoch; silences that have ended say nothing.
    """
    route = subject.route
    policy = route.policy
    if policy.mode is Mode.SHADOW:
        return Refused(SHADOW, route.at)
    if policy.rollout is not None and not is_drawn(policy.rollout, subject):
        return Refused(ROLLOUT, policy.rollout.at or route.at)
    # What has no address is not sent anyway; its stand-ins are subjects of their own, and found
    # again by its end.
    has_address = isinstance(subject, Member) or subject.barred != UNREACHABLE
    if silences and has_address and (silence := silence_over(silences, subject, now)):
        return Refused(silence.reason)
    return None


def is_drawn(rollout: Rollout, subject: Subject) -> bool:
    """Whether a rollout includes somebody: always the same people; a higher percentage only adds
    some. An event without the value that is drawn by is drawn by its recipient."""
    value: Any = None
    if rollout.by is not None:
        value = _value(rollout.by, subject)
    if value is None:
        value = _recipient(subject) or subject.event.identity
    key = delivery_key(
        tenant=subject.tenant,
        identity="",
        route=subject.route.key_id,
        step="",
        recipient=_text(value),
        endpoint="",
        part="rollout",
    )
    return int.from_bytes(key[:8], "big") * 100 < rollout.percent * _DRAWS


# What is asked -----------------------------------------------------------------------------------


def _rules(subjects: Sequence[Subject]) -> Iterable[_Rule]:
    """What a notification has to be granted, from the narrowest on."""
    first = subjects[0]
    policy, member = first.route.policy, notification_key(first)
    if policy.dedupe is not None and (value := _value(policy.dedupe.key, first)) is not None:
        bucket = f"dedupe:{first.route.key_id}:{_bucket(first, _text(value))}"
        reason = Reason("duplicate", f"the same {policy.dedupe.key.text} was sent already")
        ask = Ask(bucket, member, 1, policy.dedupe.window)
        refusal = Refused(reason, policy.dedupe.at or first.route.at)
        yield _Rule(_DEDUPE, ask, refusal, is_for_people=False)
    if Bypass.THROTTLE in policy.bypass or not any(map(_is_for_people, subjects)):
        return
    counts: dict[int, int] = {}
    for throttle in _strictest(policy.throttles):
        kind = _KINDS[throttle.scope.partition(":")[0]]
        level = (kind, counts.setdefault(kind, 0))
        counts[kind] += 1
        yield _throttled(throttle, level, first, member)


def _strictest(throttles: Sequence[Throttle]) -> Iterable[Throttle]:
    """Throttles that count the same: the lowest limit holds."""
    found: dict[tuple[str, float, Path | None], Throttle] = {}
    for throttle in throttles:
        counted = (throttle.scope, throttle.per, throttle.by)
        if counted not in found or throttle.limit < found[counted].limit:
            found[counted] = throttle
    return found.values()


def _throttled(throttle: Throttle, level: _Level, subject: Subject, member: str) -> _Rule:
    by = "" if throttle.by is None else f"{throttle.by.text}={_text(_value(throttle.by, subject))}"
    counted = _bucket(subject, f"{throttle.per!r}:{by}", is_across=True)
    ask = Ask(f"throttle:{throttle.scope}:{counted}", member, throttle.limit, throttle.per)
    reason = Reason("throttled", _in_words(throttle, subject.route))
    refusal = Refused(reason, throttle.at or subject.route.at)
    return _Rule(level, ask, refusal, is_for_people=True)


def _in_words(throttle: Throttle, route: Route) -> str:
    kind, _, name = throttle.scope.partition(":")
    of = {"route": "of this route", "category": f"of category {name}"}.get(kind, "of all routes")
    by = "" if throttle.by is None else f" by {throttle.by.text}"
    return f"limit {throttle.limit} within {format_duration(throttle.per)} {of}{by}"


def _can_be_sent(subject: Subject) -> bool:
    """It has an address, or what stands in for it at once has one."""
    if isinstance(subject, Member) or subject.barred is None:
        return True
    causes = _STARTING.get(subject.barred, frozenset())
    return any(f.step.causes & causes and _may_follow(f) for f in subject.fallbacks)


def _may_follow(fallback: Delivery) -> bool:
    """It can be sent, or what stands in for it in turn, as it has no address."""
    if fallback.barred != UNREACHABLE:
        return _can_be_sent(fallback)
    return any(Cause.UNREACHABLE in f.step.causes and _may_follow(f) for f in fallback.fallbacks)


_STARTING: Final = {
    GONE: frozenset({Cause.UNREACHABLE, Cause.REJECTED}),
    OPTED_OUT: frozenset({Cause.OPTED_OUT}),
}
"""What starts fallbacks in the same breath; the unreachable's are subjects of their own."""


def _is_for_people(subject: Subject) -> bool:
    return isinstance(subject, Member) or subject.step.is_for_people


def _recipient(subject: Subject) -> str:
    return subject.recipient.id if subject.recipient is not None else ""


def _value(path: Path, subject: Subject) -> Any:
    value = path.value(subject.event, subject.item)
    return None if value is MISSING else value


def _text(value: Any) -> str:
    """Tells values apart, those of other types too."""
    return json.dumps(value, sort_keys=True, default=str)


def _bucket(subject: Subject, value: str, *, is_across: bool = False) -> str:
    """A person's bucket for a value: of one route, or across routes."""
    route = "" if is_across else subject.route.key_id
    return _hash(subject, value, identity="", route=route).hex()


def _hash(subject: Subject, part: str, *, identity: str, route: str) -> bytes:
    return delivery_key(
        tenant=subject.tenant,
        identity=identity,
        route=route,
        step="",
        recipient=_recipient(subject),
        endpoint="",
        part=part,
    )
