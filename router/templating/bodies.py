"""The HTML of a mail: compiled by itself, in a frame, or from MJML."""

from __future__ import annotations

import re
from dataclasses import replace

from router.problems import Problems
from router.templating import escaping
from router.templating.environment import Environments
from router.templating.frame_files import draft_frame, spliced
from router.templating.frames import CONTENT, Body, Framed
from router.templating.markup import has_free_addresses
from router.templating.mjml import compile_mjml
from router.templating.pieces import Piece, compile_text, draft_html
from router.templating.snippets import Snippet

_STYLES = re.compile(r"<style\b", re.IGNORECASE)


def body_of_html(
    content: Snippet, frame: Snippet | None, problems: Problems, environments: Environments
) -> Body | None:
    """The HTML of an ``email.html``; None after a complaint."""
    inner = draft_html(content, problems, environments)
    outer = draft_frame(frame, problems, environments) if frame else None
    if inner is None or (frame is not None and outer is None):
        return None
    made = inner.compile()
    around = _without_content(outer.compile()) if outer else None
    if made is None:
        return None
    html = Framed(made, around) if around else made
    return _body(html, (made, around) if around else (made,))


def body_of_mjml(
    content: Snippet, frame: Snippet | None, problems: Problems, environments: Environments
) -> Body | None:
    """The HTML of an ``email.mjml``, in a frame of MJML; None after a complaint."""
    inner = compile_text(content, problems, None, environments)
    outer = _without_content(compile_text(frame, problems, None, environments)) if frame else None
    if inner is None or (frame is not None and outer is None):
        return None
    html = compile_mjml(spliced(frame, content) if frame else content, problems)
    made = compile_text(html, problems, escaping.HTML, environments) if html else None
    return _body(made, (inner, outer) if outer else (inner,)) if made else None


def _without_content(frame: Piece | None) -> Piece | None:
    """A frame that reads what its mail does not have to give it."""
    return replace(frame, names=frame.names - {CONTENT}) if frame else None


def _body(html: Piece | Framed, written: tuple[Piece, ...]) -> Body:
    sources = [(piece, piece.snippet.text) for piece in written]
    if isinstance(html, Piece):
        sources = [(written[0], html.snippet.text)]
    return Body(
        html,
        written,
        has_styles=any(_STYLES.search(text) for _, text in sources),
        addressing=next((piece for piece, text in sources if has_free_addresses(text)), None),
    )
