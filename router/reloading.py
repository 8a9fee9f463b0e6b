"""What a changed configuration on disk means for a daemon at work."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from router.config import Project
from router.config.removed import unfit
from router.problems import Problem

_WATCHED = frozenset({".yaml", ".yml", ".txt", ".html", ".mjml", ".json"})
_FIXED = ("ledger", "admin", "delivery", "dead_letters", "feedback", "directory")


def changed_parts(old: Project, new: Project) -> tuple[str, ...]:
    """The parts that differ."""
    names = old.part_hashes.keys() | new.part_hashes.keys()
    return tuple(sorted(n for n in names if old.part_hashes.get(n) != new.part_hashes.get(n)))


def refusals(old: Project, new: Project) -> list[Problem]:
    """Why a new configuration, valid by itself, can't follow the old one without a restart."""
    return [*_fixed_parts(old, new), *_unfit_moves(old, new)]


def _fixed_parts(old: Project, new: Project) -> list[Problem]:
    """What can't be changed while the daemon runs."""
    return [
        Problem("E302", f"a change of `{part}` takes effect with a restart, not with a reload")
        for part in changed_parts(old, new)
        if part in _FIXED
    ]


def _unfit_moves(old: Project, new: Project) -> list[Problem]:
    """Sinks that go with this change, whose deliveries can't go through the one that is named."""
    moves = {name: r.to for name, r in new.removed.items() if r.to and name in old.sink_facts}
    mistakes = (unfit(name, old.sink_facts[name], to) for name, to in moves.items())
    return [Problem("S014", mistake) for mistake in mistakes if mistake]


def content_digest(project: Project) -> str:
    """A hash of the bytes of every file of a project, and of which files there are."""
    digest = blake2b(digest_size=16)
    folders = {Path(project.root), *(Path(file).parent for file in project.files)}
    folders |= {own for folder in folders for own in folder.glob("@*/**/")}
    files = {
        str(path)
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if path.suffix in _WATCHED
    }
    for name in sorted(files | set(project.files)):
        try:
            content = Path(name).read_bytes()
        except OSError:
            continue
        digest.update(name.encode() + b"\0" + str(len(content)).encode() + b"\0" + content)
    return digest.hexdigest()
