"""The state of one rendering, and how filters reach it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from babel import Locale
from jinja2.runtime import Context

from router.templating.limits import Meter

STATE = "state of the rendering"
"""Its key in a context; no name of a template can spell it."""


@dataclass(slots=True)
class Rendering:
    """One message being rendered.

    Attributes:
        locale: The locale found, for numbers, dates and plurals.
        now: Seconds since the epoch.
        context: The names every part of the message sees; holds this object under ``STATE``.
    """

    meter: Meter
    locale: Locale
    timezone: tzinfo
    now: float
    context: dict[str, Any]

    def __post_init__(self) -> None:
        self.context[STATE] = self


def state_of(context: Context) -> Rendering:
    """The rendering that a template's context belongs to."""
    return context.parent[STATE]
