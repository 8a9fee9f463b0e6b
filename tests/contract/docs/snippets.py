"""Builds a project around a YAML snippet, so that the real loader can judge it.

What a snippet is can be told from its keys: sections of ``router.yaml``, a routes file, a part of
a route, or a list of steps. Sections stand alone beside the least that a project needs; routes
are put in the place of the shipped product's own.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping
from pathlib import Path

import yaml

from router.config import load_project
from router.config.routes import ROUTE_KEYS
from router.config.sections import ROUTER_KEYS
from router.directories.file import PeopleError, read_people
from router.problems import Problems, Severity, Source
from router.templating import TemplateFile, load_template
from tests.contract.docs.markdown import ROOT

_LEAST = {
    "sources": "sources: {lines: {type: stdin}}",
    "ledger": "ledger: {type: memory}",
    "sinks": "sinks: {screen: {type: console}}",
}


class _AnyTag(yaml.SafeLoader):
    pass


_AnyTag.add_multi_constructor("", lambda loader, suffix, node: None)


def kind_of(text: str) -> str:
    """``router``, ``routes``, ``route``, ``steps``, or ``unknown``."""
    value = yaml.load(text, _AnyTag)
    if isinstance(value, list):
        return "steps"
    keys = set(value) if isinstance(value, dict) else set()
    if "routes" in keys and not keys & {"sinks", "sources"}:
        return "routes"
    if keys and keys <= {*ROUTER_KEYS}:
        return "router"
    if keys and keys <= {*ROUTE_KEYS}:
        return "route"
    return "unknown"


def problems_with(text: str, check: str | None, folder: Path) -> list[str]:
    """The errors that the loader finds in a snippet, as one line each."""
    kind = check or kind_of(text)
    environment = None
    match kind:
        case "router":
            router_file = _alone(text, folder)
        case "routes":
            router_file = _shipped(folder, text)
        case "route":
            router_file = _shipped(folder, _as_route(text))
        case "steps":
            router_file = _shipped(folder, _as_route("deliver:\n" + textwrap.indent(text, "  ")))
        case "overlay":
            router_file = _shipped(folder)
            (router_file.parent / "env" / "snippet.yaml").write_text(text, "utf-8")
            environment = "snippet"
        case "tenant":
            router_file = _with_tenants(_shipped(folder), {"snippet": text})
        case "tenants":
            router_file = _with_tenants(_alone(text, folder), {"main": "{}"})
        case "tenants overlay":
            router_file = _with_tenants(_shipped(folder), {"acme": "{}", "globex": "{}"})
            (router_file.parent / "env" / "snippet.yaml").write_text(text, "utf-8")
            environment = "snippet"
        case "template":
            return _template_problems(text)
        case "people":
            return _people_problems(text)
        case _:
            return [f'nothing here tells how to check it; write <!-- check: … --> ("{kind}")']
    loaded = load_project(router_file, environment, read_secrets=False, offline=True)
    return [p.headline() for p in loaded.problems if p.severity is Severity.ERROR]


def _alone(text: str, folder: Path) -> Path:
    keys = set(yaml.load(text, _AnyTag))
    rest = [line for key, line in _LEAST.items() if key not in keys]
    routes = folder / "config" / "routes"
    routes.mkdir(parents=True)
    (routes / "none.yaml").write_text("routes: {}\n", "utf-8")
    (folder / "templates").mkdir()
    router_file = folder / "config" / "router.yaml"
    router_file.write_text("\n".join([*rest, text]), "utf-8")
    return router_file


def _shipped(folder: Path, routes: str | None = None) -> Path:
    config = folder / "config"
    shutil.copytree(ROOT / "config", config)
    (folder / "templates").symlink_to(ROOT / "templates")
    if routes is not None:
        shutil.rmtree(config / "routes")
        (config / "routes").mkdir()
        (config / "routes" / "snippet.yaml").write_text(routes, "utf-8")
    return config / "router.yaml"


def _with_tenants(router_file: Path, tenants: Mapping[str, str]) -> Path:
    folder = router_file.parent / "tenants"
    folder.mkdir(exist_ok=True)
    for name, text in tenants.items():
        (folder / f"{name}.yaml").write_text(text, "utf-8")
    router = router_file.read_text("utf-8")
    if "tenants:" not in router:
        section = "\ntenants: {by: data.tenant, include: [tenants/*.yaml]}\n"
        router_file.write_text(router + section, "utf-8")
    return router_file


def _as_route(text: str) -> str:
    keys = set(yaml.load(text, _AnyTag))
    lines = ["routes:", "  example:", textwrap.indent(text, "    ")]
    if "match" not in keys:
        lines.append("    match: {type: example}")
    if "deliver" not in keys:
        lines.append("    deliver: [accounting]")
    if "template" not in keys and "request:" not in text:
        lines.append("    template: payment-failed")
    if not keys & {"recipient", "recipients"}:
        lines.append("    recipient: {id: data.user_id}")
    return "\n".join(lines) + "\n"


def _people_problems(text: str) -> list[str]:
    try:
        read_people(text, ".yaml")
    except PeopleError as error:
        return [str(error)]
    return []


def _template_problems(text: str) -> list[str]:
    """Of a ``template.yaml`` alone: its texts, layouts and samples are elsewhere."""
    from router.config.documents import read_document

    problems = Problems()
    source = Source.of("template.yaml", text)
    document = read_document(source, text, problems, literal=True)
    load_template("snippet", {"template.yaml": TemplateFile(source, text, document.node)}, problems)
    missing = ("T106", "T130", "T151")
    return [p.headline() for p in problems.found if p.code not in missing]
