"""Nothing that others write makes the router fail in a way of its own making.

Configuration, events, templates, files of people, signatures: an answer or an error that is
documented, in bounded time. Every stored input is run each time, and so many made of them, always
the same ones; ``make fuzz`` goes on from there.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.bombs import BOMBS
from tests.fuzz.bounds import bounded_memory, bounded_time
from tests.fuzz.mutations import mutated
from tests.fuzz.targets.all import TARGETS

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", TARGETS)
def test_stored_inputs(name: str) -> None:
    target = TARGETS[name]
    for path, content in target.seeds().items():
        try:
            with bounded_time(target.seconds):
                target.run(content)
        except BaseException as error:
            error.add_note(f"the input is {path}")
            raise


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_made_of_stored_ones(name: str) -> None:
    target = TARGETS[name]
    seeds = list(target.seeds().values())

    @settings(
        max_examples=target.examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(random=st.randoms(use_true_random=False))
    def survives(random: Random) -> None:
        content = mutated(random, seeds)
        try:
            with bounded_time(target.seconds):
                target.run(content)
        except BaseException as error:
            error.add_note(f"the input is {content[:4000]!r}")
            raise

    survives()


@pytest.mark.parametrize("name", [name for name, bomb in BOMBS.items() if not bomb.is_long])
def test_bombs(name: str) -> None:
    bomb = BOMBS[name]
    content = bomb.make()
    with bounded_memory(bomb.megabytes), bounded_time(3 * bomb.seconds):
        TARGETS[bomb.target].run(content)
