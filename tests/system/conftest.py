"""The usual place of a test: a topic, a group and a project of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.brokers import Broker
from tests.system.place import Place


@pytest.fixture
def place(broker: Broker, unique: Callable[[str], str], tmp_path: Path) -> Place:
    """On each chosen broker."""
    return Place(broker, unique("orders"), unique("router"), tmp_path)


@pytest.fixture
def evicting_place(evicting_broker: Broker, unique: Callable[[str], str], tmp_path: Path) -> Place:
    """On a broker that waits for its members at a rebalance, and goes on without dead ones."""
    return Place(evicting_broker, unique("orders"), unique("router"), tmp_path)
