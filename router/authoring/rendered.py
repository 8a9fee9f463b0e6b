"""A template rendered for its samples: every case, as a message or as what went wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from router.messages import (
    ChatMessage,
    EmailMessage,
    Message,
    Request,
    message_to_dict,
)
from router.planning import BrandValue, Tenants
from router.templating import RenderError, Template, View

EXAMPLES = "examples"
"""Name of the case that is made of the variables' declared examples."""

_UNSUBSCRIBE = "https://example.com/unsubscribe"


@dataclass(frozen=True, slots=True)
class Rendered:
    """One case.

    Attributes:
        tenant: Whose it is; empty: everybody's.
        locale: Asked for; ``found`` is the one whose words are used.
        result: The message, or why there is none.
    """

    template: str
    tenant: str
    sample: str
    locale: str
    found: str
    channel: str
    result: Message | RenderError

    @property
    def failed(self) -> bool:
        return isinstance(self.result, RenderError)


def general_brand(tenants: Tenants) -> Mapping[str, BrandValue]:
    """The brand that a template is shown with for no tenant in particular: the default one's,
    else the first one's; the project's own, where there are no tenants."""
    return tenants.brand_of(tenants.default or next(iter(tenants.named), ""))


def sample_views(template: Template, brand: Mapping[str, BrandValue]) -> dict[str, View]:
    """What a template can be shown with, by name: its samples, else its examples."""
    views = {sample.name: sample.view for sample in template.samples}
    if not views:
        found = template.example_views()
        views = {EXAMPLES if n == 1 else f"{EXAMPLES}-{n}": v for n, v in enumerate(found, 1)}
    return {name: replace(view, brand=brand) for name, view in views.items()}


def render_cases(
    template: Template,
    views: Mapping[str, View],
    locales: Sequence[str],
    channels: Collection[str],
    tenant: str = "",
) -> Iterator[Rendered]:
    """Every view in every locale and channel."""
    for name, view in views.items():
        for locale in locales:
            found = template.locale_for(locale).locale
            for channel in sorted(channels):
                result: Message | RenderError
                try:
                    result = template.render(
                        channel, view, unsubscribe_url=_UNSUBSCRIBE, locale=locale
                    )
                except RenderError as error:
                    result = error
                yield Rendered(template.name, tenant, name, locale, found, channel, result)


def rendered_to_dict(rendered: Rendered) -> dict[str, Any]:
    """The stable JSON form."""
    result = rendered.result
    error: dict[str, str] | None = None
    if isinstance(result, RenderError):
        error = {"code": result.code, "text": str(result)}
    return {
        "template": rendered.template,
        "tenant": rendered.tenant or None,
        "sample": rendered.sample,
        "locale": rendered.locale,
        "found": rendered.found,
        "channel": rendered.channel,
        "message": None if isinstance(result, RenderError) else message_to_dict(result),
        "error": error,
    }


def files_of(rendered: Rendered) -> dict[str, bytes]:
    """The message as files, by name: what a browser, a mail program or a diff can show."""
    message = rendered.result
    if isinstance(message, RenderError):
        return {}
    base = f"{rendered.sample}.{rendered.locale}.{rendered.channel}"
    whole = orjson.dumps(message_to_dict(message), option=orjson.OPT_INDENT_2) + b"\n"
    files = {f"{base}.json": whole}
    match message:
        case EmailMessage():
            text = f"Subject: {message.subject}\n\n{message.text}\n"
            files[f"{base}.txt"] = text.encode()
            if message.html is not None:
                files[f"{base}.html"] = message.html.encode()
        case ChatMessage():
            files[f"{base}.html"] = message.html.encode()
        case Request():
            files[f"{base}.json"] = message.body or b""
        case _:
            pass
    return files
