"""Layouts: what turns a rendering into a message of one channel."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import orjson
from css_inline import CSSInliner, InlineError
from markupsafe import escape

from router.messages import Button, ChatMessage, EmailMessage, PushMessage, Request
from router.templating.codes import RenderError
from router.templating.markup import check_addresses, check_chat, check_chat_link, visible_length
from router.templating.names import is_dangerous
from router.templating.pieces import Piece
from router.templating.plain_text import text_of
from router.templating.rendering import Rendering

_BREAKS = re.compile(r"[\s\x00-\x1f\x7f\u2028\u2029]+")
_ADDRESS = re.compile(r"[^\s<>@,;]+@[^\s<>@,;]+|[^<>@,;\x00-\x1f]+<[^\s<>@,;]+@[^\s<>@,;]+>")
_BODY = re.compile(r"<body\b[^>]*>", re.IGNORECASE)
_INLINER = CSSInliner(load_remote_stylesheets=False, keep_at_rules=True)


@dataclass(frozen=True, slots=True)
class Bounds:
    """A channel's own limits, in characters; None is no limit."""

    max_length: int | None = None
    max_title: int | None = None
    max_subject: int | None = None


def one_line(text: str) -> str:
    """Text without line breaks and control characters: what a header or title can hold."""
    return _BREAKS.sub(" ", text).strip()


def _check_length(what: str, size: int, limit: int | None, piece: Piece) -> None:
    if limit is not None and size > limit:
        message = f"{what} has {size} characters, its channel allows {limit}"
        raise RenderError("T166", message, piece.snippet.start)


def _placed(piece: Piece, check: Callable[[str], None], text: str) -> str:
    """The text, after a check whose errors get the piece's place."""
    try:
        check(text)
    except RenderError as error:
        raise RenderError(error.code, error.text, piece.snippet.start) from error
    return text


@dataclass(frozen=True, slots=True)
class EmailLayout:
    """``email.html`` or ``email.mjml``, and ``email.txt``: at least one of the two.

    Attributes:
        has_styles: Its HTML has a style sheet to inline.
        has_free_addresses: A value decides where a link of it goes, scheme and all.
    """

    subject: Piece
    html: Piece | None
    text: Piece | None
    preheader: Piece | None = None
    reply_to: Piece | None = None
    has_styles: bool = False
    has_free_addresses: bool = False
    bounds: Bounds = field(default_factory=Bounds)

    def render(self, rendering: Rendering, locale: str) -> EmailMessage:
        """The mail.

        Raises:
            RenderError: see :data:`router.templating.CODES`.
        """
        subject = one_line(self.subject.render(rendering))
        if not subject:
            raise RenderError("T167", "the subject is empty", self.subject.snippet.start)
        _check_length("the subject", len(subject), self.bounds.max_subject, self.subject)
        source = self._html(rendering) if self.html else None
        text = self.text.render(rendering) if self.text else text_of(source or "")
        html = self._finished(source, rendering) if source is not None else None
        return EmailMessage(
            subject, html, text.strip() + "\n", self._reply_address(rendering), locale
        )

    def _html(self, rendering: Rendering) -> str:
        assert self.html is not None
        html = self.html.render(rendering)
        return _placed(self.html, check_addresses, html) if self.has_free_addresses else html

    def _finished(self, html: str, rendering: Rendering) -> str:
        if self.preheader:
            html = with_preheader(html, one_line(self.preheader.render(rendering)))
        if not self.has_styles:
            return html
        assert self.html is not None
        try:
            return _INLINER.inline(html)
        except InlineError:
            at = self.html.snippet.start
            raise RenderError("T167", "the mail's CSS can't be inlined", at) from None

    def _reply_address(self, rendering: Rendering) -> str | None:
        if self.reply_to is None:
            return None
        address = self.reply_to.render(rendering).strip()
        if address and not _ADDRESS.fullmatch(address):
            at = self.reply_to.snippet.start
            raise RenderError("T167", "reply_to is not one mail address", at)
        return address or None

    def pieces(self) -> Iterator[Piece]:
        parts = (self.subject, self.preheader, self.reply_to, self.html, self.text)
        return (piece for piece in parts if piece)


def with_preheader(html: str, preheader: str) -> str:
    """The mail with the text that inboxes show after the subject, hidden in the body."""
    if not preheader:
        return html
    block = (
        '<div style="display:none;max-height:0;overflow:hidden;mso-hide:all">'
        f"{escape(preheader)}</div>"
    )
    body = _BODY.search(html)
    at = body.end() if body else 0
    return html[:at] + block + html[at:]


@dataclass(frozen=True, slots=True)
class ButtonPieces:
    """One button as written: ``Text -> url``."""

    text: Piece
    url: Piece


