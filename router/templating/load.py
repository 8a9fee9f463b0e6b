"""From the files of a template's folder to a :class:`Template`, with every mistake found."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from router.nodes import Node
from router.problems import Position, Problems, Severity, Source, did_you_mean
from router.templating.environment import BUILT_IN, Environments
from router.templating.layout_fields import Bounds
from router.templating.layouts import Layout
from router.templating.limits import LIMITS, Limits
from router.templating.model import Sample, Template
from router.templating.names import GLOBALS
from router.templating.parts import LayoutFile, LocaleFiles, compile_layout
from router.templating.pieces import Piece, check_names
from router.templating.samples import parse_sample
from router.templating.settings import Settings, checked_locale, parse_settings
from router.templating.snippets import parse_fields, split_front_matter
from router.templating.texts import (
    PluralText,
    TextFile,
    catalogues,
    check_files,
    check_uses,
    compile_file,
    pieces_of,
    warn_unused,
)
from router.templating.variables import Variable
from router.templating.view import FIELDS, VIEW_NAMES

_LAYOUT_NAME = re.compile(
    r"(?P<channel>email|push|chat|webhook)(?:\.(?P<locale>[A-Za-z_-]+))?\.(?P<kind>[a-z]+)"
)
_KINDS = {"email": ("html", "mjml", "txt"), "push": ("txt",), "chat": ("html",)}
_TEXT_NAME = re.compile(r"texts/(?P<locale>[^/]+)\.txt")
_SAMPLE_NAME = re.compile(r"samples/(?P<name>[^/]+)\.ya?ml")
_NAMES = frozenset({*VIEW_NAMES, "locale", "unsubscribe_url", *GLOBALS})
_MONEY_FIELDS = ("minor", "currency")


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


@dataclass(slots=True)
class _Folder:
    texts: dict[str, TemplateFile] = field(default_factory=dict[str, TemplateFile])
    samples: dict[str, TemplateFile] = field(default_factory=dict[str, TemplateFile])
    layouts: dict[str, dict[str, dict[str, LayoutFile]]] = field(
        default_factory=dict[str, dict[str, dict[str, LayoutFile]]]
    )


def load_template(
    name: str,
    files: Mapping[str, TemplateFile],
    problems: Problems,
    limits: Limits = LIMITS,
    environments: Environments = BUILT_IN,
) -> Template | None:
    """The template made of a folder's files, by their paths inside it.

    Args:
        files: ``template.yaml``, ``texts/ru.txt``, ``email.html``, ``email.kk.html``,
            ``samples/first.yaml`` …; Markdown files and names that start with a dot are ignored.
        problems: Takes every mistake.
        environments: Those with further filters, if there are any.

    Returns:
        None if there was an error.
    """
    before = _errors(problems)
    about = files.get("template.yaml")
    if about is None or about.node is None:
        at = next(iter(files.values())).start if files else None
        problems.error("T101", f'template "{name}" has no template.yaml', at)
        return None
    settings = parse_settings(about.node, problems)
    folder = _sort(files, problems)
    texts = _texts(folder.texts, problems, environments)
    check_files(texts, settings.locales, settings.locale_at, problems)
    layouts = _layouts(folder.layouts, settings.bounds, problems, environments)
    if not folder.layouts:
        channels = "email.html, push.txt, chat.html, webhook.json"
        problems.error("T106", f"no layout: write one of {channels}", about.start)
    names = _check_uses(layouts, texts, settings, problems)
    samples = _samples(folder.samples, problems)
    if _errors(problems) > before:
        return None
    return Template(
        name=name,
        description=settings.description,
        owner=settings.owner,
        locales=settings.locales,
        variables=settings.variables,
        samples=samples,
        digest=_digest(files),
        at=about.node.at,
        layouts=layouts,
        catalogues=catalogues(texts, settings.locales),
        names=names,
        limits=limits,
    )


def _errors(problems: Problems) -> int:
    return sum(problem.severity is Severity.ERROR for problem in problems.found)


def _digest(files: Mapping[str, TemplateFile]) -> str:
    content = hashlib.sha256()
    for path in sorted(files):
        for part in (path, files[path].text):
            data = part.encode("utf-8", "surrogatepass")
            content.update(len(data).to_bytes(8, "big") + data)
    return content.hexdigest()


def _sort(files: Mapping[str, TemplateFile], problems: Problems) -> _Folder:
    folder = _Folder()
    for path, file in files.items():
        if path == "template.yaml" or path.startswith(".") or path.endswith(".md"):
            continue
        if match := _TEXT_NAME.fullmatch(path):
            if locale := checked_locale(match["locale"], file.start, problems):
                folder.texts[locale] = file
        elif match := _SAMPLE_NAME.fullmatch(path):
            folder.samples[match["name"]] = file
        elif match := _LAYOUT_NAME.fullmatch(path):
            _sort_layout(path, file, match, folder, problems)
        else:
            known = ["template.yaml", "email.html", "email.mjml", "email.txt", "push.txt"]
            known += ["chat.html", "webhook.json", "texts/en.txt", "samples/first.yaml"]
            guess = did_you_mean(path, known, "Files")
            problems.error("T103", f"{path} is no file of a template.{guess}", file.start)
    return folder


def _sort_layout(
    path: str, file: TemplateFile, match: re.Match[str], folder: _Folder, problems: Problems
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


def _texts(
    files: Mapping[str, TemplateFile], problems: Problems, environments: Environments
) -> dict[str, TextFile]:
    compiled: dict[str, TextFile] = {}
    for locale, file in files.items():
        fields = parse_fields(file.source, 0, len(file.source.lines), problems)
        compiled[locale] = compile_file(locale, file.start, fields, problems, environments)
    return compiled


def _layouts(
    channels: Mapping[str, Mapping[str, LocaleFiles]],
    bounds: Mapping[str, Bounds],
    problems: Problems,
    environments: Environments,
) -> dict[str, dict[str, Layout]]:
    made: dict[str, dict[str, Layout]] = {}
    for channel, by_locale in channels.items():
        general = by_locale.get("", {})
        if not general:
            some = next(iter(next(iter(by_locale.values())).values()))
            message = f"{channel} has a layout for single locales only; write the general one too"
            problems.error("T106", message, some.body.start)
        for locale, files in by_locale.items():
            limits = bounds.get(channel, Bounds())
            layout = compile_layout(channel, files, general, limits, problems, environments)
            if layout:
                made.setdefault(channel, {})[locale] = layout
    return made


def _check_uses(
    layouts: Mapping[str, Mapping[str, Layout]],
    texts: Mapping[str, TextFile],
    settings: Settings,
    problems: Problems,
) -> frozenset[str]:
    """Every name and text that is read exists; returns the names that are read."""
    from_layouts = [p for made in layouts.values() for lay in made.values() for p in lay.pieces()]
    from_texts = [p for file in texts.values() for t in file.texts.values() for p in pieces_of(t)]
    pieces = list(dict.fromkeys(from_layouts + from_texts))
    known = _NAMES | settings.variables.keys() | ({"t"} if texts else set())
    fields = {**FIELDS, **_money_fields(settings.variables)}
    arguments = _named_arguments(pieces)
    for piece in dict.fromkeys(from_layouts):
        check_names(piece, known, fields, problems)
    for key, text in ((k, t) for file in texts.values() for k, t in file.texts.items()):
        extra = arguments.get(key, set()) | ({"n"} if isinstance(text, PluralText) else set())
        for piece in pieces_of(text):
            check_names(piece, known | extra, fields, problems)
    if default := texts.get(settings.locales.default):
        check_uses(from_layouts, default, default, problems)
        for file in texts.values():
            own = [piece for text in file.texts.values() for piece in pieces_of(text)]
            check_uses(own, file, default, problems)
            warn_unused(file, default, arguments.keys(), problems)
    return frozenset[str]().union(*(piece.names for piece in pieces))


def _named_arguments(pieces: Iterable[Piece]) -> Mapping[str, set[str]]:
    """The texts that are used, each with the names it is given."""
    named: dict[str, set[str]] = {}
    for piece in pieces:
        for key, _, keywords, _ in piece.uses.texts:
            named.setdefault(key, set()).update(keywords)
    return named


def _money_fields(variables: Mapping[str, Variable]) -> Mapping[str, tuple[str, ...]]:
    return {name: _MONEY_FIELDS for name, v in variables.items() if v.type == "money"}


def _samples(files: Mapping[str, TemplateFile], problems: Problems) -> tuple[Sample, ...]:
    samples: list[Sample] = []
    for name, file in sorted(files.items()):
        if file.node is None:
            problems.error("T101", "a sample has to be YAML", file.start)
        elif sample := parse_sample(name, file.node, problems):
            samples.append(sample)
    return tuple(samples)
