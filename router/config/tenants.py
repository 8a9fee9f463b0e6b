"""Reads tenants: the section that says whose an event is, and a file for each of them.

A tenant's sink is the project's with the tenant's options over it, validated by its own model:
nothing else of the configuration is looked at again for a tenant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from router import sinks
from router.config.brands import read_brand
from router.config.components import NAME_RULE, component_secrets, is_name, link_component
from router.config.fields import Fields, a_kind
from router.config.files import Files
from router.config.groups import sink_facts
from router.config.hashing import digest_of
from router.config.overlay import merge_maps, refuse_new
from router.config.policies import single_path
from router.config.scalars import Raw
from router.config.substitution import Variables, resolve
from router.nodes import Entry, Node
from router.planning import NO_TENANTS, BrandValue, SinkFacts, Tenant, Tenants
from router.problems import Position, Problems, did_you_mean
from router.routing import EVENT_ROOTS
from router.sinks import SinkConfig

SECTION_KEYS = ("by", "default", "include")
TENANT_KEYS = ("description", "brand", "sinks")
OVERLAID = "named"
"""Under ``tenants:`` of an overlay: what it changes of single tenants."""


def own_name(sink: str, tenant: str) -> str:
    """What a tenant's own sink is called; no name in a configuration has an ``@``."""
    return f"{sink}@{tenant}"


@dataclass(frozen=True, slots=True)
class Shared:
    """The project's own sinks, which tenants share or have their own of.

    Attributes:
        names: Of all, those with mistakes included.
        node: As they are written, overlay and values in place.
    """

    configs: Mapping[str, SinkConfig]
    facts: Mapping[str, SinkFacts]
    names: list[str]
    node: Node


@dataclass(frozen=True, slots=True)
class TenantSet:
    """Everybody the project sends for.

    Attributes:
        names: Of all that have a file: those with mistakes, and those that the environment leaves
            out, included.
        sinks, facts: Of the tenants' own sinks, by name.
        nodes: How the tenants' own sinks are written, with what they share; broken ones too.
        places: Where each tenant and each own sink is written.
        digests: Of each tenant and each own sink.
        secrets: What is secret in the files, as it is written.
    """

    tenants: Tenants = NO_TENANTS
    names: set[str] = field(default_factory=set[str])
    sinks: dict[str, SinkConfig] = field(default_factory=dict[str, SinkConfig])
    facts: dict[str, SinkFacts] = field(default_factory=dict[str, SinkFacts])
    nodes: dict[str, Node] = field(default_factory=dict[str, Node])
    places: dict[str, Position] = field(default_factory=dict[str, Position])
    digests: dict[str, str] = field(default_factory=dict[str, str])
    secrets: list[Node] = field(default_factory=list[Node])


def without_named(overlay: Node) -> tuple[Node, Node | None]:
    """An overlay without what it changes of single tenants, and that."""
    section = overlay.entries.get("tenants")
    if section is None or (named := section.node.get(OVERLAID)) is None:
        return overlay, None
    rest = {key: e for key, e in section.node.entries.items() if key != OVERLAID}
    entries = dict(overlay.entries)
    del entries["tenants"]
    if rest:
        entries["tenants"] = Entry(section.key_at, Node(rest, section.node.at))
    return Node(entries, overlay.at), named