@dataclass(frozen=True, slots=True)
class ChatLayout:
    """``chat.html``: neutral markup, rows of link buttons."""

    body: Piece
    buttons: tuple[tuple[ButtonPieces, ...], ...] = ()
    silent: Piece | None = None
    link_preview: Piece | None = None
    bounds: Bounds = field(default_factory=Bounds)

    def render(self, rendering: Rendering, locale: str) -> ChatMessage:
        """The chat message; a button whose url is empty is left out.

        Raises:
            RenderError: see :data:`router.templating.CODES`.
        """
        html = _placed(self.body, check_chat, self.body.render(rendering).strip())
        length = visible_length(html)
        if not length:
            raise RenderError("T167", "the message is empty", self.body.snippet.start)
        _check_length("the message", length, self.bounds.max_length, self.body)
        rows = (tuple(_render_row(row, rendering)) for row in self.buttons)
        return ChatMessage(
            html,
            tuple(row for row in rows if row),
            silent=_flag(self.silent, rendering, default=False),
            link_preview=_flag(self.link_preview, rendering, default=True),
        )

    def pieces(self) -> Iterator[Piece]:
        yield self.body
        for button in (button for row in self.buttons for button in row):
            yield button.text
            yield button.url
        yield from (piece for piece in (self.silent, self.link_preview) if piece)


def _render_row(row: tuple[ButtonPieces, ...], rendering: Rendering) -> Iterator[Button]:
    for button in row:
        url = button.url.render(rendering).strip()
        if url:
            _placed(button.url, check_chat_link, url)
            text = one_line(button.text.render(rendering))
            if not text:
                raise RenderError("T167", "a button has no text", button.text.snippet.start)
            yield Button(text, url)


def _flag(piece: Piece | None, rendering: Rendering, *, default: bool) -> bool:
    if piece is None:
        return default
    match piece.render(rendering).strip():
        case "true":
            return True
        case "false":
            return False
        case _:
            at = piece.snippet.start
            raise RenderError("T167", "this has to be true or false", at)


@dataclass(frozen=True, slots=True)
class PushLayout:
    """``push.txt``: title in the front matter, the body is the text."""

    title: Piece
    body: Piece
    image: Piece | None = None
    link: Piece | None = None
    bounds: Bounds = field(default_factory=Bounds)

    def render(self, rendering: Rendering, locale: str) -> PushMessage:
        """The push.

        Raises:
            RenderError: see :data:`router.templating.CODES`.
        """
        title = one_line(self.title.render(rendering))
        body = self.body.render(rendering).strip()
        if not title and not body:
            raise RenderError("T167", "the push is empty", self.title.snippet.start)
        _check_length("the title", len(title), self.bounds.max_title, self.title)
        _check_length("the message", len(body), self.bounds.max_length, self.body)
        return PushMessage(
            title, body, _address(self.image, rendering), _address(self.link, rendering)
        )

    def pieces(self) -> Iterator[Piece]:
        return (piece for piece in (self.title, self.image, self.link, self.body) if piece)


def _address(piece: Piece | None, rendering: Rendering) -> str | None:
    """An address of any scheme an app may have registered, but none a browser could run."""
    address = piece.render(rendering).strip() if piece else ""
    if piece and (is_dangerous(address) or _BREAKS.search(address)):
        raise RenderError("T168", "this is no address that a push may open", piece.snippet.start)
    return address or None


@dataclass(frozen=True, slots=True)
class WebhookLayout:
    """``webhook.json``: values are written as JSON, the whole has to be JSON."""

    body: Piece
    bounds: Bounds = field(default_factory=Bounds)

    def render(self, rendering: Rendering, locale: str) -> Request:
        """The request, with the body exactly as rendered.

        Raises:
            RenderError: see :data:`router.templating.CODES`.
        """
        text = self.body.render(rendering).strip()
        _check_length("the body", len(text), self.bounds.max_length, self.body)
        try:
            body = text.encode()
            orjson.loads(body)
        except ValueError as error:
            line = getattr(error, "lineno", None)
            where = f" (line {line} of the result)" if line else ""
            at = self.body.snippet.start
            raise RenderError("T167", f"the result is not JSON{where}", at) from None
        return Request(body=body, content_type="application/json")

    def pieces(self) -> Iterator[Piece]:
        yield self.body


Layout: TypeAlias = EmailLayout | ChatLayout | PushLayout | WebhookLayout

FRONT_MATTER: Mapping[str, tuple[str, ...]] = {
    "email": ("subject", "preheader", "reply_to"),
    "push": ("title", "image", "link"),
    "chat": ("buttons", "link_preview", "silent"),
    "webhook": (),
}
BOUNDS: Mapping[str, tuple[str, ...]] = {
    "email": ("max_subject",),
    "push": ("max_title", "max_length"),
    "chat": ("max_length",),
    "webhook": ("max_length",),
}
"""Keys of ``channels:`` in template.yaml, by layout."""
