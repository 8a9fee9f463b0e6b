"""What has to hold in a day, each law by itself: from what providers saw, and the configuration.

A law gives what breaks it, in words. Where a witness can't know a moment exactly, such as when an
event was taken in, the law takes the one that is best for the router.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from router.events import Event
from router.ledger import Row, State
from router.planning import Route, Step
from router.planning.policies import Bypass, CancelOn, Mode, Rank, Throttle
from router.planning.silences import Muted
from router.routing import MISSING, evaluate
from tests.day.journal import Answer, Attempt, Journal

Law = Callable[[Journal], Iterator[str]]

SLACK_S: Final = 30.0
"""As long may a message that was let through be on its way to its provider."""
_OVERTAKEN: Final = 200
"""So many bulk messages may be claimed, or on their way to be, when something urgent comes."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """An attempt, with what it was made for."""

    attempt: Attempt
    route: Route
    step: Step
    events: tuple[Event, ...]


def _sent(journal: Journal) -> Iterator[_Sent]:
    for attempt in journal.attempts:
        route = journal.rules.routes[attempt.route]
        events = tuple(journal.events[id].event for id in attempt.events)
        yield _Sent(attempt, route, _step(route, attempt.sink), events)


def _step(route: Route, sink: str) -> Step:
    (step,) = (s for s in route.steps if sink == s.sink or sink in s.by_platform.values())
    return step


def _began(journal: Journal, sent: _Sent) -> float:
    """The time of the record that was sent for: an event that was published twice has two."""
    row = journal.rows.get(sent.attempt.key)
    return row.event_time if row else 0.0


def _notifications(journal: Journal) -> Iterator[tuple[Route, str, Event]]:
    """What people were told, or would have been: once each, however often it was tried."""
    found: set[tuple[str, str, str]] = set()
    for sent in _sent(journal):
        if not sent.step.is_for_people:
            continue
        for event in sent.events:
            key = (sent.route.id, sent.attempt.person, event.id)
            if key not in found:
                found.add(key)
                yield sent.route, sent.attempt.person, event


# Let in ------------------------------------------------------------------------------------------


def modes_and_rollouts(journal: Journal) -> Iterator[str]:
    """What is in shadow or off sends nothing, and who is drawn once is drawn each time."""
    drawn: dict[tuple[str, str], set[bool]] = defaultdict(set)
    for sent in _sent(journal):
        if sent.route.policy.mode is not Mode.LIVE:
            yield f"{sent.route.id} is in mode {sent.route.policy.mode} and sent {_of(sent)}"
    rows = journal.known()
    for key, (route, event) in journal.expected.items():
        rollout = journal.rules.routes[route].policy.rollout
        row = rows.get(key)
        if rollout is None or rollout.by is None or row is None or row.reason is None:
            continue
        is_out = row.reason.code == "rollout"
        drawn[route, str(rollout.by.value(journal.events[event].event))].add(is_out)
    for (route, value), found in drawn.items():
        if len(found) > 1:
            yield f"{route}: {value} is drawn at one time and not at another"


def preferences(journal: Journal) -> Iterator[str]:
    """Nobody hears on a channel of what they do not want there."""
    optional = {"talk", "offers"}
    for sent in _sent(journal):
        category, person = sent.route.category, journal.people.get(sent.attempt.person)
        if category not in optional or person is None or not sent.step.is_for_people:
            continue
        wants = person.preferences
        if wants.get(f"{category}/{sent.step.channel}", wants.get(category)) is False:
            yield f"{person.id} does not want {category}, and got {_of(sent)}"


def throttles(journal: Journal) -> Iterator[str]:
    """Nobody is told more than a throttle allows."""
    taken: dict[tuple[Throttle, str, str], list[tuple[float, float]]] = defaultdict(list)
    for route, person, event in _notifications(journal):
        if Bypass.THROTTLE in route.policy.bypass:
            continue
        at = journal.events[event.id].at
        for throttle in route.policy.throttles:
            by = "" if throttle.by is None else str(throttle.by.value(event))
            taken[throttle, person, by].append((at, journal.taken_by(at)))
    for (throttle, person, by), places in taken.items():
        if crowded := _crowded(places, throttle.limit, throttle.per):
            yield f"{person} {by} is above {throttle.limit} of {throttle.scope}: {crowded}"


def dedupes(journal: Journal) -> Iterator[str]:
    """Nobody is told twice of the same within its window."""
    taken: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for route, person, event in _notifications(journal):
        dedupe = route.policy.dedupe
        if dedupe is not None:
            at = journal.events[event.id].at
            value = str(dedupe.key.value(event))
            taken[route.id, person, value].append((at, journal.taken_by(at)))
    for (route, person, value), places in taken.items():
        dedupe = journal.rules.routes[route].policy.dedupe
        assert dedupe is not None
        if crowded := _crowded(places, 1, dedupe.window):
            yield f"{route}: {person} is told twice of {value}: {crowded}"


def _crowded(places: list[tuple[float, float]], limit: int, window: float) -> str:
    """More than the limit for certain within a window, if that is so; places are taken at a time
    between the two given."""
    places.sort()
    for first, last in zip(places, places[limit:], strict=False):
        if max(first[1], last[1]) - first[0] < window and last[1] - first[0] < window:
            return f"{limit + 1} within {last[1] - first[0]:.0f} s"
    return ""


# Before each send --------------------------------------------------------------------------------


def quiet_hours(journal: Journal) -> Iterator[str]:
    """Nobody is woken."""
    for sent in _sent(journal):
        hours = sent.step.policy.quiet_hours
        person = journal.people.get(sent.attempt.person)
        if hours is None or person is None or Bypass.QUIET_HOURS in sent.route.policy.bypass:
            continue
        zone = _zone(hours.zone or person.timezone) or ZoneInfo(hours.otherwise)
        # Somebody who had just time when it was let through may get it a little later.
        then = datetime.fromtimestamp(sent.attempt.at - SLACK_S, zone)
        now = datetime.fromtimestamp(sent.attempt.at, zone)
        if all(_is_quiet(t.hour * 60 + t.minute, hours.start, hours.end) for t in (then, now)):
            yield f"{person.id} has quiet hours at {now:%H:%M} {zone} and got {_of(sent)}"


def _is_quiet(minute: int, start: int, end: int) -> bool:
    return start <= minute < end if start < end else minute >= start or minute < end


def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (KeyError, ValueError):
        return None


def delays(journal: Journal) -> Iterator[str]:
    """Nothing is sent before its time."""
    for sent in _sent(journal):
        shortest = min(sent.step.policy.delay, 2 * 3600.0)
        if sent.attempt.at < max(e.time for e in sent.events) + shortest - 0.01:
            yield f"{_of(sent)} was sent before its delay was over"


def expiries(journal: Journal) -> Iterator[str]:
    """Nothing is sent too late."""
    for sent in _sent(journal):
        if sent.step.expires is not None:
            time = max(_began(journal, sent), *(e.time for e in sent.events))
            late = sent.attempt.at - time - sent.step.expires
            if late > SLACK_S:
                yield f"{_of(sent)} was sent {late:.0f} s after it had expired"


def silences(journal: Journal) -> Iterator[str]:
    """What operators silence is silent."""
    for sent in _sent(journal):
        if Bypass.SILENCES in sent.route.policy.bypass:
            continue
        muted = Muted(
            route=sent.route.id,
            category=sent.route.category or "",
            sink=sent.attempt.sink,
            channel=str(sent.step.channel),
            recipient=sent.attempt.person,
            events=lambda s=sent: s.events[-1:],
        )
        for silence in journal.silences:
            is_on = silence.created + SLACK_S < sent.attempt.at < silence.until - 1
            if is_on and silence.covers(muted, sent.attempt.at):
                yield f"silence {silence.id} covers {_of(sent)}"


def cancellations(journal: Journal) -> Iterator[str]:
    """What another event has ended is not sent any more: not that of a route, nor a step's. What
    a digest tells of was decided when it closed, after the last of its events."""
    ended = _ended(journal)
    for sent in _sent(journal):
        is_digest = sent.route.policy.digest is not None and sent.step.is_for_people
        decided = max(e.record.timestamp for e in sent.events) if is_digest else sent.attempt.at
        for name, cancel in _endings(sent):
            for event in sent.events:
                value = _tie([same.own for same in cancel.same], event)
                began = max(event.time, 0.0 if is_digest else _began(journal, sent))
                for time, known in ended.get((name, value), ()):
                    if 0 <= time - began <= cancel.within and decided > known + 1:
                        yield f"{_of(sent)} was sent {sent.attempt.at - known:.0f} s after its end"


def _endings(sent: _Sent) -> Iterator[tuple[str, CancelOn]]:
    if sent.route.policy.cancel_on is not None:
        yield sent.route.id, sent.route.policy.cancel_on
    if sent.step.unless is not None:
        yield f"{sent.route.id}/{sent.step.id}", sent.step.unless


def _ended(journal: Journal) -> Mapping[tuple[str, Any], list[tuple[float, float]]]:
    """When events ended what is tied to them by a value, and when that was known."""
    found: dict[tuple[str, Any], list[tuple[float, float]]] = defaultdict(list)
    cancels = [(r.id, r.policy.cancel_on) for r in journal.rules.routes.values()]
    cancels += [
        (f"{r.id}/{s.id}", s.unless) for r in journal.rules.routes.values() for s in r.steps
    ]
    for name, cancel in cancels:
        if cancel is None:
            continue
        for published in journal.events.values():
            if evaluate(cancel.match, published.event):
                value = _tie([same.other for same in cancel.same], published.event)
                known = journal.taken_by(published.at)
                found[name, value].append((published.event.time, known))
    return found


def _tie(paths: Iterable[Any], event: Event) -> Any:
    values = tuple(path.value(event) for path in paths)
    return None if MISSING in values else values


# One after another -------------------------------------------------------------------------------


def orders(journal: Journal) -> Iterator[str]:
    """With an order, no message of a key is tried after a later one."""
    last: dict[tuple[str, bytes, int], int] = {}
    for sent in _sent(journal):
        record = sent.events[0].record
        if not sent.step.policy.is_ordered or record.key is None:
            continue
        scope = (sent.attempt.sink, record.key, record.partition)
        if record.offset < last.get(scope, -1):
            yield f"{_of(sent)} came after offset {last[scope]} of its key"
        last[scope] = max(record.offset, last.get(scope, -1))


def priorities(journal: Journal) -> Iterator[str]:
    """What is urgent does not stand in line behind what can wait."""
    firsts: dict[bytes, _Sent] = {}
    for sent in _sent(journal):
        firsts.setdefault(sent.attempt.key, sent)
    by_sink: dict[str, list[_Sent]] = defaultdict(list)
    for sent in sorted(firsts.values(), key=lambda s: s.attempt.at):
        by_sink[sent.attempt.sink].append(sent)
    for line in by_sink.values():
        bulk = [s.attempt.at for s in line if s.step.policy.rank is Rank.BULK]
        for sent in line:
            if sent.step.policy.rank is Rank.URGENT and not _had_to_wait(journal, sent):
                since = journal.events[sent.attempt.events[0]].at + 1
                before = sum(since < at < sent.attempt.at for at in bulk) if bulk else 0
                if before > _OVERTAKEN:
                    yield f"{before} bulk messages went before {_of(sent)}"


def _had_to_wait(journal: Journal, sent: _Sent) -> bool:
    """A process ended between its event and its send, and its claim may have been left behind; or
    nobody knew who it is for."""
    since = journal.events[sent.attempt.events[0]].at
    has_ended = any(since <= life.end <= sent.attempt.at for life in journal.lives if life.end)
    return has_ended or any(
        begin <= sent.attempt.at and since <= end + SLACK_S for begin, end in journal.away
    )


def fallbacks(journal: Journal) -> Iterator[str]:
    """What stands in for another is not sent once that has arrived, nor that once it is sent."""
    found: dict[tuple[str, tuple[str, ...], str], list[_Sent]] = defaultdict(list)
    for sent in _sent(journal):
        found[sent.route.id, sent.attempt.events, sent.attempt.person].append(sent)
    for family in found.values():
        for later in family:
            if later.step.fallback_for is None or later.step.unless is not None:
                continue
            for first in family:
                if first.step.id != later.step.fallback_for:
                    continue
                arrived = first.attempt.is_known and not _died(journal, first.attempt)
                ended = first.attempt.ended or 0.0
                if arrived and later.attempt.at > ended + 1:
                    yield f"{_of(later)} was sent though {_of(first)} had arrived"


def _died(journal: Journal, attempt: Attempt) -> bool:
    """Its process was killed soon after, and may not have been able to tell."""
    life = journal.lives[attempt.life - 1]
    return life.is_killed and attempt.ended is not None and life.end - attempt.ended < 600


def waits(journal: Journal) -> Iterator[str]:
    """A provider that says how long to wait is left alone for as long."""
    until: dict[tuple[str, int], tuple[float, float]] = {}
    for attempt in sorted(journal.attempts, key=lambda a: a.at):
        since, end = until.get((attempt.sink, attempt.life), (0.0, 0.0))
        if since + 1 < attempt.at < end - 1:
            yield f"{attempt.sink} was to wait {end - attempt.at:.0f} s more"
        if attempt.answer is Answer.WAIT and attempt.ended is not None:
            until[attempt.sink, attempt.life] = (attempt.ended, attempt.ended + attempt.wait)


def addresses(journal: Journal) -> Iterator[str]:
    """Nothing new is sent to an address that was found dead."""
    gone: dict[tuple[str, str], float] = {}
    for sent in _sent(journal):
        attempt = sent.attempt
        known = gone.get((attempt.sink, attempt.address))
        if known is not None and journal.events[attempt.events[0]].at > known:
            yield f"{_of(sent)} went to an address that was gone"
        is_heard = attempt.ended is not None and not _died(journal, attempt)
        if attempt.answer is Answer.GONE and is_heard:
            known = journal.taken_by(attempt.ended or attempt.at) + 600
            gone.setdefault((attempt.sink, attempt.address), known)


def digests(journal: Journal) -> Iterator[str]:
    """A digest counts what it tells of, and each event is told of once."""
    told: dict[tuple[str, str, str, str], set[bytes]] = defaultdict(set)
    for sent in _sent(journal):
        attempt = sent.attempt
        if sent.route.policy.digest is None or not sent.step.is_for_people:
            continue
        if attempt.count != len(attempt.events) or len(set(attempt.events)) != attempt.count:
            yield f"{_of(sent)} says {attempt.count}"
        for event in attempt.events:
            told[sent.route.id, attempt.person, event, sent.step.id].add(attempt.key)
            if (
                len(sent.step.by_platform) == 0
                and len(told[sent.route.id, attempt.person, event, sent.step.id]) > 1
            ):
                yield f"{event} is told of twice to {attempt.person} by {sent.route.id}"
    known = {(route, person, event) for route, person, event, _ in told}
    for key, member in journal.members.items():
        row = journal.rows.get(key)
        if row is not None and member in known and not _is(row, State.SUPPRESSED, "digested"):
            yield f"{member} was told of and ended as {row.state} {row.reason}"


def halts(journal: Journal) -> Iterator[str]:
    """A wrong token kills no message."""
    for row in journal.rows.values():
        if _is(row, State.DEAD, "unauthorized"):
            yield f"{row.key.hex()} died of a wrong token"


def _is(row: Row, state: State, code: str) -> bool:
    return row.state is state and row.reason is not None and row.reason.code == code


def _of(sent: _Sent) -> str:
    attempt = sent.attempt
    return f"{attempt.route}/{sent.step.id} of {','.join(attempt.events[:3])} to {attempt.person}"


LAWS: Final[Mapping[str, Law]] = {
    "modes, rollouts": modes_and_rollouts,
    "preferences": preferences,
    "throttles": throttles,
    "dedupe": dedupes,
    "digests": digests,
    "delays": delays,
    "quiet hours": quiet_hours,
    "silences": silences,
    "cancel_on, unless": cancellations,
    "expires": expiries,
    "ordering": orders,
    "priority": priorities,
    "fallbacks": fallbacks,
    "Retry-After": waits,
    "gone addresses": addresses,
    "halts": halts,
}


def broken(journal: Journal) -> dict[str, list[str]]:
    """What breaks each law."""
    return {name: list(law(journal)) for name, law in LAWS.items()}
