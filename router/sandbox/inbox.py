"""The inbox page: what each person received, as they would see it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, final
from urllib.parse import urlencode, urlsplit
from zlib import crc32

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from router.messages import Channel
from router.sandbox import contents
from router.sandbox.http import Answer
from router.sandbox.index import REFUSED, REPEATS, SHOWS, Index, Party, View, Whom, is_silent
from router.sandbox.record import Received, Record

_LIMIT = 100
_SHORT = 34
_TINTS = 6
_PAGES = PackageLoader("router.sandbox", "pages")
_TYPES = {
    "icon.svg": "image/svg+xml",
    "inbox.css": "text/css; charset=utf-8",
    "inbox.js": "text/javascript; charset=utf-8",
}
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " frame-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Nothing runs, and nothing is fetched; a link that somebody clicks opens a tab of its own.
_SANDBOX = "allow-popups allow-popups-to-escape-sandbox"
_MAIL_POLICY = (
    f"sandbox {_SANDBOX}; default-src 'none'; img-src data:; style-src 'unsafe-inline';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_SOURCE_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"
_LINKABLE = ("http", "https", "tg")
_CHANNELS = {
    Channel.PUSH: "Push",
    Channel.EMAIL: "Mail",
    Channel.CHAT: "Chat",
    Channel.ANALYTICS: "Analytics",
    Channel.REQUEST: "Requests",
}
_PROVIDERS = {
    "apns": "APNs",
    "apns-sandbox": "APNs sandbox",
    "carrotquest": "Carrot quest",
    "fcm": "FCM",
    "http": "HTTP API",
    "kafka": "Kafka",
    "max": "MAX",
    "mixpanel": "Mixpanel",
    "smtp": "SMTP",
    "telegram": "Telegram",
    "webhook": "Webhook",
}


@dataclass(frozen=True, slots=True)
class Tab:
    """A way to narrow the view, and how much there is."""

    show: str
    label: str
    count: int


@final
class Inbox:
    """The page over a record; it knows names that it was told."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._index = Index(record)

    def introduce(self, people: Mapping[str, Any]) -> None:
        """Says who is behind addresses: address to name, or to ``{"name", "address"}``, where
        ``address`` is what people would call it, such as ``phone, android``.

        Raises:
            TypeError: a name is not text.
        """
        self._index.introduce({address: _whom(address, it) for address, it in people.items()})

    def page(self, query: Mapping[str, str]) -> Answer:
        """The whole page, with the newest entries of a view.

        Raises:
            ValueError: the query is no view.
        """
        return self._rendered("inbox.html", _view(query), 0)

    def cards(self, query: Mapping[str, str]) -> Answer:
        """What changed in a view: counts, entries behind number ``after``, and older ones that
        newer entries changed; 204 when ``after``, ``refused`` and ``names`` are still as given.

        Raises:
            ValueError: the query is no view.
        """
        after = int(query.get("after", "0"))
        given = (after, int(query.get("refused", "-1")), int(query.get("names", "-1")))
        index = self._index
        if given == (index.received, index.refused, index.names):
            return Answer(204, headers=_headers("text/html; charset=utf-8", _PAGE_POLICY))
        return self._rendered("cards.html", _view(query), max(0, after))

    def mail(self, number: int) -> Answer:
        """One mail's HTML, to be shown in a frame in which nothing runs and nothing is fetched."""
        entry = self._mail(number)
        if entry is None or entry.html is None:
            return Answer(404)
        headers = _headers("text/html; charset=utf-8", _MAIL_POLICY)
        return Answer(200, contents.framed_html(entry).encode(), headers)

    def source(self, number: int) -> Answer:
        """One mail as it came over the wire."""
        entry = self._mail(number)
        if entry is None:
            return Answer(404)
        return Answer(200, entry.raw, _headers("text/plain; charset=utf-8", _SOURCE_POLICY))

    def _mail(self, number: int) -> Received | None:
        found = self._record.after(number - 1, 1) if number > 0 else ()
        return found[0] if found and found[0].channel is Channel.EMAIL else None

    def _rendered(self, template: str, view: View, after: int) -> Answer:
        index = self._index
        items = () if view.show == REFUSED else index.items(view, after, _LIMIT + 1)
        parties = index.parties()
        chosen = [party for party in parties if view.who in (party.whom.name, *party.addresses)]
        text = (
            _environment()
            .get_template(template)
            .render(
                view=view,
                index=index,
                items=items[:_LIMIT],
                has_older=len(items) > _LIMIT,
                changed=index.changed(view, after) if after and view.show != REFUSED else (),
                refusals=index.refusals(view, _LIMIT) if view.show == REFUSED else (),
                parties=parties,
                tabs=_tabs(chosen if view.who else parties),
                frame_sandbox=_SANDBOX,
            )
        )
        return Answer(200, text.encode(), _headers("text/html; charset=utf-8", _PAGE_POLICY))


