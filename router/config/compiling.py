"""Compiles templates and expressions with a clock, which the pure rooms don't have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from router import templating
from router.events import Event
from router.problems import Position, Problems
from router.templating import Limits, Template, TemplateFile, Value

LIMITS = Limits(monotonic=monotonic)
"""Of every rendering in the daemon and the tools: output, turns of loops, and a second."""


def load_template(
    name: str, files: Mapping[str, TemplateFile], problems: Problems
) -> Template | None:
    """See :func:`router.templating.load_template`."""
    return templating.load_template(name, files, problems, LIMITS)


def compile_value(value: Any, at: Position, problems: Problems) -> Value:
    """See :func:`router.templating.compile_value`."""
    return templating.compile_value(value, at, problems, limits=LIMITS)


def compile_expression(
    text: str, at: Position, problems: Problems
) -> Callable[[Event], Any] | None:
    """See :func:`router.templating.compile_expression`."""
    return templating.compile_expression(text, at, problems, LIMITS)
