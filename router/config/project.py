"""A configuration, read, checked and linked: what the daemon and the tools work with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from router.config.settings import (
    AdminSettings,
    DeadLetterSettings,
    DeliverySettings,
    FeedbackSettings,
    LogSettings,
)
from router.directories import DirectoryConfig
from router.ledger import LedgerConfig
from router.planning import (
    NO_TENANTS,
    Category,
    Divert,
    Removal,
    Route,
    Ruleset,
    SinkFacts,
    Tenants,
)
from router.sinks import SinkConfig
from router.sources import SourceConfig
from router.templating import Template


@dataclass(frozen=True, slots=True)
class Project:
    """Everything that one environment's configuration says.

    Attributes:
        root: The folder of ``router.yaml``; relative paths start there.
        environment: The overlay in force, or None.
        production: Marked ``production: true``.
        feedback: None: nobody is told what became of deliveries.
        sinks, sink_facts: By name: how to open each, and what planning knows of it. A tenant's
            own sink is called ``SINK@TENANT``.
        files: Every file that was read, for watching and for reports.
        hash: Of all content, the same for the same content.
        part_hashes: Of each part (``sinks.mail``, ``sources.main``, ``routes``, ``ledger`` …):
            what a reload compares.
        tenants: Everybody it sends for.
        removed: What becomes of what waits for sinks that are not configured any more, by name.
    """

    root: str
    environment: str | None
    production: bool
    sources: Mapping[str, SourceConfig]
    ledger: LedgerConfig
    directory: DirectoryConfig
    sinks: Mapping[str, SinkConfig]
    sink_facts: Mapping[str, SinkFacts]
    categories: Mapping[str, Category]
    routes: Mapping[str, Route]
    templates: Mapping[str, Template]
    divert: Divert | None
    delivery: DeliverySettings
    dead_letters: DeadLetterSettings
    feedback: FeedbackSettings | None
    admin: AdminSettings
    logs: LogSettings
    files: tuple[str, ...]
    hash: str
    part_hashes: Mapping[str, str]
    tenants: Tenants = NO_TENANTS
    removed: Mapping[str, Removal] = field(default_factory=dict[str, Removal])

    def rules(self) -> Ruleset:
        """What the worker and its rehearsals go by."""
        routes = self.routes.values()
        return Ruleset.build(
            routes, self.templates, self.divert, self.hash, self.tenants, self.removed
        )
