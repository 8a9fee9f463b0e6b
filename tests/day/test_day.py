"""Days in miniature: the short form of ``make day``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.day.books import balance
from tests.day.day import Plan, live
from tests.day.journal import Journal
from tests.day.laws import broken
from tests.day.ledgers import InFile, InMemory
from tests.day.process import Ledgers
from tests.day.simulated import run


def lived(plan: Plan, ledgers: Ledgers) -> Journal:
    """A day whose books balance, and in which every law holds."""
    journal = run(live, plan, ledgers)
    assert balance(journal).problems == (), f"seed {plan.seed}"
    assert not any(broken(journal).values()), (f"seed {plan.seed}", broken(journal))
    return journal


@pytest.mark.parametrize("seed", [11, 12])
def test_a_day_with_kills_and_every_trouble(seed: int, tmp_path: Path) -> None:
    plan = Plan(seed, 700, people=40, troubles=0.4, kills=0.08, step_s=1500.0)
    journal = lived(plan, InFile(tmp_path))
    assert journal.records == 700
    assert sum(life.is_killed for life in journal.lives) > 1
    assert sum(journal.troubles.values()) > 10


def test_a_day_without_kills_balances_to_the_last_row(tmp_path: Path) -> None:
    journal = lived(Plan(21, 700, people=40, kills=0.0, step_s=1500.0), InFile(tmp_path))
    assert not any(life.is_killed for life in journal.lives)


def test_a_day_without_a_durable_ledger() -> None:
    lived(Plan(31, 700, people=40, step_s=1500.0), InMemory())
