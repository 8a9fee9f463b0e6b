"""``make day``: a day in a minute, with its books, and what has to hold in it.

Days of other seeds are lived at once, one a core. Exit status: 0 if the books balance and every law
holds, 1 if not.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.day import table
from tests.day.day import Plan
from tests.day.lived import KINDS, Lived, live_through


def main() -> int:
    """Lives the days, and tells of them."""
    options = _options().parse_args()
    days = max(1, min(options.at_once, options.events // 1000))
    plans = [Plan(options.seed + n, options.events // days) for n in range(days)]
    print(f"on {options.ledger}\n\n{table.header()}", flush=True)
    with ProcessPoolExecutor(days, mp_context=get_context("spawn")) as pool:
        lived: list[Lived] = []
        for day in [pool.submit(live_through, plan, options.ledger) for plan in plans]:
            lived.append(day.result())
            print(table.lines(lived[-1]), flush=True)
    bad = [day for day in lived if not day.is_good]
    print(table.failures(bad, options.ledger), end="")
    print(f"\n{len(lived) - len(bad)} held, {len(bad)} failed")
    return 1 if bad else 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("make day", description="A day in a minute, and its books.")
    parser.add_argument("--seed", type=int, default=1, help="of the first day")
    parser.add_argument("--events", type=int, default=100_000, help="of all days together")
    parser.add_argument("--ledger", choices=KINDS, default="sqlite")
    parser.add_argument(
        "--at-once",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="so many days at the same time; by default one a core",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
