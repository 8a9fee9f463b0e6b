"""People's profiles, from a directory that may fail in whatever way."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TypeAlias, final

import anyio

from router.messages import Reason
from router.recipients import Directory, Found, Unavailable
from router.telemetry import log_bug

log = logging.getLogger("router.delivery")

_LOOKUP_S = 30.0

Person: TypeAlias = tuple[str, str]
"""A tenant, and the id of somebody it knows: the same id of two tenants is two people."""


@final
class Profiles:
    """Asks the directory for many people at once."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def of(self, people: Iterable[Person]) -> dict[Person, Found]:
        """The directory's answer for each, asked once for all of a tenant."""
        of_tenant: dict[str, dict[str, None]] = defaultdict(dict)
        for tenant, id in people:
            of_tenant[tenant][id] = None
        found: dict[Person, Found] = {}

        async def ask(tenant: str, ids: list[str]) -> None:
            answers = await self._ask(tenant, ids)
            found.update(((tenant, id), answer) for id, answer in answers.items())

        async with anyio.create_task_group() as tasks:
            for tenant, ids in of_tenant.items():
                tasks.start_soon(ask, tenant, list(ids))
        return found

    async def _ask(self, tenant: str, wanted: Sequence[str]) -> dict[str, Found]:
        """A directory that fails in whatever way is unavailable."""
        reason = Reason("directory_timeout", "no answer in time")
        try:
            with anyio.fail_after(_LOOKUP_S):
                answers = await self._directory.lookup(wanted, tenant)
                return dict(zip(wanted, answers, strict=True))
        except TimeoutError:
            log.warning("the directory gave no answer in %gs", _LOOKUP_S)
        except Exception as error:
            log_bug(log, "the directory has a bug", error)
            reason = Reason("directory_bug", type(error).__name__)
        return dict.fromkeys(wanted, Unavailable(reason))
