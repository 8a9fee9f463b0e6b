"""The HTML of a mail: compiled by itself, in a frame, or from MJML."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from router.problems import Problems
from router.templating.environment import Environments
from router.templating.frame_files import CONTENT, draft_frame, spliced
from router.templating.frames import Body, Framed
from router.templating.markup import has_free_addresses
from router.templating.mjml import compile_mjml
from router.templating.pieces import Piece, compile_text, draft_html
from router.templating.snippets import Snippet
from router.templating.stylesheets import inline_styles

_STYLES = re.compile(r"<style\b", re.IGNORECASE)


def body_of_html(
    content: Snippet, frame: Snippet | None, problems: Problems, environments: Environments
) -> Body | None:
    """The HTML of an ``email.html``; None after a complaint."""
    inner = draft_html(content, problems, environments)
    outer = draft_frame(frame, problems, environments) if frame else None
    if inner is None or (frame is not None and outer is None):
        return None
    has_styles = any(_STYLES.search(part.text) for part in (content, frame) if part)
    if outer:
        is_done = not has_styles or inline_styles(outer.tree.body, inner.tree.body)
    else:
        is_done = not has_styles or inline_styles(inner.tree.body)
    made, around = inner.compile(), outer.compile() if outer else None
    if made is None or (outer and around is None):
        return None
    html, written = (Framed(made, around), (made, around)) if around else (made, (made,))
    return Body(html, written, not is_done, _addressing((p, p.snippet.text) for p in written))


def body_of_mjml(
    content: Snippet, frame: Snippet | None, problems: Problems, environments: Environments
) -> Body | None:
    """The HTML of an ``email.mjml``, in a frame of MJML; None after a complaint."""
    inner = compile_text(content, problems, None, environments)
    outer = _without_content(compile_text(frame, problems, None, environments)) if frame else None
    if inner is None or (frame is not None and outer is None):
        return None
    html = compile_mjml(spliced(frame, content) if frame else content, problems)
    draft = draft_html(html, problems, environments) if html else None
    is_done = draft is not None and inline_styles(draft.tree.body)
    made = draft.compile() if draft else None
    if html is None or made is None:
        return None
    has_styles = not is_done and bool(_STYLES.search(html.text))
    written = (inner, outer) if outer else (inner,)
    return Body(made, written, has_styles, _addressing([(inner, html.text)]))


def _without_content(frame: Piece | None) -> Piece | None:
    """A frame that reads what its mail does not have to give it."""
    return replace(frame, names=frame.names - {CONTENT}) if frame else None


def _addressing(sources: Iterable[tuple[Piece, str]]) -> Piece | None:
    return next((piece for piece, text in sources if has_free_addresses(text)), None)
