"""What the layouts of all channels share: their limits, and how single fields are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from router.messages import Button
from router.templating.codes import RenderError
from router.templating.names import is_dangerous
from router.templating.overflow import Overflow, cut_text
from router.templating.pieces import Piece
from router.templating.rendering import Rendering

_BREAKS = re.compile(r"[\s\x00-\x1f\x7f\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class Bounds:
    """A channel's own limits, in characters; None is no limit.

    Attributes:
        max_length: Of chats in UTF-16 code units, without markup.
        overflow: What becomes of longer ones.
    """

    max_length: int | None = None
    max_title: int | None = None
    max_subject: int | None = None
    overflow: Overflow = "error"


@dataclass(frozen=True, slots=True)
class ButtonPieces:
    """One button as written: ``Text -> url``."""

    text: Piece
    url: Piece

    def pieces(self) -> Iterator[Piece]:
        yield self.text
        yield self.url


def one_line(text: str) -> str:
    """Text without line breaks and control characters: what a header or title can hold."""
    return _BREAKS.sub(" ", text).strip()


def check_length(what: str, size: int, limit: int | None, piece: Piece) -> None:
    """Raises:
    RenderError: longer than the channel allows.
    """
    if limit is not None and size > limit:
        message = f"{what} has {size} characters, its channel allows {limit}"
        raise RenderError("T166", message, piece.snippet.start)


def fitted(what: str, text: str, limit: int | None, bounds: Bounds, piece: Piece) -> str:
    """The text, cut where it is too long and may be.

    Raises:
        RenderError: longer than the channel allows.
    """
    if limit is not None and bounds.overflow == "truncate":
        return cut_text(text, limit)
    check_length(what, len(text), limit, piece)
    return text


def placed(piece: Piece, check: Callable[[str], None], text: str) -> str:
    """The text, after a check whose errors get the piece's place."""
    try:
        check(text)
    except RenderError as error:
        raise RenderError(error.code, error.text, piece.snippet.start) from error
    return text


def invalid(piece: Piece, message: str) -> RenderError:
    """What a field came out as is none of its values."""
    return RenderError("T167", message, piece.snippet.start)


def render_text(piece: Piece | None, rendering: Rendering) -> str | None:
    """The text without spaces around it; None where there is none."""
    return (piece.render(rendering).strip() or None) if piece else None


def render_flag(piece: Piece | None, rendering: Rendering, *, default: bool) -> bool:
    """``true`` or ``false``."""
    if piece is None:
        return default
    match piece.render(rendering).strip():
        case "true":
            return True
        case "false":
            return False
        case _:
            raise invalid(piece, "this has to be true or false")


def render_button(
    button: ButtonPieces, rendering: Rendering, check_url: Callable[[str], None]
) -> Button | None:
    """The button; None where its url is empty."""
    url = button.url.render(rendering).strip()
    if not url:
        return None
    placed(button.url, check_url, url)
    text = one_line(button.text.render(rendering))
    if not text:
        raise invalid(button.text, "a button has no text")
    return Button(text, url)


def check_app_link(address: str) -> None:
    """An address of any scheme an app may have registered, but none a browser could run.

    Raises:
        RenderError: it is none.
    """
    if is_dangerous(address) or _BREAKS.search(address):
        raise RenderError("T168", "this is no address that a push may open")
