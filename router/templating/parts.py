"""Layout files of a template's folder, compiled to layouts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from router.problems import Problems, did_you_mean, nearest
from router.templating import escaping
from router.templating.bodies import body_of_html, body_of_mjml
from router.templating.environment import Environments
from router.templating.files import LayoutFile, LocaleFiles
from router.templating.frame_files import FRAME, Frames, NoFrame, frame_of
from router.templating.frames import Body
from router.templating.layout_fields import Bounds, ButtonPieces
from router.templating.layouts import (
    FRONT_MATTER,
    ChatLayout,
    EmailLayout,
    Layout,
    WebhookLayout,
)
from router.templating.markup import TAGS, unknown_tags
from router.templating.pieces import Piece, compile_text
from router.templating.push import DATA, OPTIONS, PushLayout, check_options
from router.templating.snippets import Field, Snippet

_EXPRESSION = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What layouts are compiled with, beside their files.

    Attributes:
        tenant: Whose they are; empty: everybody's.
    """

    environments: Environments
    frames: Frames
    tenant: str = ""


def compile_layout(
    channel: str,
    files: LocaleFiles,
    general: LocaleFiles,
    bounds: Bounds,
    problems: Problems,
    surroundings: Surroundings,
) -> Layout | None:
    """The layout of one locale; front matter it lacks is the general one's."""
    fields = _front_matter(channel, files, general, problems)
    compiler = _Compiler(fields, problems, next(iter(files.values())), surroundings)
    match channel:
        case "email":
            return compiler.email(files, bounds)
        case "chat":
            return compiler.chat(files["html"], bounds)
        case "push":
            return compiler.push(files["txt"], bounds)
        case _:
            body = compiler.compile(files["json"].body, escaping.JSON)
            return WebhookLayout(body, bounds) if body else None


def _front_matter(
    channel: str, files: LocaleFiles, general: LocaleFiles, problems: Problems
) -> Mapping[str, Field]:
    known = FRONT_MATTER[channel]
    merged: dict[str, Field] = {}
    for file in (*general.values(), *files.values()):
        merged.update(file.fields)
    for file in files.values():
        for key, field in file.fields.items():
            if not _is_field(channel, key):
                guess = did_you_mean(key, known, "Fields")
                problems.error("T112", f'{file.path} has no field "{key}".{guess}', field.key_at)
        if file.kind == "txt" and channel == "email" and len(files) > 1 and file.fields:
            at = next(iter(file.fields.values())).key_at
            problems.error("T112", "the mail's front matter stands in its HTML layout", at)
    return {key: field for key, field in merged.items() if _is_field(channel, key)}


def _is_field(channel: str, key: str) -> bool:
    return key in FRONT_MATTER[channel] or (channel == "push" and key.startswith(DATA))


@dataclass(frozen=True, slots=True)
class _Compiler:
    fields: Mapping[str, Field]
    problems: Problems
    first: LayoutFile
    surroundings: Surroundings

    @property
    def environments(self) -> Environments:
        return self.surroundings.environments

    def compile(self, snippet: Snippet, language: escaping.Language | None = None) -> Piece | None:
        return compile_text(snippet, self.problems, language, self.environments)

    def email(self, files: LocaleFiles, bounds: Bounds) -> EmailLayout | None:
        subject = self._required("subject")
        html = self._html(files)
        text = self.compile(files["txt"].body) if "txt" in files else None
        if subject is None or (html is None and text is None) or (html is None and len(files) > 1):
            return None
        return EmailLayout(
            subject, html, text, self._optional("preheader"), self._optional("reply_to"), bounds
        )

    def _html(self, files: LocaleFiles) -> Body | None:
        file = files.get("mjml") or files.get("html")
        if file is None:
            return None
        try:
            frame = frame_of(
                self.fields.get(FRAME),
                file.body,
                file.kind,
                self.surroundings.frames,
                self.surroundings.tenant,
                self.problems,
            )
        except NoFrame:
            return None
        if file.kind == "mjml":
            return body_of_mjml(file.body, frame, self.problems, self.environments)
        return body_of_html(file.body, frame, self.problems, self.environments)

    def chat(self, file: LayoutFile, bounds: Bounds) -> ChatLayout | None:
        text = file.body.text
        for offset, tag in unknown_tags(text):
            line = text.count("\n", 0, offset) + 1
            guess = nearest(tag, TAGS)
            hint = f' Did you mean "{guess}"?' if guess else ""
            self.problems.error(
                "T140",
                f"chat messages have no <{tag}>.{hint} Tags: {', '.join(TAGS)}",
                file.body.position(line, rf"</?{re.escape(tag)}\b"),
            )
        body = self.compile(file.body, escaping.HTML)
        buttons = self._buttons("buttons")
        silent, preview = self._optional("silent"), self._optional("link_preview")
        for piece in (silent, preview):
            if piece and piece.template is None and piece.constant not in {"true", "false"}:
                self.problems.error("T112", "write true or false", piece.snippet.start)
        return ChatLayout(body, buttons, silent, preview, bounds) if body else None

    def push(self, file: LayoutFile, bounds: Bounds) -> PushLayout | None:
        may_be_silent = "silent" in self.fields
        title = self._optional("title") if may_be_silent else self._required("title")
        body = self.compile(file.body)
        options = {name: piece for name in OPTIONS if (piece := self._optional(name))}
        check_options(options, self.problems)
        data = {
            key.removeprefix(DATA): piece
            for key in self.fields
            if key.startswith(DATA) and (piece := self._optional(key))
        }
        actions = tuple(button for row in self._buttons("actions") for button in row)
        if body is None or (title is None and not may_be_silent):
            return None
        return PushLayout(title, body, options, data, actions, bounds)

    def _required(self, key: str) -> Piece | None:
        if key not in self.fields:
            at = self.first.body.position(1)
            self.problems.error(
                "T113", f'{self.first.path} needs "{key}: …" in its front matter', at
            )
        return self._optional(key)

    def _optional(self, key: str) -> Piece | None:
        field = self.fields.get(key)
        return self.compile(field.snippet) if field else None

    def _buttons(self, key: str) -> tuple[tuple[ButtonPieces, ...], ...]:
        field = self.fields.get(key)
        if field is None:
            return ()
        lines = field.snippet.text.split("\n")
        rows = (self._row(field.snippet.line(i)) for i, line in enumerate(lines) if line.strip())
        return tuple(tuple(row) for row in rows)

    def _row(self, line: Snippet) -> Iterator[ButtonPieces]:
        for part in _split_outside(line, "|"):
            halves = _split_outside(part, "->")
            if len(halves) != 2 or not all(half.text for half in halves):
                self.problems.error(
                    "T114",
                    "write a button as Text -> url, several of one row with | between",
                    part.start,
                )
                continue
            text, url = (self.compile(half) for half in halves)
            if text and url:
                yield ButtonPieces(text, url)


def _split_outside(line: Snippet, mark: str) -> list[Snippet]:
    """Parts of a one-line snippet between marks that stand outside of ``{{ }}``."""
    masked = _EXPRESSION.sub(lambda m: "x" * len(m[0]), line.text)
    parts: list[Snippet] = []
    start = 0
    while (end := masked.find(mark, start)) >= 0:
        parts.append(line.part(start, end))
        start = end + len(mark)
    parts.append(line.part(start, len(line.text)))
    return parts
