"""Every test of the worker runs on each kind of ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.delivery.harness import World
from tests.contract.delivery.stores import MemoryStore, SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(MemoryStore() if request.param == "memory" else SqliteStore(tmp_path))


@pytest.fixture
def durable(tmp_path: Path) -> World:
    """With a ledger that outlives the worker."""
    return World(SqliteStore(tmp_path))
