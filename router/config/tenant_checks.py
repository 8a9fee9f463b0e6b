"""Templates held against tenants: whose folders they have, and which brand values they read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from router.planning import Tenants
from router.problems import Position, Problem, Problems, did_you_mean
from router.templating import Template, TemplateFile

_MOST_NAMED = 5


def check_folders(
    contents: Mapping[str, TemplateFile], known: Collection[str], problems: Problems
) -> None:
    """Every ``@tenant`` folder is one of a tenant."""
    told: set[str] = set()
    for path, file in contents.items():
        folder, slash, _ = path.partition("/")
        tenant = folder.removeprefix("@")
        if not slash or tenant == folder or tenant in told or tenant in known:
            continue
        told.add(tenant)
        hint = did_you_mean(tenant, list(known), "Tenants")
        if not known:
            hint = " No tenants are configured"
        problems.error("T107", f'there is no tenant "{tenant}".{hint}', file.start)


def check_brand(template: Template, tenants: Tenants, problems: Problems) -> None:
    """Every brand value that a template reads is there, for each tenant that it is rendered for."""
    if not tenants.named:
        for name, at in template.brand.items():
            if name not in tenants.brand:
                problems.error("T108", _unknown(name, list(tenants.brand)), at)
        return
    lacking: dict[tuple[str, Position], list[str]] = {}
    for tenant, reads in _reads(template, tenants):
        for name, at in reads.items():
            if name not in tenants.named[tenant].brand:
                lacking.setdefault((name, at), []).append(tenant)
    for (name, at), those in lacking.items():
        known = dict.fromkeys(k for one in tenants.named.values() for k in one.brand)
        problems.error("T108", _lacks(name, those, list(known), len(tenants.named)), at)


def told_once(found: Sequence[Problem], frames: str) -> list[Problem]:
    """A frame's mistake once, though every mail that stands in it has met it; some are told.

    Args:
        frames: The folder of all frames.
    """
    first: dict[object, Problem] = {}
    for problem in found:
        is_frames = problem.at and problem.at.file.startswith(f"{frames}/")
        key = (problem.code, problem.at) if is_frames else problem
        known = first.setdefault(key, problem)
        if known is not problem:
            related = dict.fromkeys((*known.related, *problem.related))
            first[key] = replace(known, related=tuple(related)[:_MOST_NAMED])
    return list(first.values())


def _reads(template: Template, tenants: Tenants) -> Iterator[tuple[str, Mapping[str, Position]]]:
    if template.brand or any(own.brand for own in template.tenants.values()):
        for tenant in tenants.named:
            yield tenant, template.of_tenant(tenant).brand


def _unknown(name: str, known: list[str]) -> str:
    if not known:
        return f"there is no brand.{name}: no brand is configured; write brand: in router.yaml"
    return f"there is no brand.{name}.{did_you_mean(name, known, 'The brand has')}"


def _lacks(name: str, tenants: list[str], known: list[str], count: int) -> str:
    if len(tenants) == count and name not in known:
        return _unknown(name, known)
    shown = ", ".join(tenants[:_MOST_NAMED])
    more = f" and {len(tenants) - _MOST_NAMED} more" if len(tenants) > _MOST_NAMED else ""
    have = "tenant" if len(tenants) == 1 else "tenants"
    return f"{have} {shown}{more} without brand.{name}: give it to them, or to all in router.yaml"
