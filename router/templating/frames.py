"""A mail's HTML, and the frame that it stands in."""

from __future__ import annotations

from dataclasses import dataclass

from css_inline import CSSInliner, InlineError
from markupsafe import Markup

from router.templating.codes import RenderError
from router.templating.layout_fields import placed
from router.templating.markup import check_addresses
from router.templating.pieces import Piece
from router.templating.rendering import Rendering

CONTENT = "content"
"""Where a frame reads it, a mail's own HTML stands."""

_INLINER = CSSInliner(load_remote_stylesheets=False, keep_at_rules=True)


@dataclass(frozen=True, slots=True, eq=False)
class Framed:
    """A mail's HTML in its frame."""

    content: Piece
    frame: Piece

    def render(self, rendering: Rendering) -> str:
        """The whole.

        Raises:
            RenderError: with the place in the file that it is about.
        """
        content = Markup(self.content.render(rendering))
        return self.frame.render(rendering, {CONTENT: content})


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

    def render(self, rendering: Rendering) -> str:
        """The HTML, its styles not inlined yet.

        Raises:
            RenderError: see :data:`router.templating.CODES`.
        """
        html = self.html.render(rendering)
        return placed(self.addressing, check_addresses, html) if self.addressing else html

    def inlined(self, html: str) -> str:
        """The HTML with its styles where mail programs look for them.

        Raises:
            RenderError: see :data:`router.templating.CODES`.
        """
        if not self.has_styles:
            return html
        try:
            return _INLINER.inline(html)
        except InlineError:
            at = self.written[0].snippet.start
            raise RenderError("T167", "the mail's CSS can't be inlined", at) from None
