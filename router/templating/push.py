"""The layout of pushes: ``push.txt``, whose body is the text and whose front matter is the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from router.messages import Priority, PushMessage
from router.problems import Problems
from router.templating.codes import RenderError
from router.templating.layout_fields import (
    Bounds,
    ButtonPieces,
    check_app_link,
    fitted,
    one_line,
    placed,
    render_button,
    render_flag,
    render_text,
)
from router.templating.pieces import Piece
from router.templating.rendering import Rendering
from router.values import parse_duration

OPTIONS: Final = (
    "image",
    "link",
    "badge",
    "sound",
    "collapse",
    "ttl",
    "priority",
    "silent",
)
"""Fields of the front matter beside ``title``, ``actions`` and ``data.<key>``."""

DATA: Final = "data."
"""How fields start that are data for the app."""

_WHOLE = re.compile(r"\d{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PushLayout:
    """A push.

    Attributes:
        title: None only where the push may be silent.
        options: By name, see :data:`OPTIONS`; an option that comes out empty is not set.
        data: For the app, by key; an entry that comes out empty is left out.
    """

    title: Piece | None
    body: Piece
    options: Mapping[str, Piece] = field(default_factory=dict[str, Piece])
    data: Mapping[str, Piece] = field(default_factory=dict[str, Piece])
    actions: tuple[ButtonPieces, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)

    def render(self, rendering: Rendering, locale: str) -> PushMessage:
        """The push; a silent one shows nothing, whatever its title and body are.

        Raises:
            RenderError: see :data:`router.templating.CODES`.
        """
        silent = render_flag(self.options.get("silent"), rendering, default=False)
        title, body = ("", "") if silent else self._shown(rendering)
        buttons = (render_button(button, rendering, check_app_link) for button in self.actions)
        return PushMessage(
            title,
            body,
            image=self._link("image", rendering),
            link=self._link("link", rendering),
            badge=self._read("badge", read_badge, rendering),
            sound=render_text(self.options.get("sound"), rendering),
            data=self._data(rendering),
            actions=tuple(button for button in buttons if button),
            ttl=self._read("ttl", read_ttl, rendering),
            priority=self._read("priority", read_priority, rendering) or Priority.HIGH,
            collapse=render_text(self.options.get("collapse"), rendering),
            silent=silent,
        )

    def _shown(self, rendering: Rendering) -> tuple[str, str]:
        title = one_line(self.title.render(rendering)) if self.title else ""
        body = self.body.render(rendering).strip()
        if not title and not body:
            start = (self.title or self.body).snippet.start
            raise RenderError("T167", "the push is empty", start)
        bounds = self.bounds
        if self.title:
            title = fitted("the title", title, bounds.max_title, bounds, self.title)
        return title, fitted("the message", body, bounds.max_length, bounds, self.body)

    def _link(self, name: str, rendering: Rendering) -> str | None:
        piece = self.options.get(name)
        address = render_text(piece, rendering)
        return placed(piece, check_app_link, address) if piece and address else None

    def _read(self, name: str, read: Callable[[str], Any], rendering: Rendering) -> Any:
        piece = self.options.get(name)
        text = render_text(piece, rendering)
        if piece is None or text is None:
            return None
        try:
            return read(text)
        except ValueError as error:
            raise RenderError("T167", f"{name}: {error}", piece.snippet.start) from error

    def _data(self, rendering: Rendering) -> dict[str, str]:
        texts = ((key, piece.render(rendering).strip()) for key, piece in self.data.items())
        return {key: text for key, text in texts if text}

    def pieces(self) -> Iterator[Piece]:
        if self.title:
            yield self.title
        yield from self.options.values()
        yield from self.data.values()
        for action in self.actions:
            yield from action.pieces()
        yield self.body


def read_badge(text: str) -> int:
    """Raises:
    ValueError: it is no whole number.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError("a badge is a whole number, 0 removes it")
    return int(text)


def read_ttl(text: str) -> int:
    """Seconds.

    Raises:
        ValueError: it is no duration.
    """
    return round(parse_duration(text))


def read_priority(text: str) -> Priority:
    """Raises:
    ValueError: it is no priority.
    """
    try:
        return Priority(text)
    except ValueError:
        raise ValueError("a priority is high or normal") from None


def _read_flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("write true or false")
    return text == "true"


_READERS: Mapping[str, Callable[[str], Any]] = {
    "badge": read_badge,
    "ttl": read_ttl,
    "priority": read_priority,
    "silent": _read_flag,
}


def check_options(options: Mapping[str, Piece], problems: Problems) -> None:
    """Complains at load about options whose fixed text is none of their values."""
    for name, piece in options.items():
        read = _READERS.get(name)
        text = piece.constant.strip()
        if read is None or piece.template is not None or not text:
            continue
        try:
            read(text)
        except ValueError as error:
            problems.error("T112", f"{name}: {error}", piece.snippet.start)
