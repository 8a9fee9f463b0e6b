"""What a target is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

CORPORA = Path(__file__).parents[1] / "corpora"
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Target:
    """Something that reads what others wrote.

    Attributes:
        name: Of its corpus, too.
        run: Feeds it one input, and fails where a property does not hold. Errors that the target
            is documented to raise are no failure.
        more: Files of the repository that are good seeds, as patterns from its root.
        examples: Mutations tried in a usual run.
        seconds: Of processor time that one input may take.
    """

    name: str
    run: Callable[[bytes], None]
    more: Sequence[str] = ()
    examples: int = 300
    seconds: float = 5.0

    @property
    def corpus(self) -> Path:
        return CORPORA / self.name

    def seeds(self) -> dict[str, bytes]:
        """Stored inputs by the path of their file."""
        found = sorted(self.corpus.glob("*"))
        for pattern in self.more:
            found += sorted(ROOT.glob(pattern))
        return {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in found}
