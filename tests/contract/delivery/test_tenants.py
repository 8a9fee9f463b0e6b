"""Tenants come, change and go while the worker runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from router.planning import Ruleset, Tenant, Tenants
from tests.contract.delivery.harness import World, running, sinks
from tests.unit.planning.builders import path, request_step, route

pytestmark = pytest.mark.anyio

NOBODY = Tenants(path("data.tenant"), None, {"globex": Tenant("globex")})
ACME = replace(NOBODY, named={**NOBODY.named, "acme": Tenant("acme", sinks={"hook": "hook@acme"})})


def under(tenants: Tenants) -> Ruleset:
    return Ruleset.build([route(request_step())], {}, tenants=tenants)


async def test_a_tenant_that_is_added_or_taken_away_takes_effect_at_once(world: World) -> None:
    own, shared = world.providers["hook@acme"], world.providers["hook"]
    both = {**sinks("hook"), **sinks("hook@acme")}
    async with running(world, under(NOBODY), sinks("hook")) as run:
        world.orders(1, tenant="acme")
        await run.until(lambda: world.letters.reasons == ["unknown_tenant"])
        await run.apply(under(ACME), both)
        world.orders(1, tenant="acme")
        world.orders(1, tenant="globex")
        await run.until(lambda: own.accepted and shared.accepted)
        await run.apply(under(NOBODY), sinks("hook"))
        world.orders(1, tenant="acme")
        await run.until(lambda: len(world.letters.reasons) == 2)
        await run.ended()
        assert await run.states() == {"delivered": 2}
    assert (len(own.accepted), len(shared.accepted)) == (1, 1)
    assert world.letters.reasons == ["unknown_tenant", "unknown_tenant"]
    assert (shared.opens, own.opens, own.closes) == (1, 1, 1)
