"""Findings about digests: collected and never told of, or told of and never collected."""

from __future__ import annotations

from collections.abc import Iterator

from router.authoring.route_lint import routes_in_force, warning
from router.config import Project
from router.planning import Route, Step, TemplateContent
from router.problems import Problem

_DIGEST = "digest"


def lint_digests(project: Project) -> Iterator[Problem]:
    """What templates read of digests, held against the routes that use them."""
    routes = routes_in_force(project)
    collected: dict[str, bool] = {}
    for route in routes:
        has_digest = route.policy.digest is not None
        for step in route.steps:
            if isinstance(step.content, TemplateContent):
                name = step.content.template
                is_told = has_digest and step.is_for_people
                collected[name] = collected.get(name, False) or is_told
                if is_told and not _tells(step.content, project):
                    yield _untold(route, step, name)
    for name, is_collected in collected.items():
        template = project.templates[name]
        if _DIGEST in template.names and not is_collected:
            message = f'template "{name}" reads digest, and no route that uses it has a digest'
            yield warning("T203", message, template.at)


def _tells(content: TemplateContent, project: Project) -> bool:
    given = (value.names for value in content.variables.values())
    names = project.templates[content.template].names.union(*given)
    return _DIGEST in names


def _untold(route: Route, step: Step, template: str) -> Problem:
    message = (
        f'route "{route.id}" has a digest, and template "{template}" never reads digest:'
        " it tells of the newest event only"
    )
    return warning("R309", message, step.at)
