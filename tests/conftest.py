"""Shared ground of all tests."""

import pytest

pytest_plugins = ["tests.brokers", "tests.servers"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
