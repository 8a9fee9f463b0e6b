"""From a matched event to deliveries. Pure: profiles come in as values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from router.events import Event
from router.messages import Reason, Target
from router.planning.fan_out import ENDPOINT, GONE, Gone, Reached, fan_out
from router.planning.keys import delivery_key, family_key
from router.planning.model import Cause, Delivery, Divert, Member, Route, Selection, Step
from router.planning.policies import (
    OPTED_OUT,
    Bypass,
    QuietHours,
    has_opted_out,
    held_scope,
)
from router.planning.tenants import NOBODYS, Tenant, step_of
from router.recipients import Found, Recipient, Unavailable, Unknown, merge
from router.routing import MISSING, evaluate

UNREACHABLE = Reason("unreachable", "the recipient has no address for this sink")
_MOST_STEPS = 1024
_ADDRESSES = frozenset({"email", "telegram", "max", "devices", "endpoints"})
NO_ENDPOINT = Reason("no_endpoint", "the recipient has no endpoint for this type of event")
DIVERTED = Reason("diverted", "this environment sends nothing on this channel")


@dataclass(frozen=True, slots=True)
class Draft:
    """A recipient as the event names it, before the directory is asked.

    Attributes:
        id: The company's id of the person.
        fields: What the route took from the event; wins over the directory.
        item: The element of ``each``, or None.
    """

    id: str
    fields: Mapping[str, Any]
    item: Any = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A route that can't be planned for an event, as a whole or for one recipient.

    ``member`` tells recipients of one event apart; empty for the route as a whole.
    """

    route: Route
    reason: Reason
    member: str = ""


@dataclass(frozen=True, slots=True)
class Selected:
    """Who a route sends to.

    Attributes:
        failures: Elements of ``each`` that could not be understood.
        excluded: Ids that ``except`` left out; those that ``where`` did have no id yet.
    """

    drafts: tuple[Draft, ...]
    failures: tuple[Failure, ...] = ()
    excluded: tuple[str, ...] = ()


def select(route: Route, event: Event) -> Selected:
    """The recipients that a route finds in an event.

    A missing ``each`` means nobody; the same id twice is one; a member without a usable id fails
    alone; above the maximum nobody is sent to.
    """
    selection = route.selection
    if selection is None:
        return Selected(())
    if selection.each is None:
        return _selected(route, selection, event, [MISSING])
    if selection.each.has_wildcard:
        items: Any = selection.each.values(event)
    else:
        items = selection.each.value(event)
        if items is MISSING or items is None:
            return Selected(())
    if not isinstance(items, list):
        text = f"{selection.each.text} is not a list"
        return Selected((), (Failure(route, Reason("recipients_not_a_list", text)),))
    return _selected(route, selection, event, items)


def draft_for(route: Route, event: Event, recipient: str) -> Draft:
    """One person as the event names them; one whom it does not name by the id alone."""
    drafts = (draft for draft in select(route, event).drafts if draft.id == recipient)
    return next(drafts, Draft(recipient, {}))


def _selected(route: Route, selection: Selection, event: Event, items: list[Any]) -> Selected:
    excluded = _excluded(selection, event)
    drafts: dict[str, Draft] = {}
    failures: list[Failure] = []
    left_out: list[str] = []
    for index, item in enumerate(items):
        if selection.where is not None and not evaluate(selection.where, event, item):
            continue
        fields = {
            name: value
            for name, path in selection.fields.items()
            if (value := path.value(event, item)) is not MISSING and value is not None
        }
        identifier = _identifier(fields.pop("id", None))
        if identifier is None:
            path = selection.fields["id"].text if "id" in selection.fields else "id"
            reason = Reason("recipient_without_id", f"{path} holds no id")
            failures.append(Failure(route, reason, str(index)))
        elif identifier in excluded:
            left_out.append(identifier)
        elif identifier not in drafts:
            drafts[identifier] = Draft(identifier, fields, None if item is MISSING else item)
    if len(drafts) > selection.maximum:
        text = f"{len(drafts)} recipients, {selection.maximum} allowed"
        return Selected((), (Failure(route, Reason("too_many_recipients", text)),))
    return Selected(tuple(drafts.values()), tuple(failures), tuple(left_out))


