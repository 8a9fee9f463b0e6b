"""The files of one project: reading, including, and what was read."""

from __future__ import annotations

import glob
from dataclasses import dataclass, field
from pathlib import Path

from router.config.documents import Document, read_document
from router.nodes import Node
from router.problems import Position, Problems, Source


@dataclass(slots=True)
class Files:
    """Reads the files of one load and remembers them.

    Attributes:
        root: The folder of ``router.yaml``, as it was given; paths start there.
        read: Files in the order of their first reading.
        under_way: Files whose includes are being read, to refuse circles.
    """

    root: Path
    problems: Problems
    read: dict[str, Source] = field(default_factory=dict[str, Source])
    under_way: list[Path] = field(default_factory=list[Path])

    @property
    def folder(self) -> str:
        """The folder of ``router.yaml``, as text."""
        return self.root.as_posix()

    def text(self, path: Path, at: Position | None = None) -> tuple[Source, str] | None:
        """A file's source and text, or None after a problem at the place that names it."""
        name = path.as_posix()
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = path.read_bytes()[: error.start].count(b"\n") + 1
            place = Position(Source(name, ()), line, 1)
            self.problems.error("Y013", "the file is not UTF-8 text", place)
            return None
        except OSError as error:
            hint = "" if at else "; run this where it is, or name it with -c"
            self.problems.error("E009", f"can't read {name}: {error.strerror}{hint}", at)
            return None
        source = self.read.setdefault(name, Source.of(name, text))
        return source, text

    def document(
        self, path: Path, at: Position | None = None, *, literal: bool = False
    ) -> Document | None:
        """A parsed file; None where it can't be read."""
        found = self.text(path, at)
        if found is None:
            return None
        source, text = found
        if literal:
            return read_document(source, text, self.problems, literal=True)
        self.under_way.append(path.resolve())
        try:
            return read_document(source, text, self.problems, include=self._include)
        finally:
            self.under_way.pop()

    def _include(self, name: str, at: Position) -> Node | None:
        path = self._inside(name, at)
        if path is None:
            return None
        if not path.is_file():
            self.problems.error("E011", f'there is no file "{name}" in {self.root}', at)
            return None
        if path.resolve() in self.under_way:
            self.problems.error("E012", f'"{name}" includes itself', at)
            return None
        document = self.document(path, at)
        return document.node if document else None

    def included(self, pattern: str, at: Position) -> list[Path]:
        """The files that a pattern of ``include:`` names, sorted."""
        if self._inside(pattern, at) is None:
            return []
        names = sorted(glob.glob(pattern, root_dir=self.root, recursive=True))
        paths = [self.root / name for name in names if (self.root / name).is_file()]
        inside = [path for path in paths if self._is_inside(path)]
        if len(inside) < len(paths):
            self.problems.error("E010", f'"{pattern}" leads out of {self.root}', at)
        elif not paths:
            self.problems.error("E011", f'no file matches "{pattern}" in {self.root}', at)
        return inside

    def _inside(self, name: str, at: Position) -> Path | None:
        path = self.root / name
        if Path(name).is_absolute():
            message = f'"{name}" must be relative to {self.root}'
        elif ".." in Path(name).parts or not self._is_inside(path):
            message = f'"{name}" leads out of {self.root}'
        else:
            return path
        self.problems.error("E010", message, at)
        return None

    def _is_inside(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self.root.resolve())
