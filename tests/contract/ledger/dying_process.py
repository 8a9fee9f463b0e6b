"""Begins lives in a ledger, each up to another step, and is killed by itself.

The tests run it as a process of its own: ``KIND CONFIG``, the latter as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import anyio

from router.clock import SystemClock
from router.ledger import KINDS
from router.testing.ledger_lives import LENGTH_OF_LIFE, LIFE_ROWS, life


async def main(kind: str, options: str) -> None:
    ledger_type = KINDS.load(kind)
    config = ledger_type.config(**json.loads(options))
    async with ledger_type.open(config, owner="doomed", clock=SystemClock()) as ledger:
        for cut in range(LENGTH_OF_LIFE):
            for step in life(cut * LIFE_ROWS)[:cut]:
                await step(ledger)
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
