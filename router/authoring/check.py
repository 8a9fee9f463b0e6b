"""``router check``: every environment loaded, every template rendered, every route looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from router.authoring.lint import lint
from router.authoring.rendered import general_brand
from router.config import Loaded, Project, TemplateMemo, environments, load_project
from router.problems import Problem, Severity, sort_problems
from router.templating import check_template


@dataclass(frozen=True, slots=True)
class Checked:
    """One environment, checked.

    Attributes:
        environment: None is the configuration without an overlay.
        problems: Errors and findings, sorted by place.
    """

    environment: str | None
    problems: tuple[Problem, ...]
    project: Project | None

    @property
    def name(self) -> str:
        return self.environment or "base"

    def count(self, severity: Severity) -> int:
        return sum(problem.severity is severity for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found.

    Attributes:
        environments: The base first, then its overlays by name; or the one that was asked for.
    """

    environments: tuple[Checked, ...]

    @property
    def problems(self) -> list[tuple[Problem, tuple[str, ...]]]:
        """Each problem once, by place, with the environments that have it."""
        found: dict[Problem, list[str]] = {}
        for checked in self.environments:
            for problem in checked.problems:
                found.setdefault(problem, []).append(checked.name)
        return [(problem, tuple(found[problem])) for problem in sort_problems(found)]

    def count(self, severity: Severity) -> int:
        return sum(problem.severity is severity for problem, _ in self.problems)

    def has_failed(self, *, strict: bool) -> bool:
        """Errors fail a check; with ``strict`` every finding does."""
        return bool(self.problems) if strict else self.count(Severity.ERROR) > 0

    def census(self) -> str | None:
        """``12 routes, 9 sinks, 8 templates × en ru, 3 categories, 2 digests``, with all that
        there is any of; None while nothing could be loaded."""
        project = next((c.project for c in self.environments if c.project), None)
        if project is None:
            return None
        locales = sorted({tag for t in project.templates.values() for tag in t.locales.required})
        spoken = f" × {' '.join(locales)}" if locales else ""
        counted = [
            _counted(len(project.routes), "route"),
            _counted(len(project.sinks), "sink"),
            _counted(len(project.templates), "template") + spoken,
            *(_counted(number, noun) for noun, number in _beside(project) if number),
        ]
        return ", ".join(counted)


def _beside(project: Project) -> Iterator[tuple[str, int]]:
    """What a project may do without."""
    policies = [route.policy for route in project.routes.values()]
    yield "category", len(project.categories)
    yield "digest", sum(policy.digest is not None for policy in policies)
    yield "throttle", len({throttle for policy in policies for throttle in policy.throttles})
    yield "tenant", len(project.tenants.named)


def _counted(number: int, noun: str) -> str:
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else many}"


def check_project(
    path: str | Path, environment: str | None = None, *, offline: bool = False
) -> Report:
    """Checks a configuration without any overlay and with each, or with one alone.

    Only the one that is asked for reads secrets, so that a checkout without them is clean.
    """
    if environment is not None:
        loaded = load_project(path, environment, offline=offline)
        return Report((_checked(environment, loaded, is_run=True),))
    overlays = environments(path)
    memo = TemplateMemo()
    names: Sequence[str | None] = (None, *overlays)
    return Report(
        tuple(
            _checked(
                name,
                load_project(path, name, read_secrets=False, offline=offline, memo=memo),
                is_run=name is not None or not overlays,
            )
            for name in names
        )
    )


def _checked(environment: str | None, loaded: Loaded, *, is_run: bool) -> Checked:
    found = list(loaded.problems)
    if loaded.project is not None:
        found += _render_all(loaded.project)
        found += lint(loaded, is_run=is_run)
    return Checked(environment, tuple(sort_problems(found)), loaded.project)


def _render_all(project: Project) -> Iterator[Problem]:
    """Every template with its samples, for everybody and for each tenant that has its own."""
    tenants = project.tenants
    for template in project.templates.values():
        yield from check_template(template, general_brand(tenants))
        for tenant, own in template.tenants.items():
            if tenant in tenants.named:
                yield from check_template(own, tenants.brand_of(tenant), tenant)
