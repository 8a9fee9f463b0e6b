"""Links one line of ``deliver:``: the sink, what to send there, and when instead of which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast, get_args

from router.config.contents import ContentLinker
from router.config.defaults import Layer, expires_after, read_step_policy
from router.config.fallbacks import Fallback, check_fallbacks, link_fallback
from router.config.fields import Fields
from router.config.lines import Line, check_earlier_ids
from router.config.route_policies import step_policy
from router.messages import Channel, Target
from router.nodes import Node
from router.planning import ENDPOINT, SHORTEST_MEMORY, Devices, SinkFacts, Step, step_hold
from router.planning.policies import Bypass
from router.problems import Problems, did_you_mean
from router.recipients import is_address
from router.sinks import KINDS as SINKS
from router.sinks import SinkType

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
class StepLinker:
    """Links the steps of one route.

    Attributes:
        layer: The route's defaults.
        bypass: What its category passes by.
        has_recipients: The route says who receives.
        retention: For how many seconds the ledger remembers; None where it is not known.
        layers: What holds for each step that was linked, by its id.
    """

    sinks: Sinks
    contents: ContentLinker
    layer: Layer
    bypass: frozenset[Bypass]
    has_recipients: bool
    retention: float | None
    problems: Problems
    layers: dict[str, Layer] = field(default_factory=dict[str, Layer])

    def link(self, lines: Sequence[Line]) -> list[Step]:
        """The steps that could be linked; every mistake is added to the problems."""
        linked = [found for line in lines if (found := self._line(line, lines))]
        steps = [step for step, _ in linked]
        check_earlier_ids(lines, self.problems)
        check_fallbacks(lines, steps, self.problems)
        return [_with_unless(step, fallback, steps) for step, fallback in linked]

    def _line(self, line: Line, lines: Sequence[Line]) -> tuple[Step, Fallback] | None:
        fallback = link_fallback(line, lines, self.retention, self.problems)
        own = read_step_policy(line.fields)
        step = self._step(line, own.over(self.layer))
        if step is None:
            return None
        if own.quiet_hours and own.quiet_hours.value and not step.is_for_people:
            message = f'quiet_hours: is for people, but step "{step.id}" sends to none'
            self.problems.error("R230", message, own.quiet_hours.at)
        failed = replace(
            step, fallback_for=fallback.primary, causes=fallback.causes, after=fallback.after
        )
        return failed, fallback

    def _step(self, line: Line, layer: Layer) -> Step | None:
        fields = line.fields
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
        self.layers[line.id] = layer
        is_for_people = facts.channel.is_personal and per_recipient and to is None
        has_quiet_hours = is_for_people and Bypass.QUIET_HOURS not in self.bypass
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
            policy=step_policy(layer, has_quiet_hours=has_quiet_hours),
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


def _with_unless(step: Step, fallback: Fallback, steps: Sequence[Step]) -> Step:
    if fallback.unless is None:
        return step
    longest = max(step_hold(step, steps), SHORTEST_MEMORY)
    return replace(step, unless=fallback.unless.linked(longest))


def _target_keys(facts: SinkFacts) -> list[str]:
    if facts.address_kind == "any":
        return ["chat", "email", "telegram", "max", "device", "any"]
    names = [str(facts.channel), facts.address_kind, *_audiences(facts)]
    return list(dict.fromkeys(names))


def _audiences(facts: SinkFacts) -> tuple[str, ...]:
    """Kinds of addresses that stand for many people."""
    kind: SinkType[Any] = SINKS.load(facts.type)
    return kind.audiences
