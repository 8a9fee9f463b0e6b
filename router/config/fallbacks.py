"""Links what a step stands in for: which step, on what causes, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from router.config.fields import Fields, read_choice
from router.config.lines import Line
from router.config.policies import CancelRule, read_unless_event
from router.config.policy_checks import check_window
from router.planning import Cause, Step
from router.problems import Problems, did_you_mean

CAUSES = tuple(str(cause) for cause in Cause)
_FAILURES = frozenset({Cause.UNREACHABLE, Cause.REJECTED})


@dataclass(frozen=True, slots=True)
class Fallback:
    """What a step says of the step that it stands in for.

    Attributes:
        unless: Without its default time, which hangs on the route's other steps.
    """

    primary: str | None = None
    causes: frozenset[Cause] = frozenset()
    after: float | None = None
    unless: CancelRule | None = None


def link_fallback(
    line: Line, lines: Sequence[Line], retention: float | None, problems: Problems
) -> Fallback:
    """What a line says; mistakes are added to the problems."""
    fields = line.fields
    after, unless = fields.duration("after"), read_unless_event(fields)
    node = fields.node
    if node.get("fallback_for") is None:
        for key in ("after", "unless_event"):
            if node.get(key) is not None:
                message = f"{key}: says when a fallback starts; it needs fallback_for:"
                problems.error("R226", message, node.key_at(key))
    elif node.get("unless_event") is not None and node.get("after") is None:
        message = "unless_event: needs after: how long the event may take to come"
        problems.error("R226", message, node.key_at("unless_event"))
    if unless is not None:
        at = node.locate(["unless_event", "within"])
        check_window("unless_event.within", unless.within, at, retention, problems)
    primary = _primary(line, lines, problems)
    return Fallback(primary, _causes(fields, primary, after, problems), after, unless)


def _primary(line: Line, lines: Sequence[Line], problems: Problems) -> str | None:
    wanted = line.fields.text("fallback_for")
    if wanted is None:
        return None
    if any(other.id == wanted for other in lines):
        return wanted
    at = line.node.locate(["fallback_for"])
    by_sink = [other.id for other in lines if other.sink == wanted]
    if len(by_sink) > 1:
        message = f'fallback_for "{wanted}" could mean {" or ".join(by_sink)}; name the step\'s id'
        problems.error("R210", message, at)
        return None
    ids = [other.id for other in lines if other is not line]
    if by_sink:
        hint = f' The step with that sink has the id "{by_sink[0]}"'
    else:
        hint = did_you_mean(wanted, ids, "Steps")
    problems.error("R208", f'fallback_for: there is no step "{wanted}".{hint}', at)
    return None


def _causes(
    fields: Fields, primary: str | None, after: float | None, problems: Problems
) -> frozenset[Cause]:
    """By default every failure, and with ``after`` that nothing is settled by then."""
    node = fields.sequence("causes")
    if node is None:
        late = {Cause.UNSETTLED} if after is not None else frozenset[Cause]()
        return _FAILURES | late if primary else frozenset()
    if fields.node.get("fallback_for") is None:
        message = "causes: says when a fallback starts; it needs fallback_for:"
        problems.error("R202", message, fields.node.key_at("causes"))
    if not node.nodes:
        problems.error("R203", "causes: must not be empty", node.at)
    has_after = fields.node.get("after") is not None
    found: set[Cause] = set()
    for item in node.nodes:
        cause = read_choice(item, "a cause", CAUSES, problems)
        if cause == Cause.UNSETTLED and not has_after:
            message = "cause unsettled needs after: how long the step before may take"
            problems.error("R226", message, item.at)
        if cause is not None:
            found.add(Cause(cause))
    if has_after and found and Cause.UNSETTLED not in found:
        message = "after: is for cause unsettled; add it to causes:"
        problems.error("R226", message, fields.node.key_at("after"))
    return frozenset(found)


def check_fallbacks(lines: Sequence[Line], steps: Sequence[Step], problems: Problems) -> None:
    """What only all steps of a route show."""
    _check_circles(lines, problems)
    _check_pace(steps, problems)


def _check_circles(lines: Sequence[Line], problems: Problems) -> None:
    primary: dict[str, str] = {}
    for line in lines:
        node = line.node.get("fallback_for")
        if node is not None and isinstance(node.value, str):
            primary[line.id] = node.value
    reported: set[str] = set()
    for line in lines:
        way = [line.id]
        while (after := primary.get(way[-1])) and after not in way:
            way.append(after)
        if after != line.id or line.id in reported:
            continue
        reported.update(way)
        shown = " → ".join([*way, line.id])
        wrong = "a step can't be its own fallback" if len(way) == 1 else "fallbacks form a circle"
        problems.error("R209", f"{wrong}: {shown}", line.node.locate(["fallback_for"]))


def _check_pace(steps: Sequence[Step], problems: Problems) -> None:
    """A fallback needs the very delivery that failed, so both run for the same people."""
    by_id = {step.id: step for step in steps}
    for step in steps:
        primary = by_id.get(step.fallback_for or "")
        if primary is not None and primary.per_recipient != step.per_recipient:
            one, other = ("recipient", "event") if step.per_recipient else ("event", "recipient")
            message = (
                f'"{step.id}" runs per {one}, but "{primary.id}", whose fallback it is, per {other}'
            )
            if not step.channel.is_personal or not primary.channel.is_personal:
                message += "; write per: recipient"
            problems.error("R219", message, step.at, ((primary.at, "the other step"),))
