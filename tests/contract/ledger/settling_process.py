"""Settles deliveries for ever and prints each key once the ledger has acknowledged it.

The tests run it as a process of its own and kill it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import anyio

from router.clock import SystemClock
from router.ledger import Ledger, Row, Settle, State
from router.ledger.sqlite import SqliteConfig, open_sqlite


async def settle_for_ever(ledger: Ledger, worker: int) -> None:
    number = 0
    while True:
        number += 1
        row = Row(key=worker.to_bytes(8, "big") + number.to_bytes(8, "big"), sink="mail")
        await ledger.claim([row], 60.0)
        await ledger.settle([Settle(replace(row, state=State.DELIVERED, epoch=1))])
        os.write(1, f"{row.key.hex()}\n".encode())


async def main(path: str) -> None:
    config = SqliteConfig(path=path, ephemeral=True)
    async with open_sqlite(config, owner="doomed", clock=SystemClock()) as ledger:
        async with anyio.create_task_group() as tasks:
            for worker in range(20):
                tasks.start_soon(settle_for_ever, ledger, worker)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
