"""Links one line of ``deliver:``: the sink, what to send there, and when instead of which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

from router.config.analytics import ANALYTICS_KEYS
from router.config.components import NAME_RULE, is_name
from router.config.contents import ContentLinker
from router.config.defaults import Layer, expires_after, read_policy
from router.config.fields import Fields, read_choice
from router.messages import Channel, Target
from router.nodes import Entry, Node
from router.planning import ENDPOINT, Cause, Devices, SinkFacts, Step
from router.problems import Position, Problems, did_you_mean
from router.recipients import is_address
from router.sinks import KINDS as SINKS
from router.sinks import SinkType

STEP_KEYS = (
    "id",
    "sink",
    "template",
    "with",
    "request",
    *ANALYTICS_KEYS,
    "to",
    "per",
    "devices",
    "fallback_for",
    "causes",
    "was",
    "expires",
    "in_doubt",
)
_CAUSES = (str(Cause.UNREACHABLE), str(Cause.REJECTED))
DEVICES: tuple[Devices, ...] = get_args(Devices)


@dataclass(frozen=True, slots=True)
class Sinks:
    """What routes must know of sinks.

    Attributes:
        facts: Of those that are configured well.
        names: Of all that are named, so that a broken sink isn't called unknown too.
    """

    facts: Mapping[str, SinkFacts]
    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class Line:
    """A step as written, before its sink and its neighbours are known.

    Attributes:
        id: Its own with the sink's name after it (``id/sink``) where the step names several
            sinks, so that one more sink leaves the others' ids alone.
        was: Its earlier id, made in the same way.
        is_shared: The step names several sinks: this is one of them.
    """

    id: str
    was: str | None
    sink: str
    sink_at: Position
    node: Node
    fields: Fields
    has_own_id: bool
    is_shared: bool = False


def read_lines(deliver: Node, what: str, problems: Problems) -> list[Line]:
    """The steps of a ``deliver:`` list, with ids that are theirs alone."""
    lines = [line for node in deliver.nodes for line in _read_line(node, what, problems)]
    _require_ids(lines, problems)
    return lines


def _read_line(node: Node, what: str, problems: Problems) -> Iterator[Line]:
    if isinstance(node.value, str):
        fields = Fields(Node({}, node.at), what, problems)
        yield Line(node.value, None, node.value, node.at, node, fields, False)
        return
    if not node.is_mapping:
        problems.error("R203", "a step is a sink's name or a mapping with sink:", node.at)
        return
    fields = Fields(node, f"a step of {what}", problems)
    fields.allow(STEP_KEYS, _ELSEWHERE)
    sink = node.get("sink")
    own, was = fields.text("id"), fields.text("was")
    if own is not None and not is_name(own):
        problems.error("R205", f'a step can\'t be called "{own}"; {NAME_RULE}', node.locate(["id"]))
    if sink is None:
        problems.error("R202", f"a step of {what} needs sink:", node.at)
    elif not sink.is_sequence:
        name = fields.text("sink")
        if name is not None:
            yield Line(own or name, was, name, sink.at, node, fields, own is not None)
    else:
        for item in sink.nodes:
            name = Fields(Node({"sink": Entry(item.at, item)}, item.at), fields.what, problems)
            if (one := name.text("sink")) is not None:
                yield _one_of_several(one, item.at, own, was, fields)
        if not sink.nodes:
            problems.error("R203", "sink: must not be empty", sink.at)


def _one_of_several(
    sink: str, at: Position, own: str | None, was: str | None, fields: Fields
) -> Line:
    id = f"{own}/{sink}" if own else sink
    earlier = f"{was}/{sink}" if was else None
    return Line(id, earlier, sink, at, fields.node, fields, own is not None, is_shared=True)


_ELSEWHERE = {
    "policy": "to the route; a step takes expires and in_doubt themselves",
    "recipient": "to the route",
    "recipients": "to the route",
    "match": "to the route",
    "category": "to the route",
}


def _require_ids(lines: Sequence[Line], problems: Problems) -> None:
    first: dict[str, Line] = {}
    for line in lines:
        before = first.setdefault(line.id, line)
        if before is line:
            continue
        related = ((before.node.at, "the other step"),)
        if line.has_own_id and not line.is_shared:
            at = line.node.locate(["id"])
            problems.error("R207", f'two steps have the id "{line.id}"', at, related)
        elif line.is_shared and before.node is line.node:
            message = f'sink "{line.sink}" stands twice in one step'
            problems.error("R207", message, line.sink_at, ((before.sink_at, "first here"),))
        else:
            message = f'sink "{line.sink}" stands twice; give the steps an id each'
            problems.error("R207", message, line.sink_at, related)


@dataclass(frozen=True, slots=True)
class StepLinker:
    """Links the steps of one route.

    Attributes:
        layer: The route's defaults.
        has_recipients: The route says who receives.
    """

    sinks: Sinks
    contents: ContentLinker
    layer: Layer
    has_recipients: bool
    problems: Problems

    def link(self, lines: Sequence[Line]) -> list[Step]:
        """The steps that could be linked; every mistake is added to the problems."""
        steps = [step for line in lines if (step := self._step(line, lines))]
        _check_earlier_ids(lines, self.problems)
        _check_circles(lines, self.problems)
        _check_pace(steps, self.problems)
        return steps

    def _step(self, line: Line, lines: Sequence[Line]) -> Step | None:
        fields = line.fields
        fallback_for = self._fallback(line, lines)
        causes = self._causes(fields, fallback_for)
        layer = read_policy(fields).over(self.layer)
        facts = self.sinks.facts.get(line.sink)
        if facts is None:
            if line.sink not in self.sinks.names and self.sinks.names:
                hint = did_you_mean(line.sink, self.sinks.names, "Sinks")
                message = f'unknown sink "{line.sink}".{hint}'
                self.problems.error("R101", message, line.sink_at)
            return None
        to = self._target(fields, facts)
        per_recipient = self._per_recipient(line, facts)
        if line.is_shared and facts.channel.is_personal:
            message = f'sink "{line.sink}" sends to people; give it a step of its own'
            self.problems.error("R221", message, line.sink_at)
        content = self.contents.link(fields, facts, line.sink_at, per_recipient=per_recipient)
        if content is None:
            return None
        return Step(
            id=line.id,
            sink=line.sink,
            channel=facts.channel,
            address_kind=facts.address_kind,
            content=content,
            at=line.node.at,
            was=line.was,
            per_recipient=per_recipient,
            to=to,
            fallback_for=fallback_for,
            causes=causes,
            expires=expires_after(layer, facts.channel),
            in_doubt=layer.in_doubt or "resend",
            devices=self._devices(fields, facts),
            by_platform=facts.by_platform,
            event_hosts=facts.event_hosts,
        )

    def _devices(self, fields: Fields, facts: SinkFacts) -> Devices:
        chosen = fields.choice("devices", DEVICES)
        if chosen is not None and facts.channel is not Channel.PUSH:
            message = f'sink "{facts.name}" sends to no devices and takes no devices:'
            self.problems.error("R222", message, fields.node.key_at("devices"))
        return cast("Devices", chosen or "all")

    def _per_recipient(self, line: Line, facts: SinkFacts) -> bool:
        """People are sent to one by one; fixed targets and requests once for the event."""
        node = line.fields.node
        per = line.fields.choice("per", ("recipient", "event"))
        is_personal = facts.channel.is_personal or facts.address_kind == ENDPOINT
        goes_to_people = is_personal and node.get("to") is None
        if per == "event" and goes_to_people:
            message = f'sink "{line.sink}" sends to people; per: event needs to:'
            self.problems.error("R212", message, node.locate(["per"]))
        per_recipient = per == "recipient" or (goes_to_people and per is None)
        if per_recipient and not self.has_recipients:
            whom = "customers" if facts.address_kind == ENDPOINT else "people"
            hint = " (or the step to:)" if facts.channel.is_personal else ""
            message = f'step "{line.id}" sends to {whom}; the route needs recipient:{hint}'
            self.problems.error("R212", message, line.node.at)
        return per_recipient

    def _target(self, fields: Fields, facts: SinkFacts) -> Target | None:
        to = fields.mapping("to")
        if to is None:
            return None
        if not facts.channel.is_personal:
            message = f'sink "{facts.name}" sends to its own address and takes no to:'
            self.problems.error("R213", message, fields.node.key_at("to"))
            return None
        if facts.is_group:
            message = f'"{facts.name}" is a group and sends by platform; name one of its sinks'
            self.problems.error("R213", message, fields.node.key_at("to"))
            return None
        wanted = _target_keys(facts)
        addresses = [(key, node) for key, node in to.items() if not key.startswith("x-")]
        if len(addresses) != 1 or addresses[0][0] not in wanted:
            at = to.key_at(addresses[0][0]) if addresses else to.at
            example = f'to: {{{wanted[0]}: "…"}}'
            message = f'sink "{facts.name}" takes one {wanted[0]} address; write {example}'
            self.problems.error("R213", message, at)
            return None
        key, node = addresses[0]
        return self._address(key, node, facts)

    def _address(self, key: str, node: Node, facts: SinkFacts) -> Target | None:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, str | int):
            fields = Fields(node, "the step", self.problems)
            fields.wrong(f"to.{key}", node, "text")
            return None
        address = str(value)
        is_own_kind = facts.address_kind == "any" or key in _audiences(facts)
        kind = key if is_own_kind else facts.address_kind
        if "{{" in address:
            message = "to: is a fixed address; one from the event goes under recipient:"
            self.problems.error("R213", message, node.at)
        elif "${" not in address and not is_address(address, kind):
            self.problems.error("R213", f'"{address}" is not a {kind} address', node.at)
        return Target(address, kind)

    def _fallback(self, line: Line, lines: Sequence[Line]) -> str | None:
        wanted = line.fields.text("fallback_for")
        if wanted is None:
            return None
        if any(other.id == wanted for other in lines):
            return wanted
        at = line.node.locate(["fallback_for"])
        by_sink = [other.id for other in lines if other.sink == wanted]
        if len(by_sink) > 1:
            message = (
                f'fallback_for "{wanted}" could mean {" or ".join(by_sink)}; name the step\'s id'
            )
            self.problems.error("R210", message, at)
            return None
        ids = [other.id for other in lines if other is not line]
        if by_sink:
            hint = f' The step with that sink has the id "{by_sink[0]}"'
        else:
            hint = did_you_mean(wanted, ids, "Steps")
        self.problems.error("R208", f'fallback_for: there is no step "{wanted}".{hint}', at)
        return None

    def _causes(self, fields: Fields, fallback_for: str | None) -> frozenset[Cause]:
        node = fields.sequence("causes")
        if node is None:
            return frozenset({Cause.UNREACHABLE, Cause.REJECTED}) if fallback_for else frozenset()
        if fields.node.get("fallback_for") is None:
            message = "causes: says when a fallback starts; it needs fallback_for:"
            self.problems.error("R202", message, fields.node.key_at("causes"))
        if not node.nodes:
            self.problems.error("R203", "causes: must not be empty", node.at)
        found = [read_choice(item, "a cause", _CAUSES, self.problems) for item in node.nodes]
        return frozenset(Cause(cause) for cause in found if cause)


def _target_keys(facts: SinkFacts) -> list[str]:
    if facts.address_kind == "any":
        return ["chat", "email", "telegram", "max", "device", "any"]
    names = [str(facts.channel), facts.address_kind, *_audiences(facts)]
    return list(dict.fromkeys(names))


def _audiences(facts: SinkFacts) -> tuple[str, ...]:
    """Kinds of addresses that stand for many people."""
    kind: SinkType[Any] = SINKS.load(facts.type)
    return kind.audiences


def _check_earlier_ids(lines: Sequence[Line], problems: Problems) -> None:
    taken = {line.id: line.node.at for line in lines}
    for line in lines:
        if line.was is None:
            continue
        at = line.node.locate(["was"])
        if line.was in taken:
            related = ((taken[line.was], "that step"),)
            message = f'was: "{line.was}" is also a step\'s id or earlier id here'
            problems.error("R215", message, at, related)
        taken.setdefault(line.was, at)


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
