"""Reads the templates' folder: one folder a template, all of them loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from os.path import normpath
from pathlib import Path

from router.config.compiling import load_template
from router.config.contents import Templates
from router.config.fields import a_kind
from router.config.files import Files
from router.nodes import Node
from router.problems import Position, Problem, Problems
from router.templating import Template, TemplateFile

DEFAULT_FOLDER = "../templates"
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

    By folder and content, so that what has changed is compiled anew.
    """

    known: dict[object, tuple[Template | None, tuple[Problem, ...]]] = field(
        default_factory=dict[object, tuple[Template | None, tuple[Problem, ...]]]
    )

    def load(
        self, folder: Path, contents: dict[str, TemplateFile], problems: Problems
    ) -> Template | None:
        """The folder's template, and its problems added to those given."""
        texts = tuple((name, file.text) for name, file in sorted(contents.items()))
        key = (folder.as_posix(), texts)
        if key not in self.known:
            own = Problems()
            self.known[key] = load_template(folder.name, contents, own), tuple(own.found)
        template, found = self.known[key]
        problems.found += found
        return template


def read_templates(
    document: Node, files: Files, problems: Problems, memo: TemplateMemo
) -> TemplateSet:
    """Every template below the folder that ``templates:`` names."""
    written = document.get("templates")
    if written is not None and not isinstance(written.value, str):
        problems.error("S004", f"templates must be a folder, not {a_kind(written)}", written.at)
        return TemplateSet(Templates({}, ()))
    named = str(written.value) if written else DEFAULT_FOLDER
    folder = Path(normpath(files.root / named))
    if not folder.is_dir():
        if written is not None:
            problems.error("E009", f"there is no folder {folder.as_posix()}", written.at)
        return TemplateSet(Templates({}, ()))
    loaded: dict[str, Template] = {}
    names: list[str] = []
    found = TemplateSet(Templates(loaded, names))
    for path in sorted(p for p in folder.iterdir() if _is_template(p)):
        names.append(path.name)
        contents = _read_folder(path, files)
        described = contents.get("template.yaml")
        if described is not None:
            found.places[path.name] = Position(described.source, 1, 1)
        template = memo.load(path, contents, problems)
        if template is not None:
            loaded[path.name] = template
            found.digests[path.name] = template.digest
    return found


def _is_template(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith((".", "_"))


def _read_folder(folder: Path, files: Files) -> dict[str, TemplateFile]:
    contents: dict[str, TemplateFile] = {}
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
