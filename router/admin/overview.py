"""The overview page: what runs, under which configuration, and how its sinks are."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Final, Literal

from jinja2 import Environment, StrictUndefined, Template

SinkState = Literal["open", "waiting", "paused", "halted"]


@dataclass(frozen=True, slots=True)
class SinkView:
    """One sink on the page.

    Attributes:
        state: ``open`` sends; ``waiting`` for a breaker or a ``Retry-After``; ``paused`` by an
            operator; ``halted`` for wrong credentials or configuration.
        detail: Why, and until when; empty where it is open.
        counts: Numbers of interest, in the order shown, such as ``delivered`` and ``backlog``.
            The sinks of one page have the same names.
    """

    name: str
    type: str
    state: SinkState = "open"
    detail: str = ""
    counts: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Overview:
    """What the page shows; plain data, without personal data or secrets.

    Attributes:
        environment: The overlay in force, or None.
        config_hash: Of the configuration in force.
        uptime_s: Seconds since the start.
        counts: Of the process as a whole: planned, delivered, scheduled, suppressed, dead …
        notices: What an operator should know: a refused reload, an ephemeral ledger …
    """

    version: str
    environment: str | None
    config_hash: str
    uptime_s: float
    sinks: tuple[SinkView, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    notices: tuple[str, ...] = ()


_STYLE: Final = files("router.admin").joinpath("overview.css").read_text("utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

CONTENT_SECURITY_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Lets the page's one style sheet in, and nothing else."""


@cache
def _page() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["uptime"] = _uptime
    return environment.from_string(
        files("router.admin").joinpath("overview.html").read_text("utf-8")
    )


def render_overview(overview: Overview) -> str:
    """The page as HTML, without scripts."""
    columns = list(dict.fromkeys(name for sink in overview.sinks for name in sink.counts))
    return _page().render(o=overview, style=_STYLE, columns=columns)


def _uptime(seconds: float) -> str:
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"
