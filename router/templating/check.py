"""Renders a template with all its samples in all its locales, before anyone is written to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from router.problems import Position, Problem, Severity
from router.templating.codes import RenderError
from router.templating.model import Template
from router.templating.view import NO_BRAND, BrandValue, View

_UNSUBSCRIBE = "https://example.com/unsubscribe"


@dataclass(frozen=True, slots=True)
class _Case:
    label: str
    view: View
    at: Position


def check_template(
    template: Template, brand: Mapping[str, BrandValue] = NO_BRAND, tenant: str = ""
) -> list[Problem]:
    """Every layout with every sample in every required locale; without samples, the examples.

    One mistake of the template is one problem, however many cases meet it.

    Args:
        brand: What it reads as ``brand``.
        tenant: Whose it is, where it is a tenant's own.
    """
    cases = [replace(case, view=replace(case.view, brand=brand)) for case in _cases(template)]
    if not cases and tenant:
        return []
    if not cases:
        message = f'template "{template.name}" has no sample and no examples: nothing checks it'
        return [Problem("T151", message, template.at, Severity.WARNING)]
    found: dict[tuple[str, str, Position | None], Problem] = {}
    for case in cases:
        for layout in sorted(template.channels):
            for locale in template.locales.required:
                error = _failure(template, layout, locale, case)
                if error:
                    key = (layout, error.text, error.position)
                    found.setdefault(key, _problem(error, layout, locale, case, tenant))
    return list(found.values())


def _cases(template: Template) -> Iterator[_Case]:
    for sample in template.samples:
        yield _Case(f"sample {sample.name}", sample.view, sample.at)
    if not template.samples:
        views = template.example_views()
        if not views and not template.variables:
            return
        for number, view in enumerate(views, 1):
            yield _Case(f"examples, set {number}", view, template.at)


def _failure(template: Template, layout: str, locale: str, case: _Case) -> RenderError | None:
    try:
        template.render(layout, case.view, unsubscribe_url=_UNSUBSCRIBE, locale=locale)
    except RenderError as error:
        return error
    return None


def _problem(error: RenderError, layout: str, locale: str, case: _Case, tenant: str) -> Problem:
    place = error.position or case.at
    related = ((case.at, case.label),) if place != case.at else ()
    whose = f", tenant {tenant}" if tenant else ""
    message = f"{case.label}, {layout}, {locale}{whose}: {error.text}"
    return Problem(error.code, message, place, Severity.ERROR, related)