def _excluded(selection: Selection, event: Event) -> frozenset[str]:
    if selection.excluded is None:
        return frozenset()
    found: list[Any] = []
    for value in selection.excluded.values(event):
        found += value if isinstance(value, list) else [value]
    return frozenset(i for v in found if (i := _identifier(v)) is not None)


def _identifier(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


@dataclass(frozen=True, slots=True)
class Planned:
    """What an event and a route come to.

    Attributes:
        deliveries: Primaries; their fallbacks hang on them.
        failures: Recipients (or the whole route) that die with a reason.
        suppressed: The same, but suppressed by rule (``on_unknown: suppress``).
        waiting: Drafts whose profile could not be had; the route waits for the directory.
        members: People who are told of it in a digest.
    """

    deliveries: tuple[Delivery, ...] = ()
    failures: tuple[Failure, ...] = ()
    suppressed: tuple[Failure, ...] = ()
    waiting: tuple[Draft, ...] = ()
    why_waiting: Reason | None = None
    members: tuple[Member, ...] = ()


def plan(
    route: Route,
    event: Event,
    drafts: Sequence[Draft],
    profiles: Sequence[Found],
    divert: Divert | None = None,
    *,
    with_event_steps: bool = True,
    gone: Gone = (),
    is_digest: bool = False,
    tenant: Tenant = NOBODYS,
) -> Planned:
    """The deliveries of one route for one event.

    A person whom the directory does not know, but whose address the event gives, is reachable.
    Where the route has a digest, people become members of it.

    Args:
        drafts: From :func:`select`.
        profiles: The directory's answers, aligned with the drafts.
        divert: Where real messages go instead, in this environment.
        with_event_steps: False when only recipients that had to wait are planned again.
        gone: Addresses that are dead: they are planned, but barred.
        is_digest: The event stands for a digest that has closed: people are told of it now.
        tenant: Whose the event is.
    """
    circumstances = Circumstances(
        divert, gone, tenant, () if is_digest else _held(route, event, tenant), is_digest
    )
    deliveries: list[Delivery] = []
    members: list[Member] = []
    failures: list[Failure] = []
    suppressed: list[Failure] = []
    waiting: list[Draft] = []
    why: Reason | None = None

    def take(recipient: Recipient, item: Any) -> None:
        deliveries.extend(_branches(route, event, recipient, item, circumstances))
        members.extend(_members(route, event, recipient, item, circumstances))

    if with_event_steps and not is_digest:
        deliveries += _branches(route, event, None, None, circumstances)
    for draft, found in zip(drafts, profiles, strict=True):
        if isinstance(found, Unavailable):
            waiting.append(draft)
            why = found.reason
        elif isinstance(found, Unknown) and not _ADDRESSES.isdisjoint(draft.fields):
            take(merge({"id": draft.id, **draft.fields}, None), draft.item)
        elif isinstance(found, Unknown) and route.on_unknown != "suppress":
            if route.on_unknown == "wait":
                waiting.append(draft)
                why = Reason("recipient_unknown", "the directory does not know the recipient yet")
            else:
                reason = Reason("recipient_unknown", "the directory does not know the recipient")
                failures.append(Failure(route, reason, draft.id))
        elif isinstance(found, Unknown):
            reason = Reason("recipient_unknown", "on_unknown: suppress")
            suppressed.append(Failure(route, reason, draft.id))
        else:
            take(merge({"id": draft.id, **draft.fields}, found), draft.item)
    return Planned(
        tuple(deliveries),
        tuple(failures),
        tuple(suppressed),
        tuple(waiting),
        why,
        tuple(members),
    )


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What decides on deliveries, beside routes and profiles; see :func:`plan`.

    Attributes:
        marks: Where a mark is that ends the route's deliveries of this event.
    """

    divert: Divert | None
    gone: Gone
    tenant: Tenant
    marks: tuple[tuple[str, float], ...] = ()
    is_digest: bool = False


def _held(route: Route, event: Event, tenant: Tenant) -> tuple[tuple[str, float], ...]:
    cancel = route.policy.cancel_on
    if cancel is None:
        return ()
    scope = held_scope(route.key_id, cancel, event, tenant.name)
    return ((scope, cancel.within),) if scope else ()


def _members(
    route: Route, event: Event, recipient: Recipient, item: Any, circumstances: Circumstances
) -> Iterator[Member]:
    """A person's place in the route's digest."""
    digest = route.policy.digest
    if digest is None or circumstances.is_digest:
        return
    if not any(step.is_for_people and step.wants(event.type) for step in route.steps):
        return
    tenant = circumstances.tenant.name
    names = {"tenant": tenant, "route": route.key_id, "step": "", "recipient": recipient.id}
    value = digest.key.value(event, item) if digest.key else None
    scope = delivery_key(**names, identity="", endpoint="", part=repr(value)).hex()
    yield Member(
        key=delivery_key(**names, identity=event.identity, endpoint="", part="digest"),
        scope=scope,
        event=event,
        route=route,
        recipient=recipient,
        item=item,
        tenant=tenant,
        cancel_scopes=circumstances.marks,
    )


def _branches(
    route: Route,
    event: Event,
    recipient: Recipient | None,
    item: Any,
    circumstances: Circumstances,
) -> Iterator[Delivery]:
    """The primaries of the steps that run for this recipient (or once per event, for None)."""
    steps = [
        step
        for step in route.steps
        if step.per_recipient == (recipient is not None) and step.wants(event.type)
    ]
    by_primary: dict[str | None, list[Step]] = {}
    for step in steps:
        by_primary.setdefault(step.fallback_for, []).append(step)

    primaries = by_primary.get(None, [])
    if circumstances.is_digest:
        primaries = [step for step in primaries if step.is_for_people]
    elif route.policy.digest is not None:
        primaries = [step for step in primaries if not step.is_for_people]

    def grow(step: Step) -> Iterator[Delivery]:
        followers = tuple(d for f in by_primary.get(step.id, ()) for d in grow(f))
        deliveries = list(_fan_out(route, step, event, recipient, item, circumstances))
        if followers:
            keys = tuple(delivery.key for delivery in deliveries)
            followers = tuple(replace(f, primaries=keys) for f in followers)
            deliveries = [replace(delivery, fallbacks=followers) for delivery in deliveries]
        yield from deliveries

    for step in primaries:
        yield from grow(step)


def _fan_out(
    route: Route,
    step: Step,
    event: Event,
    recipient: Recipient | None,
    item: Any,
    circumstances: Circumstances,
) -> Iterator[Delivery]:
    tenant = circumstances.tenant
    own = step_of(step, tenant)
    found = fan_out(own, recipient, circumstances.gone, event_type=event.type)
    divert = circumstances.divert
    is_elsewhere = divert is not None and divert.covers(step.channel, step.address_kind)
    dislike = None if is_elsewhere else _dislike(route, step, recipient)
    if step.fallback_for is not None:
        found = found[:1] if dislike else _alive(found)
    is_diverted = False
    if divert is not None and is_elsewhere and found:
        address = divert.address(step.channel, step.address_kind)
        if address is None:
            is_diverted = True
        else:
            there = Target(address, step.address_kind)
            found = (replace(found[0], target=there, endpoint="", refused=None, is_gone=False),)
    names = {
        "tenant": tenant.name,
        "identity": event.identity,
        "route": route.key_id,
        "step": step.key_id,
        "recipient": recipient.id if recipient else "",
    }
    family = family_key(**names)
    marks = _marks(route, step, event, circumstances)
    for reached in found or (None,):
        endpoint = reached.endpoint if reached else ""
        yield Delivery(
            key=delivery_key(**names, endpoint=endpoint),
            family=family,
            siblings=max(1, len(found)),
            event=event,
            route=route,
            step=_through(own, reached),
            recipient=recipient,
            target=reached.target if reached else None,
            item=item,
            endpoint=endpoint,
            tenant=tenant.name,
            expires_at=None if step.expires is None else event.time + step.expires,
            barred=dislike or _why_barred(step, reached, is_diverted=is_diverted),
            secrets=reached.secrets if reached else (),
            not_before=event.time + step.policy.delay if step.policy.delay else None,
            quiet_hours=_quiet_hours(route, step, recipient),
            cancel_scopes=marks,
            order_scope=_order_scope(own, reached, event, tenant),
            seq=_place(route, step, event) if step.policy.is_ordered else None,
        )


def _marks(
    route: Route, step: Step, event: Event, circumstances: Circumstances
) -> tuple[tuple[str, float], ...]:
    if step.unless is None:
        return circumstances.marks
    name = f"{route.key_id}/{step.key_id}"
    scope = held_scope(name, step.unless, event, circumstances.tenant.name)
    return (*circumstances.marks, (scope, step.unless.within)) if scope else circumstances.marks


def _quiet_hours(route: Route, step: Step, recipient: Recipient | None) -> QuietHours | None:
    """The recipient's quiet hours, with their zone."""
    hours = step.policy.quiet_hours
    if hours is None or recipient is None or not step.is_for_people:
        return None
    if Bypass.QUIET_HOURS in route.policy.bypass:
        return None
    return hours if hours.zone else replace(hours, zone=recipient.timezone)


def _order_scope(step: Step, reached: Reached | None, event: Event, tenant: Tenant) -> str | None:
    """What is in order: a tenant's records of one Kafka key, through one sink. No key, no order."""
    record = event.record
    if not step.policy.is_ordered or record.key is None:
        return None
    sink = reached.sink if reached else step.sink
    digest = blake2b(record.key, digest_size=16).hexdigest()
    scope = f"{sink}:{record.topic}:{record.partition}:{digest}"
    return f"{scope}:{tenant.name}" if tenant.name else scope


def _place(route: Route, step: Step, event: Event) -> int:
    """A record's messages go in the order of the steps, to all its recipients side by side."""
    return event.record.offset * _MOST_STEPS + min(route.steps.index(step), _MOST_STEPS - 1)


def _alive(found: Sequence[Reached]) -> Sequence[Reached]:
    """A fallback's dead addresses are left out; all dead, one stands for them."""
    return [reached for reached in found if not reached.is_gone] or found[:1]


def _through(step: Step, reached: Reached | None) -> Step:
    """The step with the sink of the device's platform."""
    if reached is None or reached.sink == step.sink:
        return step
    return replace(step, sink=reached.sink)


def _dislike(route: Route, step: Step, recipient: Recipient | None) -> Reason | None:
    """That the recipient has opted out, where that counts."""
    if recipient is None or not recipient.preferences or route.category is None:
        return None
    if Bypass.PREFERENCES in route.policy.bypass or not step.is_for_people:
        return None
    is_unwanted = has_opted_out(recipient.preferences, route.category, step.channel)
    return OPTED_OUT if is_unwanted else None


def _why_barred(step: Step, reached: Reached | None, *, is_diverted: bool) -> Reason | None:
    if reached is None:
        return NO_ENDPOINT if step.address_kind == ENDPOINT else UNREACHABLE
    if is_diverted:
        return DIVERTED
    return GONE if reached.is_gone else reached.refused


def starts(step: Step, causes: frozenset[Cause]) -> bool:
    """Whether a fallback step starts on any of these causes."""
    return bool(step.causes & causes)
