"""Compiles templates and expressions with what the pure rooms don't have: a clock, and plugins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from router import templating
from router.events import Event
from router.kinds import Plugins, UnknownKind
from router.problems import Position, Problems
from router.templating import (
    Environments,
    Frame,
    Frames,
    Limits,
    Template,
    TemplateFile,
    Value,
    mistake_in_filter,
)

LIMITS = Limits(monotonic=monotonic)
"""Of every rendering in the daemon and the tools: output, turns of loops, and a second."""

FILTERS = Plugins("router.filters", mistake_in_filter)
"""Filters that installed plugins add to templates."""


def _find_filter(name: str) -> Callable[..., Any] | None:
    try:
        return FILTERS.load(name)
    except UnknownKind:
        return None


ENVIRONMENTS = Environments.offering(_find_filter)
"""Of every template of this process: what is installed stays the same for its life."""


def load_template(
    name: str, files: Mapping[str, TemplateFile], problems: Problems, frames: Frames
) -> Template | None:
    """See :func:`router.templating.load_template`."""
    return templating.load_template(name, files, problems, LIMITS, ENVIRONMENTS, frames)


def load_frame(name: str, files: Mapping[str, TemplateFile], problems: Problems) -> Frame:
    """See :func:`router.templating.load_frame`."""
    return templating.load_frame(name, files, problems, ENVIRONMENTS)


def compile_value(value: Any, at: Position, problems: Problems) -> Value:
    """See :func:`router.templating.compile_value`."""
    return templating.compile_value(value, at, problems, limits=LIMITS, environments=ENVIRONMENTS)


def compile_expression(
    text: str, at: Position, problems: Problems
) -> Callable[[Event], Any] | None:
    """See :func:`router.templating.compile_expression`."""
    return templating.compile_expression(text, at, problems, LIMITS, ENVIRONMENTS)
