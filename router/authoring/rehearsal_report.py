"""Rehearsals as plain values, and what they sum up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from router.authoring.inputs import Given
from router.authoring.rehearsed import (
    DigestRehearsal,
    EventRehearsal,
    Rehearsed,
    RouteRehearsal,
    Verdict,
)
from router.events import Event, Poison
from router.messages import message_to_dict
from router.planning.policies import Rank, zone_of


@dataclass(slots=True)
class Summary:
    """Counts over many rehearsals.

    Attributes:
        poison: Records that are no events.
        unmatched: Events that no route wants.
        unknown_tenants: Events of tenants that nobody has configured.
        digests: Digests that have closed.
        verdicts: Deliveries and recipients by what would become of them.
        sinks: Messages that would leave at once, or when their digest closes, by sink.
    """

    events: int = 0
    poison: int = 0
    unmatched: int = 0
    unknown_tenants: int = 0
    digests: int = 0
    verdicts: Counter[Verdict] = field(default_factory=Counter[Verdict])
    sinks: Counter[str] = field(default_factory=Counter[str])

    def add(self, rehearsal: EventRehearsal) -> None:
        self.events += 1
        if isinstance(rehearsal.event, Poison):
            self.poison += 1
        elif rehearsal.dead is not None:
            self.unknown_tenants += 1
        elif not rehearsal.routes and not rehearsal.ends:
            self.unmatched += 1
        self._count(lines_of([rehearsal]))

    def add_digest(self, digest: DigestRehearsal) -> None:
        self.digests += 1
        self._count(digest.lines)

    def _count(self, lines: Iterable[Rehearsed]) -> None:
        for line in lines:
            self.verdicts[line.verdict] += 1
            if line.verdict is Verdict.NOW:
                self.sinks[line.sink] += 1

    @property
    def has_failures(self) -> bool:
        """Something would be dead: a record that is no event, a recipient, a message."""
        return bool(self.poison or self.unknown_tenants or self.verdicts[Verdict.DEAD])

    def as_dict(self) -> dict[str, Any]:
        return {
            "events": self.events,
            "poison": self.poison,
            "unmatched": self.unmatched,
            "unknown_tenants": self.unknown_tenants,
            "digests": self.digests,
            "verdicts": {str(v): self.verdicts[v] for v in Verdict},
            "sinks": dict(sorted(self.sinks.items())),
        }


def lines_of(rehearsals: Iterable[EventRehearsal]) -> list[Rehearsed]:
    return [line for one in rehearsals for route in one.routes for line in route.lines]


def summary_of(rehearsals: Iterable[EventRehearsal], digests: Iterable[DigestRehearsal]) -> Summary:
    summary = Summary()
    for one in rehearsals:
        summary.add(one)
    for digest in digests:
        summary.add_digest(digest)
    return summary


def rehearsals_to_dict(
    given: Sequence[Given],
    rehearsals: Sequence[EventRehearsal],
    digests: Sequence[DigestRehearsal],
    *,
    with_content: bool,
) -> dict[str, Any]:
    """The stable JSON form of a dry run."""
    return {
        "events": [
            {"from": source.label, **event_to_dict(one, with_content=with_content)}
            for source, one in zip(given, rehearsals, strict=True)
        ],
        "digests": [digest_to_dict(one, with_content=with_content) for one in digests],
        "summary": summary_of(rehearsals, digests).as_dict(),
    }


def event_to_dict(rehearsal: EventRehearsal, *, with_content: bool) -> dict[str, Any]:
    """One event, and the routes that want it."""
    event = rehearsal.event
    place = {
        "topic": event.record.topic,
        "partition": event.record.partition,
        "offset": event.record.offset,
    }
    if isinstance(event, Poison):
        dead = {"tenant": None, "dead": _reason(event.reason)}
        return {"event": place, "poison": dead["dead"], **dead, "routes": [], "ends": []}
    fields = {"id": event.id, "type": event.type, "source": event.source, **place}
    routes = [route_to_dict(route, with_content=with_content) for route in rehearsal.routes]
    return {
        "event": fields,
        "poison": None,
        "tenant": rehearsal.tenant or None,
        "dead": _reason(rehearsal.dead) if rehearsal.dead else None,
        "routes": routes,
        "ends": list(rehearsal.ends),
    }


def route_to_dict(rehearsal: RouteRehearsal, *, with_content: bool) -> dict[str, Any]:
    """One route, and what would become of each delivery."""
    at = rehearsal.route.at
    return {
        "route": rehearsal.route.id,
        "file": at.file,
        "line": at.line,
        "deliveries": [_line(line, with_content) for line in rehearsal.lines],
    }


def digest_to_dict(rehearsal: DigestRehearsal, *, with_content: bool) -> dict[str, Any]:
    """A digest that has closed, and what would become of each delivery."""
    at = rehearsal.route.at
    return {
        "digest": rehearsal.key,
        "route": rehearsal.route.id,
        "file": at.file,
        "line": at.line,
        "tenant": rehearsal.tenant or None,
        "recipient": rehearsal.recipient,
        "closed_at": _moment(rehearsal.closed_at, rehearsal.zone),
        "after": rehearsal.after,
        "events": [_named(event) for event in rehearsal.events],
        "left_out": [
            {**_named(event), "reason": _reason(why)} for event, why in rehearsal.left_out
        ],
        "deliveries": [_line(line, with_content) for line in rehearsal.lines],
    }


def _named(event: Event) -> dict[str, Any]:
    return {"id": event.id, "type": event.type}


def local_time(seconds: float, zone: str) -> datetime:
    """A time by the recipient's clock.

    Args:
        zone: IANA name; empty or unknown is UTC.
    """
    return datetime.fromtimestamp(seconds, zone_of(zone) or UTC)


def _moment(seconds: float | None, zone: str) -> str | None:
    return None if seconds is None else local_time(seconds, zone).isoformat()


def _line(line: Rehearsed, with_content: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "verdict": str(line.verdict),
        "recipient": line.recipient or None,
        "step": line.step or None,
        "sink": line.sink or None,
        "channel": str(line.channel) or None,
        "target": line.target or None,
        "reason": _reason(line.reason) if line.reason else None,
        "key": line.key or None,
        "starts": _moment(line.starts, line.zone),
        "hold": _reason(line.hold) if line.hold else None,
        "until": _moment(line.until, line.zone),
        "rule": {"file": line.at.file, "line": line.at.line} if line.at is not None else None,
        "collected": line.collected or None,
        "digest": line.digest or None,
        "priority": line.rank.name.lower() if line.rank is not Rank.NORMAL else None,
        "order": line.order,
    }
    if with_content:
        shown["message"] = message_to_dict(line.message) if line.message is not None else None
    return shown


def _reason(reason: Any) -> dict[str, str]:
    return {"code": reason.code, "text": reason.text}
