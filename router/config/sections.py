"""Links the sections of ``router.yaml``: each key with what validates it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from router import directories, ledger, sinks, sources
from router.config.components import component_secrets, link_component, named
from router.config.defaults import Categories, Layer, read_category, read_layer
from router.config.fields import Fields, a_kind
from router.config.groups import check_groups, sink_facts
from router.config.models import secret_nodes
from router.config.scalars import Raw
from router.config.settings import (
    AdminSettings,
    DeadLetterSettings,
    DeliverySettings,
    FeedbackSettings,
    LogSettings,
    Settings,
)
from router.config.validation import validate
from router.directories import DirectoryConfig
from router.kinds import Kinds
from router.ledger import LedgerConfig
from router.messages import Channel
from router.nodes import Entry, Node
from router.planning import ENDPOINT, Category, Divert, SinkFacts
from router.problems import Problems, did_you_mean
from router.recipients import is_address
from router.sinks import SinkConfig
from router.sinks.by_platform import ByPlatformConfig
from router.sources import SourceConfig
from router.sources.kafka import KafkaSourceConfig

SettingsT = TypeVar("SettingsT", bound=Settings)

SETTINGS: dict[str, type[Settings]] = {
    "delivery": DeliverySettings,
    "dead_letters": DeadLetterSettings,
    "feedback": FeedbackSettings,
    "admin": AdminSettings,
    "logs": LogSettings,
}
"""Sections with one model each."""

NAMED_KINDS = {"sources": sources.KINDS, "sinks": sinks.KINDS}
SINGLE_KINDS = {"ledger": ledger.KINDS, "directory": directories.KINDS}
NOUNS = {"sources": "source", "sinks": "sink", "categories": "category"}

ROUTER_KEYS = (
    "production",
    "include",
    "templates",
    "sources",
    "ledger",
    "directory",
    "sinks",
    "categories",
    "defaults",
    "divert",
    "brand",
    "tenants",
    "removed",
    *SETTINGS,
)

UNDIVERTED = frozenset({"any", "device", "request", ENDPOINT})
"""Kinds of address that are diverted by channel alone: they are no addresses of people."""

TYPED_SECTIONS = (
    "production",
    "categories",
    "defaults",
    "divert",
    "include",
    "templates",
    "brand",
    "tenants",
    "removed",
)
"""Sections without a model: an unquoted scalar is typed by what stands in for its variables."""


@dataclass(frozen=True, slots=True)
class Sections:
    """Links the sections of one merged document."""

    node: Node
    problems: Problems

    @property
    def root(self) -> str:
        """The folder of ``router.yaml``: relative paths start there."""
        return posixpath.dirname(self.node.at.file)

    def check_keys(self) -> None:
        """Unknown and missing keys of the document itself."""
        check_top_keys(self.node, self.problems)
        for key in ("sources", "ledger", "sinks"):
            if self.node.get(key) is None:
                self.problems.error("S003", f'router.yaml needs "{key}"', self.node.at)

    def production(self) -> bool:
        return Fields(self.node, "router.yaml", self.problems).boolean("production", False)

    def sources(self) -> dict[str, SourceConfig]:
        return {name: found[1] for name, _, found in self._named("sources") if found is not None}

    def feedback(self, sources: Mapping[str, SourceConfig]) -> FeedbackSettings | None:
        """Where feedback goes; None: nowhere, which is so without the section."""
        if self.node.get("feedback") is None:
            return None
        found = self.settings("feedback", FeedbackSettings)
        has_kafka = any(isinstance(source, KafkaSourceConfig) for source in sources.values())
        if found is not None and not has_kafka and found.kafka is None and found.file is None:
            message = 'feedback needs "file" or "kafka", for no source reads from Kafka'
            self.problems.error("S003", message, self.node.key_at("feedback"))
        return found

    def check_loops(
        self, dead_letters: DeadLetterSettings, feedback: FeedbackSettings | None
    ) -> None:
        """What the router writes must not come back to it as events."""
        written = {dead_letters.topic: "dead letters", dead_letters.replay_topic: "replays"}
        if feedback is not None:
            written[feedback.topic] = "feedback"
        for name, source in (self.node.get("sources") or self.node).items():
            topics = source.get("topics")
            for topic in topics.nodes if topics else ():
                if topic.value in written:
                    message = (
                        f'source "{name}" reads {topic.value}, where the router writes'
                        f" {written[str(topic.value)]}"
                    )
                    self.problems.error("S007", message, topic.at)

    def sinks(self) -> tuple[dict[str, SinkConfig], dict[str, SinkFacts]]:
        """Configurations of all but groups, and what planning knows of each and of groups."""
        configs: dict[str, SinkConfig] = {}
        facts: dict[str, SinkFacts] = {}
        groups: dict[str, ByPlatformConfig] = {}
        for name, _, found in self._named("sinks"):
            if found is None:
                continue
            kind, config = found
            if isinstance(config, ByPlatformConfig):
                groups[name] = config
            else:
                configs[name] = config
            facts[name] = sink_facts(name, kind, config)
        check_groups(groups, facts, self.names("sinks"), self.node, self.problems)
        return configs, facts

    def names(self, section: str) -> list[str]:
        node = self.node.get(section)
        return [name for name in (node.entries if node else {}) if not name.startswith("x-")]

    def _named(self, section: str) -> Iterator[tuple[str, Entry, tuple[Any, Any] | None]]:
        node = self.node.get(section)
        if node is None:
            return
        noun = NOUNS[section]
        for name, entry in named(node, noun, self.problems).items():
            what = f'{noun} "{name}"'
            kinds = NAMED_KINDS[section]
            found = link_component(kinds, entry.node, entry.key_at, what, self.problems, self.root)
            yield name, entry, found

    def ledger(self) -> LedgerConfig | None:
        return self._single("ledger", ledger.KINDS)

    def directory(self) -> DirectoryConfig | None:
        """The directory; without one, recipients are what events say of them."""
        if self.node.get("directory") is None:
            at = self.node.at
            written = Node({"type": Entry(at, Node("event", at))}, at)
            found = link_component(
                directories.KINDS, written, at, "directory", self.problems, self.root
            )
            return None if found is None else found[1]
        return self._single("directory", directories.KINDS)

    def _single(self, key: str, kinds: Kinds) -> Any:
        node = self.node.get(key)
        if node is None:
            return None
        found = link_component(kinds, node, self.node.key_at(key), key, self.problems, self.root)
        return None if found is None else found[1]

    def settings(self, key: str, model: type[SettingsT]) -> SettingsT | None:
        node = self.node.get(key) or Node({}, self.node.at)
        return validate(model, node, key, self.problems, self.root)

    def categories(self) -> Categories:
        node = self.node.get("categories")
        known: dict[str, Category] = {}
        layers: dict[str, Layer] = {}
        entries = named(node, "category", self.problems) if node else {}
        for name, entry in entries.items():
            layers[name] = Layer()
            if not entry.node.is_mapping:
                message = f'category "{name}" must be a mapping, not {a_kind(entry.node)}'
                self.problems.error("R203", message, entry.node.at)
                continue
            known[name], layers[name] = read_category(name, entry.node, self.problems)
        return Categories(known, layers)

    def defaults(self, categories: Categories) -> Layer:
        node = self.node.get("defaults")
        if node is None:
            return Layer()
        layer = read_layer(node, "defaults", self.problems)
        categories.layer(layer.category, node.locate(["category"]), self.problems)
        return layer

    def divert(self, sinks: Iterable[SinkFacts]) -> Divert | None:
        """Where messages go instead; keys are channels and the kinds of the sinks' addresses."""
        node = self.node.get("divert")
        if node is None:
            return None
        if not node.is_mapping:
            message = f"divert must be a mapping of channels to addresses, not {a_kind(node)}"
            self.problems.error("S004", message, node.at)
            return None
        channels = [str(channel) for channel in Channel]
        facts_of = tuple(sinks)
        kinds = {"telegram", "max"} | {facts.address_kind for facts in facts_of} - UNDIVERTED
        known = [*channels, *sorted(kinds - set(channels))]
        found: dict[str, str | None] = {}
        for key, entry in node.entries.items():
            value = entry.node.value
            if key.startswith("x-"):
                continue
            if key not in known:
                hint = did_you_mean(key, known, "Keys")
                self.problems.error("S002", f'unknown key "{key}" in divert.{hint}', entry.key_at)
            elif not isinstance(value, str) or not value.strip():
                message = f"divert.{key} must be an address in quotes, or suppress"
                self.problems.error("S004", message, entry.node.at)
            elif value != "suppress" and not _may_reach(value, key, facts_of):
                message = f'divert.{key}: "{value}" is no such address; write one, or suppress'
                self.problems.error("S004", message, entry.node.at)
            else:
                found[key] = None if value == "suppress" else str(value)
        return Divert(
            {Channel(key): to for key, to in found.items() if key in channels},
            {key: to for key, to in found.items() if key not in channels},
        )


