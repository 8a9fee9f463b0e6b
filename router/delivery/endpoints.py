"""Customers' endpoints of deliveries that come out of the schedule.

Secrets are never kept with a delivery. They are looked up again before each later attempt, where
they came from: in the directory, or in the record that is kept with the delivery. So a customer
who has rotated a secret or moved an endpoint gets what is still to come as it is now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from router.delivery.job import Job
from router.events import Event
from router.messages import Channel
from router.planning import Route, Ruleset, select
from router.recipients import Endpoint, Found, Recipient, Unknown, endpoint_id, merge, wants


def complete(job: Job, found: Found, events: Sequence[Event], rules: Ruleset) -> bool:
    """Gives a job its endpoint's address and secrets as they are now.

    Args:
        found: The recipient, as the directory knows it.
        events: The kept record, once for each way that sources read records.

    Returns:
        False: the recipient has no such endpoint any more.
    """
    diverted = rules.divert.targets.get(Channel.REQUEST) if rules.divert else None
    for recipient in _recipients(job, found, events, rules):
        for endpoint in recipient.endpoints:
            if diverted == job.target.address and wants(endpoint, job.event_type):
                job.secrets = endpoint.secrets
                return True
            if _is_same(job, endpoint):
                job.secrets = endpoint.secrets
                job.target = replace(
                    job.target, address=endpoint.url, registered_at=endpoint.registered_at
                )
                return True
    return False


def _recipients(
    job: Job, found: Found, events: Sequence[Event], rules: Ruleset
) -> Iterable[Recipient]:
    """The recipient as the route takes it from the event, and as the directory knows it."""
    profile = found if isinstance(found, Recipient) else None
    route = _route(job, rules)
    if route is not None and isinstance(found, Recipient | Unknown):
        for event in events:
            for draft in select(route, event).drafts:
                if draft.id == job.recipient:
                    yield merge({"id": draft.id, **draft.fields}, profile)
    if profile is not None:
        yield profile


def _route(job: Job, rules: Ruleset) -> Route | None:
    """The job's route, also where it has been renamed since."""
    if route := rules.routes.get(job.route):
        return route
    return next((r for r in rules.routes.values() if r.was == job.route), None)


def _is_same(job: Job, endpoint: Endpoint) -> bool:
    if job.target.id is not None:
        return endpoint.id == job.target.id
    return endpoint.id is None and endpoint_id(endpoint) == endpoint_id(
        Endpoint(job.target.address)
    )
