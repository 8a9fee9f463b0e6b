"""Every test of the worker runs on each kind of ledger.

``ROUTER_TEST_LEDGERS`` names the kinds, by default ``memory,sqlite``; the others are ``postgres``
and ``redis``.
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
