"""Who is behind the addresses that providers are given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from router.clock import Clock
from router.config import Project
from router.demo.samples import samples_of
from router.directories import KINDS as DIRECTORIES
from router.planning import Tenant, select
from router.recipients import Recipient


@dataclass(frozen=True, slots=True)
class Whom:
    """A person, and an address of theirs as people would say it."""

    name: str
    address: str


async def people_of(project: Project, clock: Clock) -> dict[str, Whom]:
    """Who is behind each address that the samples reach."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for sample in samples_of(project):
        tenant = project.tenants.of(sample)
        if isinstance(tenant, Tenant):
            for route in project.routes.values():
                wanted[tenant.name] |= {draft.id for draft in select(route, sample).drafts}
    opening = DIRECTORIES.load(project.directory.type).open(project.directory, clock=clock)
    async with opening as directory:
        found = [f for name, ids in wanted.items() for f in await directory.lookup([*ids], name)]
    people = (person for person in found if isinstance(person, Recipient))
    return {address: whom for person in people for address, whom in _addresses(person)}


def _addresses(person: Recipient) -> Iterator[tuple[str, Whom]]:
    name = person.name or person.id
    for address in (person.id, person.email, person.telegram, person.max):
        if address:
            yield address, Whom(name, address)
    for device in person.devices:
        label = device.id if device.id != device.token else "device"
        yield device.token, Whom(name, f"{label}, {device.platform}")
