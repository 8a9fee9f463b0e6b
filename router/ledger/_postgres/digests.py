"""The operation ``join``."""

from __future__ import annotations

from collections.abc import Sequence

from router.ledger import _operations as operations
from router.ledger._model import Done, Join, Joined
from router.ledger._postgres.change import Reach, change
from router.ledger._postgres.connection import Connections


async def join(connections: Connections, joins: Sequence[Join]) -> list[Joined | Done]:
    """Members of one scope take turns; a digest is locked while it takes one, so that ``due`` has
    it either before or with the member."""
    reach = Reach(
        {key for join in joins for key in (join.member.key, join.key)},
        digest_scopes={join.scope for join in joins},
    )
    reach.add_scopes_of(join.member for join in joins)
    return await change(connections, reach, lambda loaded, now: operations.join(loaded, joins, now))
