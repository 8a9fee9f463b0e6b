"""Where one step reaches one recipient: every device that it goes to, through its sink. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from router.messages import Reason, Target
from router.planning.model import OTHER_PLATFORM, UNKNOWN_PLATFORM, Step
from router.recipients import Endpoint, Recipient, endpoint_id, is_allowed, targets, wants
from router.values import Secret

GONE = Reason("recipient_gone", "the provider said that this address is dead")
FOREIGN_HOST = Reason(
    "host_not_allowed", "an event brought this address, and its host is none of event_hosts"
)
EXPOSED_SECRET = Reason(
    "secret_not_declared", "an event brought this endpoint's secrets undeclared: see secret_fields"
)
ENDPOINT = "endpoint"
"""Kind of the addresses that customers take webhooks at."""

_SINGLE = frozenset({"email", "telegram", "max", "any", "request"})
"""Kinds of address of which a person has one: a new one is the same endpoint."""

Gone = Collection[tuple[str, str]]
"""Sinks and addresses that the sink's provider has said are dead."""


@dataclass(frozen=True, slots=True)
class Reached:
    """One address of a step.

    Attributes:
        endpoint: What tells it from the person's others, and part of the delivery key. Of a
            device it is the directory's id, since tokens are replaced; where there is none, a
            hash of the token stands in, and a replaced token is another device.
        refused: Why nothing may be sent there.
        secrets: Of a customer's endpoint.
        is_gone: Its provider has said that it is dead.
    """

    target: Target
    sink: str
    endpoint: str = ""
    refused: Reason | None = None
    secrets: tuple[Secret, ...] = ()
    is_gone: bool = False


def fan_out(
    step: Step, recipient: Recipient | None, gone: Gone = (), *, event_type: str = ""
) -> Sequence[Reached]:
    """Where the step goes; nowhere means that the recipient can't be reached.

    ``devices: first`` and ``latest`` choose among devices that are not known to be dead, if there
    is any.
    """
    if step.to is not None:
        found = [Reached(step.to, step.sink)]
    elif not step.per_recipient or recipient is None:
        found = [Reached(Target("", "request"), step.sink)]
    elif step.address_kind == "device":
        found = [r for r in _devices(step, recipient) if r.sink]
    elif step.address_kind == ENDPOINT:
        found = [_customer(step, e) for e in recipient.endpoints if wants(e, event_type)]
    else:
        several = step.address_kind not in _SINGLE
        found = [
            Reached(target, step.sink, target.address if several else "")
            for target in targets(recipient, step.address_kind)
        ]
    if gone:
        found = [replace(r, is_gone=(r.sink, r.target.address) in gone) for r in found]
    return found if step.devices == "all" else _chosen(step, found)


def _devices(step: Step, recipient: Recipient) -> Iterable[Reached]:
    for target in targets(recipient, "device"):
        yield Reached(target, _sink_for(step, target.platform or ""), _device_endpoint(target))


def _customer(step: Step, endpoint: Endpoint) -> Reached:
    refused: Reason | None = None
    if endpoint.is_exposed:
        refused = EXPOSED_SECRET
    elif endpoint.is_from_event and not is_allowed(endpoint, step.event_hosts):
        refused = FOREIGN_HOST
    return Reached(
        Target(endpoint.url, ENDPOINT, endpoint.registered_at, id=endpoint.id),
        step.sink,
        endpoint_id(endpoint),
        refused,
        endpoint.secrets,
    )


def _sink_for(step: Step, platform: str) -> str:
    """The sink for a platform's devices; empty: the step does not go there."""
    by_platform = step.by_platform
    if not by_platform:
        return step.sink
    rest = OTHER_PLATFORM if platform else UNKNOWN_PLATFORM
    return by_platform.get(platform) or by_platform.get(rest, "")


def _device_endpoint(target: Target) -> str:
    if target.id is not None:
        return target.id
    return blake2b(target.address.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _chosen(step: Step, found: Sequence[Reached]) -> Sequence[Reached]:
    candidates = [r for r in found if not r.is_gone] or found
    if not candidates or step.devices == "first":
        return candidates[:1]
    return [max(candidates, key=_registered_at)]


def _registered_at(reached: Reached) -> float:
    """Unknown counts as earliest; of equals the first in the directory's order is taken."""
    at = reached.target.registered_at
    return float("-inf") if at is None else at