def read_tenants(
    document: Node,
    overlaid: Node | None,
    shared: Shared,
    files: Files,
    variables: Variables,
    problems: Problems,
) -> TenantSet:
    """Every tenant that the section includes.

    Args:
        overlaid: What the environment changes of single tenants, by name.
    """
    if overlaid is not None and not overlaid.is_mapping and overlaid.value is not None:
        message = f"{OVERLAID} takes tenants by name, not {a_kind(overlaid)}"
        problems.error("S004", message, overlaid.at)
    written = document.get("brand")
    brand = {} if written is None else read_brand(written, "brand", problems)
    section = document.get("tenants")
    if section is None:
        if overlaid is not None:
            message = "an overlay changes tenants, but router.yaml has none"
            problems.error("E005", message, overlaid.at)
        return TenantSet(Tenants(brand=brand))
    if not section.is_mapping:
        message = f"tenants must be a mapping with by: and include:, not {a_kind(section)}"
        problems.error("S004", message, section.at)
        return TenantSet(Tenants(brand=brand))
    fields = Fields(section, "tenants", problems)
    fields.allow(SECTION_KEYS, {OVERLAID: "to overlays, env/NAME.yaml; a tenant is a file"})
    for key in ("by", "include"):
        if section.get(key) is None:
            problems.error("S003", f'tenants needs "{key}"', document.key_at("tenants"))
    reader = _Reader(shared, brand, files, variables, problems, overlaid)
    reader.read_all(section.get("include"))
    by, default = single_path(fields, "by", EVENT_ROOTS), fields.text("default")
    if default is not None and default not in reader.known:
        hint = did_you_mean(default, list(reader.known), "Tenants")
        message = f'default: there is no tenant "{default}".{hint}'
        problems.error("S012", message, section.locate(["default"]))
    found = reader.found
    return replace(found, tenants=Tenants(by, default, reader.tenants, brand))


