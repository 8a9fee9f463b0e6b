"""Settles deliveries for ever and prints each key once the ledger has acknowledged it.

The tests run it as a process of its own and kill it: ``KIND CONFIG``, the latter as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace

import anyio

from router.clock import SystemClock
from router.ledger import KINDS, Ledger, Row, Settle, State


async def settle_for_ever(ledger: Ledger, worker: int) -> None:
    number = 0
    while True:
        number += 1
        row = Row(key=worker.to_bytes(8, "big") + number.to_bytes(8, "big"), sink="mail")
        await ledger.claim([row], 60.0)
        await ledger.settle([Settle(replace(row, state=State.DELIVERED, epoch=1))])
        os.write(1, f"{row.key.hex()}\n".encode())


async def main(kind: str, options: str) -> None:
    ledger_type = KINDS.load(kind)
    config = ledger_type.config(**json.loads(options))
    async with ledger_type.open(config, owner="doomed", clock=SystemClock()) as ledger:
        async with anyio.create_task_group() as tasks:
            for worker in range(20):
                tasks.start_soon(settle_for_ever, ledger, worker)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
