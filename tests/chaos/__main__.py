"""``python -m tests.chaos``: brings on every fault, one after another, and does the books."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import orjson
import pytest

from tests.brokers import Broker, apache_kafka, noida, tansu
from tests.chaos import table
from tests.chaos.catalogue import SCENARIOS
from tests.chaos.running import Case, Result, cases, run_all
from tests.servers import Server, postgres, redis

_BROKERS: dict[str, Callable[[], AbstractAsyncContextManager[Broker]]] = {
    "apache": apache_kafka,
    "tansu": tansu,
    "noida": noida,
}
_LEDGERS = {"postgres": postgres, "redis": redis}


def main() -> int:
    """Exit status: 0 if every promise held, 1 if not, 2 if nothing was chosen."""
    options = _options().parse_args()
    chosen = [case for case in cases(SCENARIOS) if _is_chosen(case, options.only)]
    if not chosen:
        print("no such scenario; --list names them", file=sys.stderr)
        return 2
    if options.list:
        for case in chosen:
            print(f"{case.name:<32}{case.scenario.fault}")
        return 0
    # What aiokafka and the sandbox's servers say of connections that break is what is wanted.
    logging.disable(logging.CRITICAL)
    results = anyio.run(_run, chosen, options)
    if options.json is not None:
        options.json.write_bytes(
            orjson.dumps([r.as_dict() for r in results], option=orjson.OPT_INDENT_2)
        )
    print(table.failures(results), end="")
    good, bad = (
        sum(r.is_good and not r.skipped for r in results),
        sum(not r.is_good for r in results),
    )
    print(f"\n{good} held, {bad} failed, {len(results) - good - bad} skipped")
    return 1 if bad else 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("make chaos", description="Faults, and the books after each.")
    parser.add_argument("--list", action="store_true", help="name the scenarios, run nothing")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="only this one, or those whose names begin so; may be repeated",
    )
    parser.add_argument("--long", action="store_true", help="ten times the events, longer faults")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument(
        "--broker",
        choices=_BROKERS,
        default="apache" if shutil.which("java") and shutil.which("mvn") else "tansu",
        help="apache where Java and Maven are, else tansu; noida evicts no dead members",
    )
    parser.add_argument(
        "--at-once", type=int, default=1, metavar="N", help="scenarios at the same time"
    )
    return parser


def _is_chosen(case: Case, only: Sequence[str]) -> bool:
    return not only or any(case.name.startswith(name) for name in only)


async def _run(chosen: Sequence[Case], options: argparse.Namespace) -> list[Result]:
    with TemporaryDirectory(prefix="router-chaos-") as name:
        folder = Path(name)
        await anyio.Path(folder).chmod(0o755)  # PostgreSQL runs as a user of its own
        async with AsyncExitStack() as stack:
            try:
                broker = await stack.enter_async_context(_BROKERS[options.broker]())
            except pytest.skip.Exception as error:
                raise SystemExit(f"no broker: {error}") from None
            servers: dict[str, Server] = {}
            starting = anyio.Lock()

            async def server_of(kind: str) -> Server:
                async with starting:
                    if kind not in servers:
                        place = folder / kind
                        place.mkdir(exist_ok=True)
                        servers[kind] = await stack.enter_async_context(_LEDGERS[kind](place))
                return servers[kind]

            print(f"on {broker.kind}\n\n{table.header()}", flush=True)
            return await run_all(
                chosen,
                broker,
                server_of,
                folder,
                is_long=options.long,
                at_once=options.at_once,
                ended=lambda result: print(table.line(result), flush=True),
            )


if __name__ == "__main__":
    sys.exit(main())
