"""The long form: ``python -m tests.fuzz SECONDS [TARGET…]``, what ``make fuzz`` runs.

Inputs are made until the time is over, from new random numbers each time. One that fails is made
smaller and stored in its target's corpus: from then on every run of the tests runs it.
"""

from __future__ import annotations

import hashlib
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random, SystemRandom

from tests.fuzz.bombs import BOMBS
from tests.fuzz.bounds import TooSlow, bounded_memory, bounded_time
from tests.fuzz.mutations import mutated
from tests.fuzz.targets.all import TARGETS
from tests.fuzz.targets.model import Target

_TURN_S = 5.0
_SHRINK_S = 20.0

Failure = tuple[str, str]
"""The error's type, and the last place in the router where it was."""


def main(seconds: float, names: Sequence[str]) -> int:
    """The exit status: 1 if anything failed. Each target has one turn at least."""
    warnings.simplefilter("ignore")
    seed = SystemRandom().randrange(2**32)
    print(f"from random numbers of {seed}")
    random, counts = Random(seed), Counter[str]()
    known: set[tuple[str, Failure]] = set()
    end = _in(seconds)
    found = sum(not _survives_bomb(name) for name in BOMBS if BOMBS[name].target in names)
    is_first = True
    while is_first or time.monotonic() < end:
        is_first = False
        for name in names:
            found += _take_turn(
                TARGETS[name], random, counts, known, _in(min(_TURN_S, seconds / len(names)))
            )
    for name, count in counts.items():
        print(f"{name:12} {count:>9,} inputs")
    print(f"{found} failed" if found else "none failed")
    return 1 if found else 0


def _in(seconds: float) -> float:
    return time.monotonic() + seconds


def _survives_bomb(name: str) -> bool:
    bomb = BOMBS[name]
    try:
        content = bomb.make()
        memory = bounded_memory(bomb.megabytes, of_process=bomb.is_long)
        with memory, bounded_time(3 * bomb.seconds):
            TARGETS[bomb.target].run(content)
    except (Exception, TooSlow) as error:
        print(f"{bomb.target} does not survive: {name}")
        traceback.print_exception(error)
        return False
    return True


def _take_turn(
    target: Target,
    random: Random,
    counts: Counter[str],
    known: set[tuple[str, Failure]],
    end: float,
) -> int:
    """One target until its turn is over; how many new failures there were."""
    seeds = list(target.seeds().values())
    found = 0
    while time.monotonic() < end:
        content = mutated(random, seeds)
        counts[target.name] += 1
        failure = _failure(target, content)
        if failure is not None and (target.name, failure) not in known:
            known.add((target.name, failure))
            found += 1
            path = _store(target, _shrunk(target, content, failure))
            print(f"{target.name} failed: {failure[0]} at {failure[1]}; stored as {path}")
    return found


def _failure(target: Target, content: bytes, *, show: bool = False) -> Failure | None:
    try:
        with bounded_time(target.seconds):
            target.run(content)
    except (Exception, TooSlow) as error:
        if show:
            traceback.print_exception(error)
        frames = traceback.extract_tb(error.__traceback__)
        ours = [f for f in frames if "/router/" in f.filename or "/fuzz/targets/" in f.filename]
        place = ours[-1] if ours else frames[-1]
        where = "" if isinstance(error, TooSlow) else f"{Path(place.filename).name}:{place.lineno}"
        return type(error).__name__, where
    return None


def _shrunk(target: Target, content: bytes, failure: Failure) -> bytes:
    """The input without what the failure does not need."""
    end = _in(_SHRINK_S)
    size = len(content) // 2
    while size and time.monotonic() < end:
        at = 0
        while at < len(content) and time.monotonic() < end:
            shorter = content[:at] + content[at + size :]
            if _failure(target, shorter) == failure:
                content = shorter
            else:
                at += size
        size //= 2
    return content


def _store(target: Target, content: bytes) -> Path:
    path = target.corpus / f"found-{hashlib.sha256(content).hexdigest()[:12]}"
    path.write_bytes(content)
    _failure(target, content, show=True)
    return path


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:] or list(TARGETS)))
