"""A mail's HTML, and the frame that it stands in."""

from __future__ import annotations

from dataclasses import dataclass

from css_inline import InlineError

from router.templating.codes import RenderError
from router.templating.fixed_text import PLACE
from router.templating.layout_fields import placed
from router.templating.markup import check_addresses
from router.templating.pieces import Piece
from router.templating.rendering import Rendering
from router.templating.stylesheets import INLINER


@dataclass(frozen=True, slots=True, eq=False)
class Framed:
    """A mail's HTML in its frame, which has :data:`PLACE` for it."""

    content: Piece
    frame: Piece

    def chunks(self, rendering: Rendering) -> list[str]:
        """The whole, see :meth:`Piece.chunks`.

        Raises:
            RenderError: with the place in the file that it is about.
        """
        chunks = self.frame.chunks(rendering)
        place = chunks.index(PLACE)
        chunks[place : place + 1] = self.content.chunks(rendering)
        return chunks


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A mail's HTML.

    Attributes:
        written: What it was made of, as it is written.
        has_styles: Its style sheet is inlined anew for each mail.
        addressing: Where a value decides where a link of it goes, scheme and all.
    """

    html: Piece | Framed
    written: tuple[Piece, ...]
    has_styles: bool = False
    addressing: Piece | None = None

    def chunks(self, rendering: Rendering) -> list[str]:
        """The HTML, fixed text and values apart; its styles may not be inlined yet.

        Raises:
            RenderError: see :data:`router.templating.CODES`.
        """
        chunks = self.html.chunks(rendering)
        if self.addressing:
            placed(self.addressing, check_addresses, "".join(chunks))
        return chunks

    def inlined(self, html: str) -> str:
        """The HTML with its styles where mail programs look for them.

        Raises:
            RenderError: see :data:`router.templating.CODES`.
        """
        try:
            return INLINER.inline(html)
        except InlineError:
            at = self.written[0].snippet.start
            raise RenderError("T167", "the mail's CSS can't be inlined", at) from None
