"""Reads a project: router file, overlay, route files and templates, linked and checked."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from router.config.documents import Document
from router.config.fields import a_kind
from router.config.files import Files
from router.config.hashing import digest_of
from router.config.overlay import NAMED, merge, refuse_new
from router.config.project import Project
from router.config.redaction import redact
from router.config.removed import read_removed
from router.config.routes import RouteLinker
from router.config.sections import TYPED_SECTIONS, Sections, check_top_keys, secrets_of
from router.config.settings import (
    AdminSettings,
    DeadLetterSettings,
    DeliverySettings,
    LogSettings,
)
from router.config.steps import Sinks
from router.config.substitution import Variables, resolve
from router.config.templates import TemplateMemo, TemplateSet, read_templates
from router.config.tenants import Shared, TenantSet, read_tenants, without_named
from router.nodes import Entry, Node
from router.planning import SinkFacts
from router.problems import Position, Problem, Problems, did_you_mean, sort_problems
from router.sinks import SinkConfig

ROUTER_FILE = "router.yaml"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of reading a project.

    Attributes:
        project: None if there is any error.
        problems: Everything that was found, sorted by place.
        places: Where each part is written: ``sinks.mail``, ``routes.NAME``,
            ``routes.NAME.STEP``, ``categories.NAME``, ``ledger`` …
        document: The router file with its overlay and all values in place.
        secrets: What stands in secret fields, as it is written, of tenants' files too.
        own_sinks: Each tenant's own sinks as they are written, by name, with what they share.
    """

    project: Project | None
    problems: tuple[Problem, ...]
    places: Mapping[str, Position] = field(default_factory=dict[str, Position])
    document: Node | None = None
    secrets: tuple[Node, ...] = field(default=(), repr=False)
    own_sinks: Mapping[str, Node] = field(default_factory=dict[str, Node])


def environments(path: str | Path) -> list[str]:
    """The names of a project's overlays, sorted."""
    return sorted(p.stem for p in (_router_file(path).parent / "env").glob("*.yaml"))


def load_project(
    path: str | Path,
    environment: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    read_secrets: bool = True,
    offline: bool = False,
    memo: TemplateMemo | None = None,
) -> Loaded:
    """Reads and links everything; mistakes of any kind are problems, never exceptions.

    Args:
        path: ``router.yaml``, or a folder that has it or ``config/router.yaml``.
        environment: The overlay ``env/NAME.yaml`` to put over it.
        environ: Environment variables; by default the process's own.
        read_secrets: False leaves secrets unknown and needs none of their variables.
        offline: Variables that are not set are no problem.
        memo: Templates that earlier loads have compiled; the same one for all environments.
    """
    problems = Problems()
    router_file = _router_file(path)
    variables = Variables(
        os.environ if environ is None else environ, router_file.parent, read_secrets, offline
    )
    files = Files(router_file.parent, problems)
    load = _Load(router_file, environment, variables, problems, files, memo or TemplateMemo())
    with _collector_at_rest():
        return load.run()


def _router_file(path: str | Path) -> Path:
    given = Path(path)
    if not given.is_dir():
        return given
    direct, nested = given / ROUTER_FILE, given / "config" / ROUTER_FILE
    return nested if nested.is_file() and not direct.is_file() else direct


