"""``router init``: a project that runs without any service, to be changed bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath

from router.authoring.schema import FILES, schema_text

_DOT = "dot-"
"""Stands for a leading dot, so that no tool takes our files for its own configuration."""


def scaffold() -> dict[PurePosixPath, bytes]:
    """Every file of a new project, by its path within it."""
    root = files("router.authoring") / "scaffold"
    content = {path: file.read_bytes() for path, file in _walk(root, PurePosixPath())}
    for kind, name in FILES.items():
        content[PurePosixPath("schema", name)] = schema_text(kind).encode()
    return content


def _walk(folder: Traversable, path: PurePosixPath) -> Iterator[tuple[PurePosixPath, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        name = entry.name
        if name.startswith(_DOT):
            name = f".{name.removeprefix(_DOT)}"
        if entry.is_dir():
            yield from _walk(entry, path / name)
        else:
            yield path / name, entry
