"""A mail's HTML, and the frame that it stands in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from css_inline import InlineError
from markupsafe import escape

from router.templating.codes import RenderError
from router.templating.fixed_text import PLACE
from router.templating.layout_fields import placed
from router.templating.markup import check_addresses
from router.templating.pieces import Piece
from router.templating.plain_text import FixedHtml
from router.templating.rendering import Rendering
from router.templating.stylesheets import INLINER

_BODY = re.compile(r"<body\b[^>]*>", re.IGNORECASE)


def _at_body(html: str) -> list[str]:
    """The HTML in two where its body starts."""
    body = _BODY.search(html)
    return [html[: body.end()], html[body.end() :]] if body else [html]


@dataclass(frozen=True, slots=True, eq=False)
class Framed:
    """A mail's HTML in its frame, which has :data:`PLACE` for it."""

    content: Piece
    frame: Piece

    def fixed_texts(self) -> frozenset[str]:
        """See :meth:`Piece.fixed_texts`."""
        return self.frame.fixed_texts() | self.content.fixed_texts()

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
        fixed: What of it is the same in every mail.
    """

    html: Piece | Framed
    written: tuple[Piece, ...]
    has_styles: bool = False
    addressing: Piece | None = None
    fixed: FixedHtml = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fixed", FixedHtml.of(self.html.fixed_texts()))

    def chunks(self, rendering: Rendering) -> list[str]:
        """The HTML with its styles in its elements, where mail programs look for them.

        Raises:
            RenderError: see :data:`router.templating.CODES`.
        """
        chunks = self.html.chunks(rendering)
        if self.addressing:
            placed(self.addressing, check_addresses, "".join(chunks))
        return [self._inlined("".join(chunks))] if self.has_styles else chunks

    def _inlined(self, html: str) -> str:
        try:
            return INLINER.inline(html)
        except InlineError:
            at = self.written[0].snippet.start
            raise RenderError("T167", "the mail's CSS can't be inlined", at) from None

    def put_preheader(self, chunks: list[str], preheader: str) -> None:
        """Puts the text that inboxes show after the subject into the HTML, hidden."""
        if not preheader:
            return
        block = (
            '<div style="display:none;max-height:0;overflow:hidden;mso-hide:all">'
            f"{escape(preheader)}</div>"
        )
        for index, chunk in enumerate(chunks):
            before, *after = _at_body(chunk)
            if after:
                chunks[index : index + 1] = [before, block, *after]
                return
        before, *after = _at_body("".join(chunks))
        chunks[:] = [before, block, *after] if after else [block, before]
