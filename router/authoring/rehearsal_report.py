"""Rehearsals as plain values, and what they sum up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from router.authoring.inputs import Given
from router.authoring.rehearsal import EventRehearsal, Rehearsed, RouteRehearsal, Verdict
from router.events import Poison
from router.messages import message_to_dict
from router.planning.policies import zone_of


@dataclass(slots=True)
class Summary:
    """Counts over many rehearsals.

    Attributes:
        poison: Records that are no events.
        unmatched: Events that no route wants.
        verdicts: Deliveries and recipients by what would become of them.
        sinks: Messages that would leave at once, by sink.
    """

    events: int = 0
    poison: int = 0
    unmatched: int = 0
    verdicts: Counter[Verdict] = field(default_factory=Counter[Verdict])
    sinks: Counter[str] = field(default_factory=Counter[str])

    def add(self, rehearsal: EventRehearsal) -> None:
        self.events += 1
        if isinstance(rehearsal.event, Poison):
            self.poison += 1
        elif not rehearsal.routes and not rehearsal.ends:
            self.unmatched += 1
        for line in lines_of([rehearsal]):
            self.verdicts[line.verdict] += 1
            if line.verdict is Verdict.NOW:
                self.sinks[line.sink] += 1

    @property
    def has_failures(self) -> bool:
        """Something would be dead: a record that is no event, a recipient, a message."""
        return bool(self.poison or self.verdicts[Verdict.DEAD])

    def as_dict(self) -> dict[str, Any]:
        return {
            "events": self.events,
            "poison": self.poison,
            "unmatched": self.unmatched,
            "verdicts": {str(v): self.verdicts[v] for v in Verdict},
            "sinks": dict(sorted(self.sinks.items())),
        }


def lines_of(rehearsals: Iterable[EventRehearsal]) -> list[Rehearsed]:
    return [line for one in rehearsals for route in one.routes for line in route.lines]


def rehearsals_to_dict(
    given: Sequence[Given], rehearsals: Sequence[EventRehearsal], *, with_content: bool
) -> dict[str, Any]:
    """The stable JSON form of a dry run."""
    summary = Summary()
    for one in rehearsals:
        summary.add(one)
    return {
        "events": [
            {"from": source.label, **event_to_dict(one, with_content=with_content)}
            for source, one in zip(given, rehearsals, strict=True)
        ],
        "summary": summary.as_dict(),
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
        return {"event": place, "poison": _reason(event.reason), "routes": [], "ends": []}
    fields = {"id": event.id, "type": event.type, "source": event.source, **place}
    routes = [route_to_dict(route, with_content=with_content) for route in rehearsal.routes]
    return {"event": fields, "poison": None, "routes": routes, "ends": list(rehearsal.ends)}


def route_to_dict(rehearsal: RouteRehearsal, *, with_content: bool) -> dict[str, Any]:
    """One route, and what would become of each delivery."""
    at = rehearsal.route.at
    return {
        "route": rehearsal.route.id,
        "file": at.file,
        "line": at.line,
        "deliveries": [_line(line, with_content) for line in rehearsal.lines],
    }


def local_time(line: Rehearsed) -> datetime:
    """When what is held goes, by the recipient's clock."""
    assert line.until is not None
    return datetime.fromtimestamp(line.until, zone_of(line.zone) or UTC)


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
        "until": local_time(line).isoformat() if line.until is not None else None,
        "rule": {"file": line.at.file, "line": line.at.line} if line.at is not None else None,
        "collected": line.collected or None,
    }
    if with_content:
        shown["message"] = message_to_dict(line.message) if line.message is not None else None
    return shown


def _reason(reason: Any) -> dict[str, str]:
    return {"code": reason.code, "text": reason.text}
