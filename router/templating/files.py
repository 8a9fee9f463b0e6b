"""The files of a template's folder: what each is by its name, and whose."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from router.nodes import Node
from router.problems import Position, Problems, Source, did_you_mean
from router.templating.settings import checked_locale
from router.templating.snippets import Field, Snippet, split_front_matter

_LAYOUT_NAME = re.compile(
    r"(?P<channel>email|push|chat|webhook)(?:\.(?P<locale>[A-Za-z_-]+))?\.(?P<kind>[a-z]+)"
)
_KINDS = {"email": ("html", "mjml", "txt"), "push": ("txt",), "chat": ("html",)}
_TEXT_NAME = re.compile(r"texts/(?P<locale>[^/]+)\.txt")
_SAMPLE_NAME = re.compile(r"samples/(?P<name>[^/]+)\.ya?ml")
_TENANT = re.compile(r"@(?P<tenant>[^/]+)/(?P<path>.+)")
_WORDS = (
    "email.html",
    "email.mjml",
    "email.txt",
    "push.txt",
    "chat.html",
    "webhook.json",
    "texts/en.txt",
)


@dataclass(frozen=True, slots=True)
class TemplateFile:
    """One file of a template's folder.

    Attributes:
        text: Its content.
        node: The content of a YAML file, parsed.
    """

    source: Source
    text: str
    node: Node | None = None

    @property
    def start(self) -> Position:
        return Position(self.source, 1, 1)


@dataclass(frozen=True, slots=True)
class LayoutFile:
    """One layout file, read but not compiled.

    Attributes:
        path: Inside the folder.
        kind: ``html``, ``mjml``, ``txt`` or ``json``.
    """

    path: str
    kind: str
    fields: Mapping[str, Field]
    body: Snippet

    def over(self, other: LayoutFile) -> LayoutFile:
        """It with the other's front matter where it has none."""
        return replace(self, fields={**other.fields, **self.fields})


LocaleFiles = Mapping[str, LayoutFile]
"""File kind to file, of one channel and one locale."""

Layouts = Mapping[str, Mapping[str, LocaleFiles]]
"""Layout files by channel, locale (empty: the general one) and kind."""


@dataclass(slots=True)
class Folder:
    """What a template's folder holds, or a tenant's folder in it."""

    texts: dict[str, TemplateFile] = field(default_factory=dict[str, TemplateFile])
    samples: dict[str, TemplateFile] = field(default_factory=dict[str, TemplateFile])
    layouts: dict[str, dict[str, dict[str, LayoutFile]]] = field(
        default_factory=dict[str, dict[str, dict[str, LayoutFile]]]
    )


def split_by_tenant(
    files: Mapping[str, TemplateFile],
) -> tuple[dict[str, TemplateFile], dict[str, dict[str, TemplateFile]]]:
    """The files for everybody, and those in ``@tenant`` folders by tenant."""
    general: dict[str, TemplateFile] = {}
    by_tenant: dict[str, dict[str, TemplateFile]] = {}
    for path, file in files.items():
        if match := _TENANT.fullmatch(path):
            by_tenant.setdefault(match["tenant"], {})[match["path"]] = file
        else:
            general[path] = file
    return general, by_tenant


def sort_files(files: Mapping[str, TemplateFile], problems: Problems) -> Folder:
    """The files by what they are; Markdown and names that start with a dot are ignored."""
    folder = Folder()
    for path, file in files.items():
        if path == "template.yaml":
            continue
        if match := _SAMPLE_NAME.fullmatch(path):
            folder.samples[match["name"]] = file
        elif not _sort_words(path, file, folder, problems):
            known = ("template.yaml", *_WORDS, "samples/first.yaml")
            _refuse(path, "no file of a template", known, file, problems)
    return folder


def sort_override(files: Mapping[str, TemplateFile], problems: Problems) -> Folder:
    """A tenant's own files by what they are: texts and layouts, nothing else."""
    folder = Folder()
    for path, file in files.items():
        if not _sort_words(path, file, folder, problems):
            _refuse(path, "nothing that a tenant has its own of", _WORDS, file, problems)
    return folder


def _refuse(
    path: str, what: str, known: Collection[str], file: TemplateFile, problems: Problems
) -> None:
    guess = did_you_mean(path, list(known), "Files")
    problems.error("T103", f"{path} is {what}.{guess}", file.start)


def _sort_words(path: str, file: TemplateFile, folder: Folder, problems: Problems) -> bool:
    """Whether the file is a text, a layout, or one that is ignored."""
    if path.startswith(".") or path.endswith(".md"):
        return True
    if match := _TEXT_NAME.fullmatch(path):
        if locale := checked_locale(match["locale"], file.start, problems):
            folder.texts[locale] = file
        return True
    if match := _LAYOUT_NAME.fullmatch(path):
        _sort_layout(path, file, match, folder, problems)
        return True
    return False


def _sort_layout(
    path: str, file: TemplateFile, match: re.Match[str], folder: Folder, problems: Problems
) -> None:
    channel, kind = match["channel"], match["kind"]
    kinds = _KINDS.get(channel, ("json",))
    if kind not in kinds:
        wanted = " or ".join(f"{channel}.{k}" for k in kinds)
        problems.error("T103", f"{path} is no layout; write {wanted}", file.start)
        return
    locale = checked_locale(match["locale"], file.start, problems) if match["locale"] else ""
    if locale is None:
        return
    fields, body = split_front_matter(file.source, problems)
    place = folder.layouts.setdefault(channel, {}).setdefault(locale, {})
    place[kind] = LayoutFile(path, kind, fields, body)
    if "html" in place and "mjml" in place:
        problems.error("T103", "write email.html or email.mjml, not both", file.start)


def overlaid(base: Layouts, own: Layouts) -> Layouts:
    """The general layout files with a tenant's in their places.

    An ``email.html`` takes the place of an ``email.mjml`` too, and the other way round. Front
    matter that a file lacks is that of the file in whose place it stands.
    """
    made = {channel: dict(by_locale) for channel, by_locale in base.items()}
    for channel, by_locale in own.items():
        for locale, files in by_locale.items():
            before = dict(made.setdefault(channel, {}).get(locale, {}))
            for kind, file in files.items():
                beneath = before.pop(kind, None)
                for other in ({"html", "mjml"} - {kind}) if kind != "txt" else ():
                    beneath = before.pop(other, beneath)
                before[kind] = file.over(beneath) if beneath else file
            made[channel][locale] = before
    return made
