"""Every test of the worker runs on each kind of ledger.

``ROUTER_TEST_LEDGERS`` names the kinds, by default ``memory,sqlite``; the others are ``postgres``
and ``redis``. Where it names kinds, tests that choose their ledger themselves are left out: they
would do the same again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.delivery.harness import World
from tests.contract.delivery.stores import MemoryStore, ServerStore, SqliteStore, Store
from tests.contract.ledger.stores import PostgresStore, RedisStore
from tests.servers import Server

KINDS = os.environ.get("ROUTER_TEST_LEDGERS", "memory,sqlite").split(",")
DURABLE = [kind for kind in KINDS if kind != "memory"] or ["sqlite"]
SHARED = {"postgres": PostgresStore.on, "redis": RedisStore.on}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "ROUTER_TEST_LEDGERS" not in os.environ:
        return
    here = Path(__file__).parent
    left_out = [item for item in items if here in item.path.parents and not _is_for_any(item)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def _is_for_any(item: pytest.Item) -> bool:
    names: list[str] = getattr(item, "fixturenames", [])
    return "world" in names or "durable" in names


@pytest.fixture
def store_of(servers: Callable[[str], Server], tmp_path: Path) -> Callable[[str], Store]:
    """An empty store of a kind."""

    def make(kind: str) -> Store:
        if kind in SHARED:
            return ServerStore(SHARED[kind](servers(kind)))
        return MemoryStore() if kind == "memory" else SqliteStore(tmp_path)

    return make


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, store_of: Callable[[str], Store]) -> World:
    return World(store_of(request.param))


@pytest.fixture(params=DURABLE)
def durable(request: pytest.FixtureRequest, store_of: Callable[[str], Store]) -> World:
    """With a ledger that outlives the worker."""
    return World(store_of(request.param))
