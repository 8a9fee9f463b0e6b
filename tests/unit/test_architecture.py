"""The rooms and the arrows between them, read from the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "router"

PURE = ("events", "recipients", "messages", "routing", "templating", "planning")
IMPURE_MODULES = {"anyio", "asyncio", "os", "pathlib", "random", "socket", "time", "subprocess"}

# What each room may import of the others. A leaf is imported by all and imports leaves only.
LEAVES = {"values", "problems", "nodes", "clock", "kinds"}
ARROWS: dict[str, set[str]] = {
    "values": set(),
    "problems": set(),
    "nodes": {"problems", "values"},
    "clock": set(),
    "kinds": set(),
    "messages": LEAVES,
    "events": LEAVES | {"messages"},
    "recipients": LEAVES | {"messages"},
    "routing": LEAVES | {"events", "messages", "recipients"},
    "templating": LEAVES | {"events", "messages", "recipients"},
    "planning": LEAVES | {"events", "messages", "recipients", "routing", "templating"},
    "transport": LEAVES | {"messages"},
    "ledger": LEAVES | {"messages"},
    "kafka": LEAVES | {"events", "messages"},
    "directories": LEAVES | {"events", "messages", "recipients", "config"},
    "sinks": LEAVES | {"events", "messages", "recipients", "routing", "transport", "kafka"},
    "sources": LEAVES | {"events", "messages", "kafka", "ledger"},
    "sandbox": LEAVES | {"messages"},
}

# The sandbox serves with aiohttp; it must not share the transport's HTTP.
ASYNCIO_ONLY = {
    "aiohttp": {"sandbox"},
    "httptools": {"transport"},
    "aiokafka": {"kafka"},
    "asyncpg": {"ledger"},
    "redis": {"ledger"},
    "uvicorn": {"admin"},
}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_pure_rooms_do_no_input_or_output(path: Path) -> None:
    if room(path) in PURE:
        assert not IMPURE_MODULES & {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path) -> None:
    here = room(path)
    if here not in ARROWS:
        return
    used = {name.split(".")[1] for name in imports(path) if name.startswith("router.")}
    assert used - {here} <= ARROWS[here]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_libraries_tied_to_asyncio_stay_in_one_room(path: Path) -> None:
    for name in imports(path):
        homes = ASYNCIO_ONLY.get(name.split(".")[0])
        assert homes is None or room(path) in homes, f"{name} belongs to {homes}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_environment_is_read_in_one_room(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    reads = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "getenv")
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    ]
    assert not reads or room(path) in ("config", "sandbox")
