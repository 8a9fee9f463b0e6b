"""Whose an event is, and what two tenants never have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.events import Event
from router.messages import Channel
from router.planning import (
    NO_TENANTS,
    NOBODYS,
    Delivery,
    Draft,
    Member,
    Planned,
    Route,
    Tenant,
    Tenants,
    UnknownTenant,
    plan,
)
from router.planning.admission import Admission
from router.planning.policies import (
    CancelOn,
    Dedupe,
    Digest,
    Rollout,
    RoutePolicy,
    Same,
    StepPolicy,
    Throttle,
)
from router.planning.tenants import step_of
from router.recipients import Device, Recipient
from tests.unit.planning.builders import condition, event, path, request_step, route, step

ACME = Tenant("acme", {"name": "Acme"}, {"mail": "mail@acme"})
GLOBEX = Tenant("globex", {"name": "Globex"})


def tenants(default: str | None = None, *more: Tenant) -> Tenants:
    named = {tenant.name: tenant for tenant in (ACME, GLOBEX, *more)}
    return Tenants(path("data.tenant"), default, named, {"name": "Acme Group"})


def whose(said: Any, default: str | None = None) -> Tenant | UnknownTenant:
    return tenants(default, Tenant("7")).of(event({"tenant": said}))


def test_an_event_names_its_tenant() -> None:
    assert whose("acme") is ACME
    assert whose(7) == Tenant("7")


def test_who_names_none_is_the_defaults_or_nobodys() -> None:
    for data in ({}, {"tenant": None}):
        assert tenants("globex").of(event(data)) is GLOBEX
        unknown = tenants().of(event(data))
        assert isinstance(unknown, UnknownTenant)
        assert "names no tenant" in unknown.reason.text


@pytest.mark.parametrize("said", ["", "ACME", "acme ", "initech", True, 7.0, ["acme"], {"id": "a"}])
def test_who_names_another_is_unknown_whatever_the_default(said: Any) -> None:
    unknown = whose(said, "globex")
    assert isinstance(unknown, UnknownTenant)
    assert unknown.reason.code == "unknown_tenant"


def test_the_reason_names_the_value_shortly_and_the_nearest() -> None:
    unknown = whose("acne")
    assert str(unknown) == 'there is no tenant "acne"; the nearest is "acme"'
    assert len(str(whose("x" * 10_000))) < 100
    assert "\n" not in str(whose("a\nb"))
    assert str(whose([1])) == "there is no tenant of that value: it is a list"


def test_names_are_guessed_once_and_for_so_many() -> None:
    everybody = tenants()
    for said in ["acne", *(f"acme{n}" for n in range(1000)), "acne", "x" * 10_000]:
        assert isinstance(everybody.of(event({"tenant": said})), UnknownTenant)
    assert everybody.guesses["acne"] == "acme"
    assert len(everybody.guesses) < 100
    assert str(everybody.of(event({"tenant": "acm"}))) == 'there is no tenant "acm"'


def test_brands_are_the_tenants_over_the_projects() -> None:
    assert tenants().brand_of("acme") == {"name": "Acme"}
    assert tenants().brand_of("") == {"name": "Acme Group"}


def test_without_tenants_everything_is_nobodys() -> None:
    nobody = NO_TENANTS.of(event({"tenant": "acme"}))
    assert isinstance(nobody, Tenant)
    assert nobody.name == NOBODYS.name == ""


# Sinks -------------------------------------------------------------------------------------------


def test_a_tenant_has_its_own_sinks_in_place_of_the_projects() -> None:
    assert step_of(step("mail"), ACME).sink == "mail@acme"
    assert step_of(step("mail"), GLOBEX) == step("mail")
    assert step_of(step("hook"), ACME).sink == "hook"


def test_a_group_leads_to_the_tenants_members() -> None:
    grouped = replace(
        step("push", sink="phones", channel=Channel.PUSH, address_kind="device"),
        by_platform={"android": "fcm", "ios": "apns"},
    )
    own = step_of(grouped, Tenant("acme", sinks={"fcm": "fcm@acme"}))
    assert (own.sink, own.by_platform) == ("phones", {"android": "fcm@acme", "ios": "apns"})


def test_a_tenants_hosts_are_its_own_sinks() -> None:
    hook = replace(step("hook"), event_hosts=("a.example",))
    own = Tenant("acme", sinks={"hook": "hook@acme"}, event_hosts={"hook@acme": ("b.example",)})
    assert step_of(hook, own).event_hosts == ("b.example",)
    assert step_of(hook, GLOBEX).event_hosts == ("a.example",)


# What they never share ---------------------------------------------------------------------------

SAME = (Same(path("data.order"), path("data.order")),)
ENDING = CancelOn(condition({"type": "order.shipped"}), SAME, 3600.0)
POLICY = RoutePolicy(
    rollout=Rollout(100.0, path("data.order")),
    dedupe=Dedupe(path("data.order"), 60.0),
    throttles=(Throttle(1, 60.0, "all"), Throttle(1, 60.0, "route:paid", path("data.order"))),
    cancel_on=ENDING,
)


def everything(*, has_digest: bool) -> Route:
    push = step("push", channel=Channel.PUSH, address_kind="device")
    steps = (
        replace(step("mail"), policy=StepPolicy(is_ordered=True)),
        push,
        step("chat", channel=Channel.CHAT, address_kind="telegram", fallback_for="mail"),
        request_step(),
    )
    policy = replace(POLICY, digest=Digest(60.0, path("data.order")) if has_digest else None)
    return replace(route(*steps), policy=policy)


def all_of(planned: Planned) -> Iterator[Delivery]:
    queue = list(planned.deliveries)
    while queue:
        delivery = queue.pop()
        yield delivery
        queue += delivery.fallbacks


def names_of(given: Event, who: Recipient, tenant: Tenant, *, has_digest: bool) -> set[object]:
    """Everything by which something of a tenant's is found again."""
    planned = plan(
        everything(has_digest=has_digest), given, [Draft(who.id, {})], [who], tenant=tenant
    )
    subjects: list[Delivery | Member] = [*planned.deliveries, *planned.members]
    admission = Admission(subjects)
    found: set[object] = set()
    while asks := admission.next_asks():
        for ask in asks:
            found |= {ask.bucket, ask.member}
        admission.answer([True] * len(asks))
    for delivery in all_of(planned):
        assert delivery.tenant == tenant.name
        found |= {delivery.key, delivery.family, delivery.order_scope}
        found |= {scope for scope, _ in delivery.cancel_scopes}
    for member in planned.members:
        found |= {member.key, member.scope, *(scope for scope, _ in member.cancel_scopes)}
    return found - {None}


