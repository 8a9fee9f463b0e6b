"""The inbox page: what each person received, as they would see it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from router.messages import Channel
from router.sandbox.http import Answer
from router.sandbox.record import Received, Record

_LIMIT = 200
_PAGES = PackageLoader("router.sandbox", "pages")
_TYPES = {
    "inbox.css": "text/css; charset=utf-8",
    "inbox.js": "text/javascript; charset=utf-8",
}
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_MAIL_POLICY = (
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


def page(record: Record) -> Answer:
    """The whole page with the newest entries."""
    return _html("inbox.html", _PAGE_POLICY, record, len(record) - _LIMIT)


def cards(record: Record, after: int) -> Answer:
    """The entries behind a number as a piece of the page."""
    return _html("cards.html", _PAGE_POLICY, record, max(after, len(record) - _LIMIT))


def mail_frame(record: Record, number: int) -> Answer:
    """One mail's HTML, to be shown in a frame in which nothing runs and nothing is fetched."""
    found = record.after(number - 1, 1) if number > 0 else ()
    if not found or found[0].channel is not Channel.EMAIL or found[0].html is None:
        return Answer(404)
    return Answer(200, found[0].html.encode(), _headers("text/html; charset=utf-8", _MAIL_POLICY))


def asset(name: str) -> Answer:
    """The page's script and style."""
    if name not in _TYPES:
        return Answer(404)
    source, _, _ = _PAGES.get_source(_environment(), name)
    return Answer(200, source.encode(), _headers(_TYPES[name], _PAGE_POLICY))


def _html(template: str, policy: str, record: Record, after: int) -> Answer:
    entries = record.after(max(0, after))[::-1]
    text = _environment().get_template(template).render(entries=entries, total=len(record))
    return Answer(200, text.encode(), _headers("text/html; charset=utf-8", policy))


def _headers(kind: str, policy: str) -> Mapping[str, str]:
    return {
        "Content-Type": kind,
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }


@cache
def _environment() -> Environment:
    environment = Environment(loader=_PAGES, autoescape=True, trim_blocks=True)
    environment.filters |= {"clock_time": _clock_time, "chat_html": _chat_html}
    return environment


def _clock_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def _chat_html(entry: Received) -> Markup | str:
    """A chat message's markup, which its look-alike wrote itself from what it parsed."""
    return entry.text if entry.html is None else Markup(entry.html)
