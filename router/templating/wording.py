"""The layouts and texts of a template: everybody's, or a tenant's over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from router.problems import Position, Problems
from router.templating.environment import Environments
from router.templating.files import Folder, Layouts, TemplateFile, overlaid
from router.templating.frame_files import FRAME, Frame, Frames
from router.templating.layout_fields import Bounds
from router.templating.layouts import Layout
from router.templating.parts import Surroundings, compile_layout
from router.templating.pieces import Piece
from router.templating.settings import Settings
from router.templating.snippets import Field, parse_fields
from router.templating.texts import TextFile, compile_file


@dataclass(frozen=True, slots=True)
class Wording:
    """What a message is made of.

    Attributes:
        files: The layouts as written.
        layouts: By channel, then locale; the empty locale is the general one.
        texts: By locale.
        own_texts: Those of ``texts`` that aren't everybody's, or all where they are everybody's.
        is_whole: Every layout file could be compiled.
    """

    files: Layouts
    layouts: Mapping[str, Mapping[str, Layout]]
    texts: Mapping[str, TextFile]
    own_texts: Mapping[str, TextFile]
    is_whole: bool

    def layout_pieces(self) -> Iterator[Piece]:
        return (p for made in self.layouts.values() for lay in made.values() for p in lay.pieces())


def read_wording(
    folder: Folder, settings: Settings, surroundings: Surroundings, problems: Problems
) -> Wording:
    """The words for everybody."""
    texts = _texts(folder.texts, problems, surroundings.environments)
    for channel, by_locale in folder.layouts.items():
        if "" not in by_locale:
            some = next(iter(next(iter(by_locale.values())).values()))
            message = f"{channel} has a layout for single locales only; write the general one too"
            problems.error("T106", message, some.body.start)
    layouts = _layouts(folder.layouts, settings, surroundings, problems)
    return Wording(folder.layouts, layouts, texts, texts, _is_whole(folder.layouts, layouts))


def override_wording(
    base: Wording,
    own: Folder,
    settings: Settings,
    surroundings: Surroundings,
    problems: Problems,
) -> Wording:
    """A tenant's words: its own over everybody's; what it shares is not compiled again."""
    for channel in own.layouts.keys() - base.files.keys():
        some = next(iter(next(iter(own.layouts[channel].values())).values()))
        has = ", ".join(sorted(base.files))
        message = f"there is no {channel} layout for a tenant to have its own of, only {has}"
        problems.error("T107", message, some.body.start)
    files = overlaid(base.files, own.layouts)
    changed = set(own.layouts)
    if any(surroundings.tenant in f.tenants for f in frames_of(files, surroundings.frames)):
        changed.add("email")
    again = {channel: by_locale for channel, by_locale in files.items() if channel in changed}
    layouts = {**base.layouts, **_layouts(again, settings, surroundings, problems)}
    own_texts = _texts(own.texts, problems, surroundings.environments)
    texts = {**base.texts, **{tag: f.over(base.texts.get(tag)) for tag, f in own_texts.items()}}
    return Wording(files, layouts, texts, own_texts, _is_whole(again, layouts))


def frames_of(files: Layouts, frames: Frames) -> list[Frame]:
    """The frames that mails stand in."""
    names = {field.snippet.text.strip() for field in _frame_fields(files)}
    return [frames[name] for name in sorted(names & frames.keys())]


def framing_at(files: Layouts) -> Position | None:
    """Where the first mail names its frame."""
    return next((field.key_at for field in _frame_fields(files)), None)


def _frame_fields(files: Layouts) -> Iterator[Field]:
    layouts = (file for by_kind in files.get("email", {}).values() for file in by_kind.values())
    return (file.fields[FRAME] for file in layouts if FRAME in file.fields)


def _is_whole(files: Layouts, layouts: Mapping[str, Mapping[str, Layout]]) -> bool:
    return all(files[channel].keys() == layouts.get(channel, {}).keys() for channel in files)


def _texts(
    files: Mapping[str, TemplateFile], problems: Problems, environments: Environments
) -> dict[str, TextFile]:
    compiled: dict[str, TextFile] = {}
    for locale, file in files.items():
        fields = parse_fields(file.source, 0, len(file.source.lines), problems)
        compiled[locale] = compile_file(locale, file.start, fields, problems, environments)
    return compiled


def _layouts(
    files: Layouts, settings: Settings, surroundings: Surroundings, problems: Problems
) -> dict[str, dict[str, Layout]]:
    made: dict[str, dict[str, Layout]] = {}
    for channel, by_locale in files.items():
        general, bounds = by_locale.get("", {}), settings.bounds.get(channel, Bounds())
        for locale, written in by_locale.items():
            layout = compile_layout(channel, written, general, bounds, problems, surroundings)
            if layout:
                made.setdefault(channel, {})[locale] = layout
    return made
