"""Finds deliveries in what providers saw of them on the wire."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from router.authoring.rehearsal import rehearse
from router.clock import Clock
from router.config import Project
from router.delivery.digest_rows import digest_key
from router.delivery.dispatch import with_fallbacks
from router.directories import KINDS as DIRECTORIES
from router.events import Event, Record
from router.messages import ProfileUpdate
from router.planning import Route, UnknownTenant, plan, select
from router.planning.digest import Told, digest_event
from router.recipients import Directory
from router.sandbox import Received

WITNESSED = frozenset(
    {
        "apns",
        "carrotquest",
        "fcm",
        "http",
        "kafka",
        "max",
        "mixpanel",
        "smtp",
        "telegram",
        "webhook",
    }
)
"""Types of sinks whose deliveries the sandbox sees. ``console`` and ``file`` have no provider."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a delivery comes from.

    Attributes:
        profile_of: Whose profile it changes, if it does.
    """

    event_id: str = ""
    route: str = ""
    sink: str = ""
    profile_of: str | None = None


async def origins_of(
    project: Project, records: Sequence[Record], now: float, clock: Clock
) -> Mapping[str, Origin]:
    """Where each delivery key comes from, as a rehearsal says."""
    source = next(iter(project.sources.values()))
    found: dict[str, Origin] = {}
    opening = DIRECTORIES.load(project.directory.type).open(project.directory, clock=clock)
    async with opening as directory:
        rehearsed = await rehearse(project, records, source.decode, directory, now)
        for event in rehearsed:
            if isinstance(event.event, Event):
                for route in event.routes:
                    told = _of_digests(project, route.route, event.event, directory)
                    found |= await told
    for event in rehearsed:
        if not isinstance(event.event, Event):
            continue
        for route in event.routes:
            for line in route.lines:
                update = line.message
                person = update.distinct_id if isinstance(update, ProfileUpdate) else None
                if line.key:
                    found[line.key] = Origin(event.event.id, route.route.id, line.sink, person)
    return found


async def _of_digests(
    project: Project, route: Route, event: Event, directory: Directory
) -> dict[str, Origin]:
    """Where the deliveries come from of the digests that this event opens, if it opens them."""
    tenant = project.tenants.of(event)
    if route.policy.digest is None or isinstance(tenant, UnknownTenant):
        return {}
    drafts = select(route, event).drafts
    profiles = await directory.lookup([draft.id for draft in drafts], tenant.name)
    by_id = {draft.id: (draft, found) for draft, found in zip(drafts, profiles, strict=True)}
    found: dict[str, Origin] = {}
    for member in plan(route, event, drafts, profiles, project.divert, tenant=tenant).members:
        key = digest_key(member)
        told, _ = digest_event(key, [Told(member.key, event, member.item)])
        draft, profile = by_id[member.recipient.id]
        planned = plan(
            route, told, [draft], [profile], project.divert, is_digest=True, tenant=tenant
        )
        for delivery in (d for primary in planned.deliveries for d in with_fallbacks(primary)):
            found[delivery.key.hex()] = Origin(event.id, route.id, delivery.step.sink)
    return found


@final
class Witness:
    """Tells which delivery each entry of the sandbox's record is.

    Mixpanel's protocol has no place for a key beside changes of a profile, so these are told by
    the person: one change for each delivery that changes this person's profile there.
    """

    def __init__(self, types: Mapping[str, str], origins: Mapping[str, Origin]) -> None:
        """``types`` is the type of each sink, by its name."""
        self._origins = origins
        self._without_key: defaultdict[str, list[str]] = defaultdict(list)
        for key, origin in origins.items():
            if origin.profile_of is not None and types.get(origin.sink) == "mixpanel":
                self._without_key[origin.profile_of].append(key)

    def keys_of(self, entries: Iterable[Received]) -> list[str]:
        """The delivery key of each entry, in the same order; empty where it is unknown."""
        waiting = {person: list(keys) for person, keys in self._without_key.items()}
        found: list[str] = []
        for entry in entries:
            if entry.key is not None:
                found.append(_hexadecimal(entry.key))
            else:
                keys = waiting.get(entry.recipient) if entry.provider == "mixpanel" else None
                found.append(keys.pop(0) if keys else "")
        return found

    def origin_of(self, key: str, entry: Received) -> Origin:
        return self._origins.get(key, Origin(sink=entry.provider))


def _hexadecimal(key: str) -> str:
    """A delivery's key out of a ``Message-ID``, a ``webhook-id``, a UUID or a request id."""
    text = key.removeprefix("<").removeprefix("msg_").partition("@")[0]
    return text.replace("-", "")
