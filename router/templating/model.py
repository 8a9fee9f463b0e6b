"""A template: one notification in all its channels and locales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from router.events import Event, Record
from router.messages import ChatMessage, EmailMessage, PushMessage, Request
from router.problems import Position
from router.templating.codes import RenderError
from router.templating.layouts import EmailLayout, Layout
from router.templating.limits import LIMITS, Limits, Meter
from router.templating.locales import (
    FoundLocale,
    Locales,
    cldr_locale,
    find,
    language_of,
    time_zone,
)
from router.templating.names import GLOBALS
from router.templating.rendering import Rendering
from router.templating.texts import Catalogue
from router.templating.variables import Variable, read
from router.templating.view import View, context_of

_LAYOUT_OF_CHANNEL = {"request": "webhook"}
EXAMPLE_TIME = 1_767_225_600.0
"""2026-01-01: ``now`` where a sample names none and its event has no time."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One case a template is shown and checked with.

    Attributes:
        name: The file's name without its ending.
        note: What is special about it.
    """

    name: str
    note: str
    view: View
    at: Position


@dataclass(frozen=True, slots=True)
class Template:
    """One notification; :func:`router.templating.load_template` makes it.

    Attributes:
        channels: Layouts it has: ``email``, ``chat``, ``push``, ``webhook``.
        digest: Hash of all its files.
        layouts: By channel, then locale; the empty locale is the general one.
        catalogues: Texts by locale; empty if the template has none.
        names: Names that any of its parts reads.
        brand: Values of ``brand`` that it reads, each with the place that does.
        tenants: What tenants have of it that differs, by tenant.
    """

    name: str
    description: str
    owner: str | None
    locales: Locales
    variables: Mapping[str, Variable]
    samples: tuple[Sample, ...]
    digest: str
    at: Position
    layouts: Mapping[str, Mapping[str, Layout]] = field(repr=False)
    catalogues: Mapping[str, Catalogue] = field(repr=False)
    names: frozenset[str] = field(repr=False)
    brand: Mapping[str, Position] = field(default_factory=dict[str, Position], repr=False)
    tenants: Mapping[str, Template] = field(default_factory=dict[str, "Template"], repr=False)
    limits: Limits = field(default=LIMITS, repr=False)

    @property
    def channels(self) -> frozenset[str]:
        return frozenset(self.layouts)

    def of_tenant(self, name: str) -> Template:
        """It as a tenant has it: itself, where nothing differs."""
        return self.tenants.get(name, self)

    def locale_for(self, recipient_locale: str | None) -> FoundLocale:
        """The locale whose words a recipient gets: exact, language, fallbacks, default."""
        return find(recipient_locale, self._available(), self.locales)

    def borrowed(self, locale: str) -> frozenset[str]:
        """Keys of texts that a locale takes from another one's file."""
        catalogue = self.catalogues.get(locale)
        return catalogue.borrowed if catalogue else frozenset()

    def render(
        self,
        layout: str,
        view: View,
        *,
        unsubscribe_url: str | None = None,
        locale: str | None = None,
    ) -> EmailMessage | ChatMessage | PushMessage | Request:
        """The message for one delivery.

        Args:
            layout: One of ``channels``; ``request`` means ``webhook``.
            unsubscribe_url: For optional categories: readable in the template, and set on
                the mail for its header.
            locale: Instead of the recipient's.

        Raises:
            RenderError: the message can't be made; its text holds no personal data.
        """
        made = self._layout(layout)
        wanted = locale or (view.recipient.locale if view.recipient else None)
        found = self.locale_for(wanted).locale
        rendering = self._rendering(view, found, unsubscribe_url)
        chosen = made.get(found) or made.get(language_of(found)) or made[""]
        message = chosen.render(rendering, found)
        if isinstance(message, EmailMessage) and unsubscribe_url:
            return replace(message, unsubscribe_url=unsubscribe_url)
        return message

    def _layout(self, name: str) -> Mapping[str, Layout]:
        made = self.layouts.get(_LAYOUT_OF_CHANNEL.get(name, name))
        if made is None:
            has = ", ".join(sorted(self.layouts))
            raise RenderError("T169", f'template "{self.name}" has no {name} layout, only {has}')
        return made

    def _rendering(self, view: View, locale: str, unsubscribe_url: str | None) -> Rendering:
        recipient = view.recipient
        context: dict[str, Any] = {
            **GLOBALS,
            **context_of(view, self.names),
            **read(self.variables, view.variables, view.event.data),
            "locale": locale,
            "unsubscribe_url": unsubscribe_url,
        }
        if catalogue := self.catalogues.get(locale):
            context["t"] = catalogue
        zone = time_zone(recipient.timezone if recipient else None)
        return Rendering(Meter(self.limits), cldr_locale(locale), zone, view.now, context)

    def _available(self) -> frozenset[str]:
        if self.catalogues:
            return frozenset(self.catalogues)
        overrides = {tag for made in self.layouts.values() for tag in made if tag}
        return frozenset({*self.locales.required, self.locales.default, *overrides})

    def examples(self) -> Mapping[str, Any]:
        """The first declared example of each variable that has one."""
        return {v.name: v.examples[0] for v in self.variables.values() if v.examples}

    def example_views(self) -> tuple[View, ...]:
        """Views made of declared examples, as many as the variable with the most has."""
        declared = [v for v in self.variables.values() if v.examples]
        count = max((len(v.examples) for v in declared), default=0)
        return tuple(
            example_view({v.name: v.examples[i % len(v.examples)] for v in declared})
            for i in range(count)
        )

    def uses_unsubscribe_url(self) -> bool:
        """Whether a mail of it shows the unsubscribe address in its body."""
        mails = (m for m in self.layouts.get("email", {}).values() if isinstance(m, EmailLayout))
        parts = (mail.html.written if mail.html else (mail.text,) for mail in mails)
        return any(p and "unsubscribe_url" in p.names for pieces in parts for p in pieces)


def example_view(variables: Mapping[str, Any]) -> View:
    """A view with nothing but variables; the event is a made-up one."""
    record = Record("sample", 0, 0, EXAMPLE_TIME, None, None)
    event = Event(
        id="sample",
        type="sample",
        source="sample",
        subject=None,
        time=EXAMPLE_TIME,
        data=dict(variables),
        headers={},
        identity="sample",
        record=record,
    )
    return View(event=event, now=EXAMPLE_TIME, variables=variables)