@dataclass(slots=True)
class _Reader:
    """One reading of all tenants' files.

    Attributes:
        known: The first place of each tenant, linked or not.
    """

    shared: Shared
    brand: Mapping[str, BrandValue]
    files: Files
    variables: Variables
    problems: Problems
    overlaid: Node | None
    known: dict[str, Position] = field(default_factory=dict[str, Position])
    tenants: dict[str, Tenant] = field(default_factory=dict[str, Tenant])
    found: TenantSet = field(default_factory=TenantSet)

    def read_all(self, include: Node | None) -> None:
        for path, at in self._paths(include):
            self._file(path, at)
        for name, entry in (self.overlaid.entries if self.overlaid else {}).items():
            if name not in self.known and entry.node.value is not None:
                hint = did_you_mean(name, list(self.known), "Tenants")
                message = f'there is no tenant "{name}"; each is a file.{hint}'
                self.problems.error("E005", message, entry.key_at)

    def _paths(self, include: Node | None) -> Iterator[tuple[Path, Position]]:
        if include is None or isinstance(include.value, Raw):
            return
        done: set[Path] = set()
        for pattern in [include] if include.is_scalar else include.nodes:
            if not isinstance(pattern.value, str):
                message = 'include takes paths such as "tenants/*.yaml"'
                self.problems.error("S004", message, pattern.at)
                continue
            for path in self.files.included(pattern.value, pattern.at):
                if path not in done:
                    done.add(path)
                    yield path, pattern.at

    def _file(self, path: Path, at: Position) -> None:
        name = path.stem
        self.found.names.add(name)
        change = self.overlaid.entries.get(name) if self.overlaid else None
        if change is not None and change.node.value is None:
            return
        document = self.files.document(path, at)
        if document is None:
            return
        node = document.node
        top = Position(node.at.source, 1, 1)
        if not is_name(name):
            message = f'a tenant can\'t be called "{name}", as its file is; {NAME_RULE}'
            self.problems.error("S006", message, top)
        elif name in self.known:
            related = ((self.known[name], "the other file"),)
            message = f'tenant "{name}" is defined twice: two files have this name'
            self.problems.error("S011", message, top, related)
        elif not node.is_mapping:
            self.known[name] = top
            message = f"a tenant's file is a mapping, not {a_kind(node)}"
            self.problems.error("S004", message, node.at)
        else:
            self.known[name] = self.found.places[f"tenants.{name}"] = top
            if document.is_raw:
                refuse_new(node, self.problems)
            self._note_secrets(node)
            if change is not None:
                node = self._changed(name, node, change.node, path)
            self.tenants[name] = self._tenant(name, node)

    def _changed(self, name: str, node: Node, change: Node, path: Path) -> Node:
        """The tenant as the environment leaves it."""
        if not change.is_mapping:
            message = f"{OVERLAID}.{name} must be a mapping, not {a_kind(change)}"
            self.problems.error("S004", message, change.at)
            return node
        self._note_secrets(change)
        return merge_maps(node, change, "", self.problems, origin=path.name)

    def _note_secrets(self, node: Node) -> None:
        for sink, override in (node.get("sinks") or node).items():
            base = self.shared.node.get(sink)
            if base is not None:
                self.found.secrets.extend(component_secrets(sinks.KINDS, override, base))

    # One tenant ---------------------------------------------------------------------------------

    def _tenant(self, name: str, node: Node) -> Tenant:
        fields = Fields(node, f'tenant "{name}"', self.problems)
        fields.allow(TENANT_KEYS)
        fields.text("description")
        own: dict[str, BrandValue] = {}
        if (brand := node.get("brand")) is not None:
            brand = resolve(brand, self.variables, self.problems, typed=True)
            own = read_brand(brand, f"brand of {fields.what}", self.problems)
        linked: dict[str, SinkFacts] = {}
        if (overrides := fields.mapping("sinks")) is not None:
            for sink, entry in overrides.entries.items():
                if not sink.startswith("x-") and (facts := self._sink(name, sink, entry)):
                    linked[sink] = facts
        tenant = Tenant(
            name,
            {**self.brand, **own},
            {sink: facts.name for sink, facts in linked.items()},
            {facts.name: facts.event_hosts for facts in linked.values()},
        )
        self.found.digests[f"tenants.{name}"] = digest_of(dict(tenant.brand), sorted(linked))
        return tenant

    def _sink(self, tenant: str, sink: str, entry: Entry) -> SinkFacts | None:
        """The tenant's own sink, or None after a problem."""
        if not self._may_differ(sink, entry):
            return None
        base, name = self.shared.node.entries[sink], own_name(sink, tenant)
        override = resolve(entry.node, self.variables, self.problems, typed=False)
        merged = merge_maps(base.node, override, f"sinks.{sink}", self.problems)
        merged = self.found.nodes[name] = Node(merged.entries, override.at)
        linked = link_component(
            sinks.KINDS, merged, entry.key_at, f'sink "{name}"', self.problems, self.files.folder
        )
        if linked is None:
            return None
        kind, config = linked
        facts = sink_facts(name, kind, config)
        if _outlook(facts) != _outlook(self.shared.facts[sink]):
            message = (
                f'a tenant can\'t change what sink "{sink}" sends or to whom: routes are made for'
                " that; give the project another sink"
            )
            self.problems.error("S013", message, entry.key_at)
            return None
        self.found.sinks[name], self.found.facts[name] = config, facts
        self.found.places[f"sinks.{name}"] = entry.key_at
        self.found.digests[f"sinks.{name}"] = digest_of(merged.plain())
        return facts

    def _may_differ(self, sink: str, entry: Entry) -> bool:
        """Whether a tenant may have its own of this sink."""
        names, facts = self.shared.names, self.shared.facts.get(sink)
        if sink not in names:
            hint = did_you_mean(sink, names, "Sinks")
            self.problems.error("R101", f'unknown sink "{sink}".{hint}', entry.key_at)
        elif not entry.node.is_mapping:
            message = f'sink "{sink}" must be a mapping of options, not {a_kind(entry.node)}'
            self.problems.error("S004", message, entry.node.at)
        elif facts is not None and facts.is_group:
            members = ", ".join(dict.fromkeys(facts.by_platform.values()))
            message = f'"{sink}" is a group; a tenant has its own of its sinks: {members}'
            self.problems.error("S013", message, entry.key_at)
        elif (kind := entry.node.get("type")) is not None:
            message = "type: can't be overridden; what the project's sink is, the tenant's is too"
            self.problems.error("S013", message, kind.at)
        else:
            # What is wrong with the project's sink is told there, once.
            return facts is not None
        return False


def _outlook(facts: SinkFacts) -> tuple[object, ...]:
    """What routes are linked by."""
    platforms = frozenset(facts.by_platform)
    return facts.channel, facts.address_kind, platforms, facts.is_signed
