"""A project's ledger at the start: one that does not answer yet is waited for."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import Final

import anyio

from router.clock import Clock
from router.ledger import KINDS as LEDGERS
from router.ledger import Ledger, LedgerConfig, LedgerDown

log = logging.getLogger("router.daemon")

PATIENCE_S: Final = 60.0
"""So long a start waits for its ledger before it gives up, for a supervisor to start it again."""

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 5.0


async def open_ledger(
    config: LedgerConfig,
    stack: AsyncExitStack,
    *,
    owner: str,
    clock: Clock,
    stopping: anyio.Event,
    patience_s: float = PATIENCE_S,
) -> Ledger | None:
    """Opens a ledger for as long as the stack lasts; None if told to stop before it could be.

    Raises:
        LedgerDown: it could not be reached for ``patience_s``.
        ConfigError: it can't be used as configured, which no waiting would change.
    """
    kind = LEDGERS.load(config.type)
    gives_up_at = clock.monotonic() + patience_s
    pause, is_late = _FIRST_PAUSE_S, False
    while not stopping.is_set():
        try:
            opened: Ledger = await stack.enter_async_context(
                kind.open(config, owner=owner, clock=clock)
            )
        except LedgerDown as error:
            left = gives_up_at - clock.monotonic()
            if left <= 0:
                raise
            log.warning("the ledger can't be opened: %s; trying again for %.0f s", error, left)
            with anyio.move_on_after(min(pause, left)):
                await stopping.wait()
            pause, is_late = min(2 * pause, _LONGEST_PAUSE_S), True
        else:
            if is_late:
                log.info("the ledger is there")
            return opened
    return None
