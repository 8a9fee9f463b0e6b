"""Reads the templates' folder: one folder a template, all of them loaded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from os.path import normpath
from pathlib import Path

from router.config.compiling import load_frame, load_template
from router.config.contents import Templates
from router.config.fields import a_kind
from router.config.files import Files
from router.config.tenant_checks import check_brand, check_folders, told_once
from router.nodes import Node
from router.planning import NO_TENANTS, Tenants
from router.problems import Position, Problem, Problems
from router.templating import Frame, Frames, Template, TemplateFile

DEFAULT_FOLDER = "../templates"
FRAMES = "_frames"
"""The folder beside the templates that holds the frames of mails."""

Contents = dict[str, TemplateFile]
"""A folder's files by their paths inside it."""

_YAML = frozenset({".yaml", ".yml"})
_TEXTS = frozenset({".txt", ".html", ".mjml", ".json"}) | _YAML


@dataclass(frozen=True, slots=True)
class TemplateSet:
    """All templates of a project.

    Attributes:
        digests: Of each folder's content, by name, where it has no mistake.
        places: The first line of each ``template.yaml``.
    """

    templates: Templates
    digests: dict[str, str] = field(default_factory=dict[str, str])
    places: dict[str, Position] = field(default_factory=dict[str, Position])


@dataclass(slots=True)
class TemplateMemo:
    """Templates of earlier loads: compiling them is most of a load's time.

    By folder and content, that of all frames included, so that what has changed is compiled anew.
    """

    known: dict[object, tuple[Template | None, tuple[Problem, ...]]] = field(
        default_factory=dict[object, tuple[Template | None, tuple[Problem, ...]]]
    )

    def load(
        self, folder: Path, contents: Contents, frames: Frames, problems: Problems
    ) -> Template | None:
        """The folder's template, and its problems added to those given."""
        texts = tuple((name, file.text) for name, file in sorted(contents.items()))
        around = tuple((f.name, *sorted(f.texts.items())) for f in frames.values())
        key = (folder.as_posix(), texts, around)
        if key not in self.known:
            own = Problems()
            self.known[key] = load_template(folder.name, contents, own, frames), tuple(own.found)
        template, found = self.known[key]
        problems.found += found
        return template


def read_templates(
    document: Node,
    files: Files,
    problems: Problems,
    memo: TemplateMemo,
    tenants: Tenants = NO_TENANTS,
    names_of_tenants: Collection[str] = (),
) -> TemplateSet:
    """Every template below the folder that ``templates:`` names.

    Args:
        names_of_tenants: Of all that may have their own, also where this environment has them not.
    """
    folder = _folder(document, files, problems)
    if folder is None:
        return TemplateSet(Templates({}, ()))
    frames = _read_frames(folder / FRAMES, files, names_of_tenants, problems)
    before = len(problems.found)
    loaded: dict[str, Template] = {}
    names: list[str] = []
    found = TemplateSet(Templates(loaded, names))
    for path in sorted(p for p in folder.iterdir() if _is_template(p)):
        names.append(path.name)
        contents = _read_folder(path, files)
        described = contents.get("template.yaml")
        if described is not None:
            found.places[path.name] = Position(described.source, 1, 1)
        check_folders(contents, names_of_tenants, problems)
        template = memo.load(path, contents, frames, problems)
        if template is not None:
            check_brand(template, tenants, problems)
            loaded[path.name] = template
            found.digests[path.name] = template.digest
    problems.found[before:] = told_once(problems.found[before:], (folder / FRAMES).as_posix())
    return found


def _folder(document: Node, files: Files, problems: Problems) -> Path | None:
    written = document.get("templates")
    if written is not None and not isinstance(written.value, str):
        problems.error("S004", f"templates must be a folder, not {a_kind(written)}", written.at)
        return None
    named = str(written.value) if written else DEFAULT_FOLDER
    folder = Path(normpath(files.root / named))
    if folder.is_dir():
        return folder
    if written is not None:
        problems.error("E009", f"there is no folder {folder.as_posix()}", written.at)
    return None


def _read_frames(
    folder: Path, files: Files, names_of_tenants: Collection[str], problems: Problems
) -> dict[str, Frame]:
    frames: dict[str, Frame] = {}
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in (path for path in paths if _is_template(path)):
        contents = _read_folder(path, files)
        check_folders(contents, names_of_tenants, problems)
        frames[path.name] = load_frame(path.name, contents, problems)
    return frames


def _is_template(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith((".", "_"))


def _read_folder(folder: Path, files: Files) -> Contents:
    contents: Contents = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.suffix not in _TEXTS or any(part.startswith(".") for part in name.parts):
            continue
        found = files.text(path)
        if found is None:
            continue
        source, text = found
        node = None
        if path.suffix in _YAML:
            document = files.document(path, literal=True)
            node = document.node if document else None
        contents[name.as_posix()] = TemplateFile(source, text, node)
    return contents
