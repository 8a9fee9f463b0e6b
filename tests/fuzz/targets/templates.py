"""The renderer: folders of templates rendered with hostile values, and what is done to markup."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic

from router.config.documents import read_document
from router.messages import ChatMessage, EmailMessage
from router.problems import Problems, Source
from router.sinks._markup import render_html
from router.templating import (
    Limits,
    RenderError,
    Template,
    TemplateFile,
    View,
    check_template,
    load_template,
)
from router.templating.markup import check_addresses, check_chat, visible_length
from router.templating.overflow import cut_markup, cut_text, split_markup
from router.templating.plain_text import text_of
from tests.fuzz.parts import split
from tests.fuzz.targets.checks import check_position, check_problems
from tests.fuzz.targets.hostile import EVENTS, PEOPLE, VALUES

LIMITS = Limits(seconds=0.3, monotonic=monotonic)
_ANY_HTML = 5_000
"""Sinks are given checked markup only; the parser of the standard library takes long for other."""
_TAGS = {tag: tag for tag in ("b", "i", "u", "s", "code", "pre", "a", "blockquote")}


def folder(content: bytes) -> None:
    """A template's folder, each file a part of the input; what loads is rendered."""
    problems = Problems()
    files = {
        path: _file(path, text.decode("utf-8", "replace"), problems)
        for path, text in split(content).items()
    }
    template = load_template("x", files, problems, LIMITS)
    check_problems(problems.found)
    if template is None:
        assert problems.has_errors
        return
    check_problems(check_template(template))
    _render(template)


def _file(path: str, text: str, problems: Problems) -> TemplateFile:
    source = Source.of(path, text)
    if not path.endswith((".yaml", ".yml")):
        return TemplateFile(source, text)
    return TemplateFile(source, text, read_document(source, text, problems, literal=True).node)


def _render(template: Template) -> None:
    for layout in template.channels:
        for event in EVENTS[:2]:
            for person in PEOPLE:
                view = View(event, person, VALUES, "r", event.time, {})
                try:
                    message = template.render(layout, view, unsubscribe_url="https://u.example")
                except RenderError as error:
                    if error.position is not None:
                        check_position(error.position)
                    continue
                match message:
                    case EmailMessage():
                        assert "\n" not in message.subject
                        assert "\r" not in message.subject
                    case ChatMessage():
                        check_chat(message.html)
                    case _:
                        pass


def markup(content: bytes) -> None:
    """A message's HTML: told as text, cut, split, put into a chat's dialect."""
    html = content.decode("utf-8", "replace")
    text_of([html])
    assert len(cut_text(html, 100)) <= 101
    if len(html) <= _ANY_HTML:
        render_html(html, _TAGS, frozenset({"https"}))
    with suppress(RenderError):
        check_addresses(html)
    try:
        check_chat(html)
    except RenderError:
        return
    render_html(html, _TAGS, frozenset({"https"}))
    assert visible_length(cut_markup(html, 50)) <= 51
    for part in split_markup(html, 100):
        check_chat(part)
        assert visible_length(part) <= 100