def asset(name: str) -> Answer:
    """The page's script, style and icon."""
    if name not in _TYPES:
        return Answer(404)
    source, _, _ = _PAGES.get_source(_environment(), name)
    return Answer(200, source.encode(), _headers(_TYPES[name], _PAGE_POLICY))


def _whom(address: str, given: object) -> Whom:
    match given:
        case str(name):
            return Whom(name, address, is_person=True)
        case {"name": str(name), "address": str(label)}:
            return Whom(name, label, is_person=True)
        case _:
            raise TypeError(f"{address!r} needs a name, or an object with name and address")


def _view(query: Mapping[str, str]) -> View:
    """Raises:
    ValueError: the query is no view.
    """
    show = query.get("show", "")
    if show not in SHOWS:
        raise ValueError(f"show is one of {', '.join(filter(None, SHOWS))}")
    before = max(0, int(query.get("before", "0")))
    return View(query.get("who", ""), show, query.get("q", ""), before)


def _address(view: View, **changes: object) -> str:
    """The page's address for a view like this one, but for the changes; always from its newest."""
    fields = {"who": view.who, "show": view.show, "q": view.text} | changes
    query = urlencode({name: value for name, value in fields.items() if value})
    return f"/?{query}" if query else "/"


def _tabs(parties: Sequence[Party]) -> Sequence[Tab]:
    received = sum((party.received for party in parties), Counter[Channel]())
    tabs = [Tab("", "All", received.total())]
    tabs += [Tab(channel, label, received[channel]) for channel, label in _CHANNELS.items()]
    if repeats := sum(party.repeats for party in parties):
        tabs.append(Tab(REPEATS, "Repeats", repeats))
    tabs.append(Tab(REFUSED, "Refused", sum(party.refused for party in parties)))
    return tabs


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
    environment = Environment(loader=_PAGES, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    filters: dict[str, Callable[..., Any]] = {
        "address": _address,
        "body": contents.body,
        "chat_html": _chat_html,
        "clock_time": _clock_time,
        "initials": _initials,
        "iso_time": _iso_time,
        "platform": contents.platform,
        "properties": contents.properties,
        "provider": _provider,
        "short": _short,
        "tint": _tint,
    }
    tests: dict[str, Callable[..., Any]] = {
        "link": _is_link,
        "profile": contents.is_profile,
        "silent": is_silent,
    }
    environment.filters.update(filters)
    environment.tests.update(tests)
    return environment


def _clock_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def _iso_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _chat_html(entry: Received) -> Markup | str:
    """A chat message's markup, which its look-alike wrote itself from what it parsed."""
    return entry.text if entry.html is None else Markup(entry.html)


def _provider(name: str) -> str:
    return _PROVIDERS.get(name, name)


def _is_link(url: str) -> bool:
    return urlsplit(url).scheme in _LINKABLE


def _short(address: str) -> str:
    """Tokens and paths by their beginning and end; what people can read in full."""
    return address if len(address) <= _SHORT else f"{address[:12]}…{address[-8:]}"


def _initials(name: str) -> str:
    letters = [word[0] for word in name.split() if word[0].isalnum()]
    return "".join(letters[:1] + letters[1:][-1:]).upper() or "?"


def _tint(name: str) -> int:
    """One of a few colours, the same for a name at any time."""
    return crc32(name.encode()) % _TINTS