@contextmanager
def _collector_at_rest() -> Generator[None]:
    """Loading makes objects by the hundred thousand and drops none in circles: with the cycle
    collector on, most of the time would be its."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@dataclass(slots=True)
class _Load:
    """One reading of one project."""

    router_file: Path
    environment: str | None
    variables: Variables
    problems: Problems
    files: Files
    memo: TemplateMemo
    secrets: list[Node] = field(default_factory=list[Node])
    overlaid_tenants: Node | None = None
    own_sinks: dict[str, Node] = field(default_factory=dict[str, Node])

    def run(self) -> Loaded:
        base = self.files.document(self.router_file)
        if base is None:
            return self._end(None, {}, None)
        document = self._document(base)
        if document is None:
            return self._end(None, {}, None)
        project, places = self._link(document)
        return self._end(project, places, document)

    def _end(
        self, project: Project | None, places: Mapping[str, Position], document: Node | None
    ) -> Loaded:
        found = tuple(redact(sort_problems(self.problems.found), self.secrets))
        usable = None if self.problems.has_errors else project
        return Loaded(usable, found, places, document, tuple(self.secrets), self.own_sinks)

    def _document(self, base: Document) -> Node | None:
        """The router file with its overlay, variables in place."""
        node = self._mapping(base.node)
        if node is None or (self.problems.has_errors and not node.entries):
            return None
        refuse_new(node, self.problems)
        overlay = self._overlay()
        merged = node
        if overlay is not None:
            check_top_keys(overlay, self.problems)
            overlay, self.overlaid_tenants = without_named(overlay)
            merged = merge(node, overlay, self.problems)
        for written in (node, overlay):
            if written is not None:
                self.secrets += secrets_of(written, merged)
        entries = {
            key: Entry(
                entry.key_at,
                resolve(entry.node, self.variables, self.problems, typed=key in TYPED_SECTIONS),
            )
            for key, entry in merged.entries.items()
            if not key.startswith("x-")
        }
        return Node(entries, merged.at)

    def _mapping(self, node: Node) -> Node | None:
        if node.is_mapping:
            return node
        message = f"this file must be a mapping of sections, not {a_kind(node)}"
        self.problems.error("S004", message, node.at)
        return None

    def _overlay(self) -> Node | None:
        if self.environment is None:
            return None
        path = self.router_file.parent / "env" / f"{self.environment}.yaml"
        if not path.is_file():
            hint = did_you_mean(self.environment, environments(self.router_file), "Environments")
            self.problems.error("E004", f'there is no environment "{self.environment}".{hint}')
            return None
        document = self.files.document(path)
        return self._mapping(document.node) if document else None

    def _link(self, document: Node) -> tuple[Project | None, dict[str, Position]]:
        sections = Sections(document, self.problems)
        sections.check_keys()
        production = sections.production()
        sources = sections.sources()
        ledger = sections.ledger()
        directory = sections.directory()
        sinks, facts = sections.sinks()
        categories = sections.categories()
        divert = sections.divert(facts.values())
        delivery = sections.settings("delivery", DeliverySettings)
        dead_letters = sections.settings("dead_letters", DeadLetterSettings)
        feedback = sections.feedback(sources)
        if dead_letters is not None:
            sections.check_loops(dead_letters, feedback)
        admin = sections.settings("admin", AdminSettings)
        logs = sections.settings("logs", LogSettings)
        tenants = self._tenants(document, sections, sinks, facts)
        removed = read_removed(
            document, facts | tenants.facts, sections.names("sinks"), self.problems
        )
        templates = read_templates(
            document, self.files, self.problems, self.memo, tenants.tenants, tenants.names
        )
        linker = RouteLinker(
            Sinks(facts, sections.names("sinks")),
            templates.templates,
            categories,
            sections.defaults(categories),
            self.problems,
            templates.digests,
            secret_fields=[str(f) for s in sources.values() for f in s.decode.secret_fields],
            retention=ledger.retention if ledger is not None else None,
        )
        self._routes(document, linker)
        places = _places(document, linker, templates) | tenants.places
        if (
            self.problems.has_errors
            or ledger is None
            or directory is None
            or delivery is None
            or dead_letters is None
            or admin is None
            or logs is None
        ):
            return None, places
        parts = _part_hashes(document, linker, templates) | tenants.digests
        project = Project(
            root=self.router_file.parent.as_posix(),
            environment=self.environment,
            production=production,
            sources=sources,
            ledger=ledger,
            directory=directory,
            sinks=sinks | tenants.sinks,
            sink_facts=facts | tenants.facts,
            categories=categories.known,
            routes=linker.routes,
            templates=templates.templates.loaded,
            divert=divert,
            delivery=delivery,
            dead_letters=dead_letters,
            feedback=feedback,
            admin=admin,
            logs=logs,
            files=tuple(self.files.read),
            hash=digest_of(parts),
            part_hashes=parts,
            tenants=tenants.tenants,
            removed=removed,
        )
        return project, places

    def _tenants(
        self,
        document: Node,
        sections: Sections,
        sinks: Mapping[str, SinkConfig],
        facts: Mapping[str, SinkFacts],
    ) -> TenantSet:
        node = document.get("sinks") or Node({}, document.at)
        shared = Shared(sinks, facts, sections.names("sinks"), node)
        changes = self.overlaid_tenants
        found = read_tenants(document, changes, shared, self.files, self.variables, self.problems)
        self.secrets += found.secrets
        self.own_sinks = found.nodes
        return found

    def _routes(self, document: Node, linker: RouteLinker) -> None:
        for path, at in self._route_files(document):
            found = self.files.document(path, at)
            if found is None:
                continue
            node = found.node
            if found.is_raw:
                node = resolve(node, self.variables, self.problems, typed=True)
                refuse_new(node, self.problems)
            linker.link_file(node, is_raw=found.is_raw)
        linker.check_earlier_names()

    def _route_files(self, document: Node) -> Iterator[tuple[Path, Position]]:
        include = document.get("include")
        if include is None:
            return
        patterns = [include] if include.is_scalar else include.nodes
        done = {self.router_file.resolve()}
        for pattern in patterns:
            if not isinstance(pattern.value, str):
                message = 'include takes paths such as "routes/*.yaml"'
                self.problems.error("S004", message, pattern.at)
                continue
            for path in self.files.included(pattern.value, pattern.at):
                if path.resolve() == self.router_file.resolve():
                    message = f'"{pattern.value}" includes {ROUTER_FILE} itself'
                    self.problems.error("E012", message, pattern.at)
                elif path.resolve() not in done:
                    done.add(path.resolve())
                    yield path, pattern.at


def _places(document: Node, linker: RouteLinker, templates: TemplateSet) -> dict[str, Position]:
    places: dict[str, Position] = {}
    for key, entry in document.entries.items():
        places[key] = entry.key_at
        if key in NAMED:
            places |= {f"{key}.{name}": e.key_at for name, e in entry.node.entries.items()}
    for name, at in linker.places.items():
        places[f"routes.{name}"] = at
    for name, route in linker.routes.items():
        for step in route.steps:
            places[f"routes.{name}.{step.id}"] = step.at
    for name, at in templates.places.items():
        places[f"templates.{name}"] = at
    return places


def _part_hashes(document: Node, linker: RouteLinker, templates: TemplateSet) -> dict[str, str]:
    parts: dict[str, str] = {}
    for key, entry in document.entries.items():
        if key in ("sinks", "sources"):
            for name, inner in entry.node.entries.items():
                parts[f"{key}.{name}"] = digest_of(inner.node.plain())
        elif key not in ("include", "templates"):
            parts[key] = digest_of(entry.node.plain())
    parts["routes"] = digest_of({name: route.digest for name, route in linker.routes.items()})
    parts["templates"] = digest_of(templates.digests)
    return parts