def _may_reach(address: str, key: str, sinks: Iterable[SinkFacts]) -> bool:
    """Whether a sink that the key of a divert is about could send there."""
    if isinstance(address, Raw):
        return True
    if address in ("none", "off", "no", "false"):
        return False
    kinds = {facts.address_kind for facts in sinks if key in (facts.channel, facts.address_kind)}
    return not kinds or any(is_address(address, kind) for kind in kinds)


def check_top_keys(node: Node, problems: Problems) -> None:
    """Keys that neither ``router.yaml`` nor an overlay may hold."""
    for key, entry in node.entries.items():
        if key in ROUTER_KEYS or key.startswith("x-"):
            continue
        if key == "routes":
            hint = " Routes stand in files of their own, named under include:"
        else:
            hint = did_you_mean(key, ROUTER_KEYS, "Keys")
        problems.error("S002", f'unknown key "{key}".{hint}', entry.key_at)


def secrets_of(node: Node, merged: Node) -> Iterator[Node]:
    """The secret-typed scalars of a router file or overlay; types come from the merged one."""
    for section, model in SETTINGS.items():
        yield from secret_nodes(model, node.get(section) or Node({}, node.at))
    for section, kinds in NAMED_KINDS.items():
        names = merged.get(section) or Node({}, node.at)
        for name, value in (node.get(section) or Node({}, node.at)).items():
            yield from component_secrets(kinds, value, names.get(name))
    for section, kinds in SINGLE_KINDS.items():
        if (value := node.get(section)) is not None:
            yield from component_secrets(kinds, value, merged.get(section))


def sections_of(node: Node) -> Mapping[str, Entry]:
    """The sections that mean something."""
    return {key: entry for key, entry in node.entries.items() if key in ROUTER_KEYS}