NAMES = st.text("ab-.:@/|\0", min_size=1, max_size=6)


@settings(max_examples=400, deadline=None)
@given(
    pair=st.lists(NAMES, min_size=2, max_size=2, unique=True),
    order=st.one_of(st.integers(-(2**53), 2**53), NAMES),
    id=NAMES,
    has_digest=st.booleans(),
    data=st.data(),
)
def test_two_tenants_never_share_a_key_or_a_scope(
    pair: list[str], order: int | str, id: str, has_digest: bool, data: st.DataObject
) -> None:
    """Neither for the same event and person, nor for those of other names."""
    one, other = pair
    ids = id, data.draw(st.one_of(st.just(id), NAMES))
    found = [
        names_of(
            event({"order": order}, id=f"e-{who}"),
            Recipient(who, "u@x.example", telegram="1", devices=(Device("d", "t", "android"),)),
            Tenant(name),
            has_digest=has_digest,
        )
        for name, who in zip((one, other), ids, strict=True)
    ]
    assert len(found[0]) > 8
    assert found[0].isdisjoint(found[1])


def test_without_tenants_keys_are_those_without_a_tenant() -> None:
    given, who = event({"order": 1}), Recipient("u", "u@x.example")
    nameless = names_of(given, who, Tenant("", {"name": "Group"}), has_digest=False)
    assert nameless == names_of(given, who, NOBODYS, has_digest=False)
