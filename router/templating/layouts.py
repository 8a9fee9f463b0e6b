"""Layouts: what turns a rendering into a message of one channel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import orjson

from router.messages import Button, ChatMessage, EmailMessage, Request
from router.templating.codes import RenderError
from router.templating.frames import Body
from router.templating.layout_fields import (
    Bounds,
    ButtonPieces,
    check_length,
    fitted,
    one_line,
    placed,
    render_button,
    render_flag,
)
from router.templating.markup import check_chat, check_chat_link, visible_length
from router.templating.overflow import Overflow, cut_markup, split_markup
from router.templating.pieces import Piece
from router.templating.plain_text import text_of
from router.templating.push import OPTIONS, PushLayout
from router.templating.rendering import Rendering

_ADDRESS = re.compile(r"[^\s<>@,;]+@[^\s<>@,;]+|[^<>@,;\x00-\x1f]+<[^\s<>@,;]+@[^\s<>@,;]+>")
MAX_PARTS = 10
"""A chat message that would be split into more is an error."""

MIN_SPLIT = 32
"""No channel's parts are shorter than this."""


@dataclass(frozen=True, slots=True)
class EmailLayout:
    """``email.html`` or ``email.mjml``, and ``email.txt``: at least one of the two."""

    subject: Piece
    html: Body | None
    text: Piece | None
    preheader: Piece | None = None
    reply_to: Piece | None = None
    bounds: Bounds = field(default_factory=Bounds)

    def render(self, rendering: Rendering, locale: str) -> EmailMessage:
        """The mail.

        Raises:
            RenderError: see :data:`router.templating.CODES`.
        """
        subject = one_line(self.subject.render(rendering))
        if not subject:
            raise RenderError("T167", "the subject is empty", self.subject.snippet.start)
        limit = self.bounds.max_subject
        subject = fitted("the subject", subject, limit, self.bounds, self.subject)
        html, text = None, ""
        if self.html:
            html, text = self._html(self.html, rendering)
        if self.text:
            text = self.text.render(rendering)
        return EmailMessage(
            subject, html, text.strip() + "\n", self._reply_address(rendering), locale
        )

    def _html(self, body: Body, rendering: Rendering) -> tuple[str, str]:
        """The HTML, and the text that is made of it where no other is written."""
        chunks = body.chunks(rendering)
        text = "" if self.text else text_of(chunks, body.fixed)
        if self.preheader:
            body.put_preheader(chunks, one_line(self.preheader.render(rendering)))
        return "".join(chunks), text

    def _reply_address(self, rendering: Rendering) -> str | None:
        if self.reply_to is None:
            return None
        address = self.reply_to.render(rendering).strip()
        if address and not _ADDRESS.fullmatch(address):
            at = self.reply_to.snippet.start
            raise RenderError("T167", "reply_to is not one mail address", at)
        return address or None

    def pieces(self) -> Iterator[Piece]:
        written = self.html.written if self.html else ()
        parts = (self.subject, self.preheader, self.reply_to, *written, self.text)
        return (piece for piece in parts if piece)


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

        One that is split has its buttons below the last part, and only the first part sounds.

        Raises:
            RenderError: see :data:`router.templating.CODES`.
        """
        first, *others = self._parts(rendering)
        buttons = self._buttons(rendering)
        preview = render_flag(self.link_preview, rendering, default=True)
        rest = tuple(
            ChatMessage(
                html,
                buttons if number == len(others) + 1 else (),
                silent=True,
                link_preview=preview,
                part=number,
            )
            for number, html in enumerate(others, 2)
        )
        return ChatMessage(
            first,
            () if rest else buttons,
            silent=render_flag(self.silent, rendering, default=False),
            link_preview=preview,
            part=1 if rest else 0,
            rest=rest,
        )

    def _parts(self, rendering: Rendering) -> list[str]:
        """The body, in as many parts as the channel's limit makes of it."""
        html = placed(self.body, check_chat, self.body.render(rendering).strip())
        length, limit = visible_length(html), self.bounds.max_length
        if not length:
            raise RenderError("T167", "the message is empty", self.body.snippet.start)
        if limit is None or length <= limit:
            return [html]
        if self.bounds.overflow == "truncate":
            return [cut_markup(html, limit)]
        if self.bounds.overflow == "split" and length <= limit * MAX_PARTS:
            parts = split_markup(html, limit)
            if len(parts) <= MAX_PARTS:
                return parts
        more = f", in {MAX_PARTS} parts at most" if self.bounds.overflow == "split" else ""
        message = f"the message has {length} characters, its channel allows {limit}{more}"
        raise RenderError("T166", message, self.body.snippet.start)

    def _buttons(self, rendering: Rendering) -> tuple[tuple[Button, ...], ...]:
        rows = (
            tuple(b for button in row if (b := render_button(button, rendering, check_chat_link)))
            for row in self.buttons
        )
        return tuple(row for row in rows if row)

    def pieces(self) -> Iterator[Piece]:
        yield self.body
        for button in (button for row in self.buttons for button in row):
            yield from button.pieces()
        yield from (piece for piece in (self.silent, self.link_preview) if piece)


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
        check_length("the body", len(text), self.bounds.max_length, self.body)
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
    "email": ("subject", "preheader", "reply_to", "frame"),
    "push": ("title", *OPTIONS, "actions"),
    "chat": ("buttons", "link_preview", "silent"),
    "webhook": (),
}
BOUNDS: Mapping[str, tuple[str, ...]] = {
    "email": ("max_subject",),
    "push": ("max_title", "max_length"),
    "chat": ("max_length",),
    "webhook": ("max_length",),
}
"""Limits that ``channels:`` in template.yaml may set, by layout."""

OVERFLOWS: Mapping[str, tuple[Overflow, ...]] = {
    "email": ("error", "truncate"),
    "push": ("error", "truncate"),
    "chat": ("error", "truncate", "split"),
    "webhook": (),
}
"""What may become of longer ones: ``overflow:`` there."""
