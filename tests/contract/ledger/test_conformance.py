"""Every kind passes the suite that every ledger passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.testing.ledger_races import LedgerRaces
from router.testing.ledgers import DurableLedgerConformance, LedgerConformance
from tests.contract.ledger.stores import MemoryStore, PostgresStore, RedisStore, SqliteStore
from tests.servers import Server


@pytest.mark.anyio
class TestMemory(LedgerConformance, LedgerRaces):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


@pytest.mark.anyio
class TestSqlite(DurableLedgerConformance, LedgerRaces):
    @pytest.fixture
    def store(self, tmp_path: Path) -> SqliteStore:
        return SqliteStore(tmp_path / "ledger.db")


@pytest.mark.anyio
class TestPostgres(DurableLedgerConformance, LedgerRaces):
    @pytest.fixture
    def store(self, postgres_server: Server) -> PostgresStore:
        return PostgresStore.on(postgres_server)


@pytest.mark.anyio
class TestRedis(DurableLedgerConformance, LedgerRaces):
    @pytest.fixture
    def store(self, redis_server: Server) -> RedisStore:
        return RedisStore.on(redis_server)
