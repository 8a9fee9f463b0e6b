"""Findings about one environment: what is never used, and what is not safe to run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from router.authoring.people_lint import people_findings
from router.authoring.route_lint import warning
from router.config import Loaded, Project
from router.config.addresses import check_admin, is_loopback_host
from router.config.models import scalars
from router.config.scalars import Raw
from router.planning import Divert, Step, TemplateContent
from router.problems import Position, Problem
from router.sources.kafka import KafkaSourceConfig

_BARE = re.compile(r"\$[A-Z][A-Z0-9_]*")


def lint_sections(loaded: Loaded, project: Project, *, is_run: bool) -> Iterator[Problem]:
    """Everything that is not about single routes.

    Args:
        is_run: The environment runs as it is, so what is unsafe counts; the base below overlays
            does not.
    """
    yield from _unused(loaded, project)
    yield from _own_outputs(loaded, project)
    yield from _loops(loaded, project)
    yield from _unsigned(loaded, project)
    yield from _admin(loaded, project)
    yield from _open_secrets(loaded)
    yield from _bare_variables(loaded)
    yield from _people(loaded, project)
    if is_run:
        yield from _plain_text_mail(loaded, project)
        yield from _ledger(loaded, project)
        yield from _real_people(loaded, project)


def _place(loaded: Loaded, *path: str) -> Position | None:
    """Where a value is written, or the nearest that is."""
    if loaded.document is None:
        return None
    return loaded.places.get(".".join(path[:2])) if "@" in path[1] else loaded.document.locate(path)


def _unused(loaded: Loaded, project: Project) -> Iterator[Problem]:
    steps = [step for route in project.routes.values() for step in route.steps]
    used = {
        "sinks": _used_sinks(project, steps),
        "templates": {s.content.template for s in steps if isinstance(s.content, TemplateContent)},
        "categories": {route.category for route in project.routes.values()},
    }
    known = {
        "sinks": ("S401", project.sink_facts, "no route uses sink"),
        "templates": ("T201", project.templates, "no route uses template"),
        "categories": ("S402", project.categories, "no route belongs to category"),
    }
    for section, (code, names, text) in known.items():
        for name in names:
            if name not in used[section]:
                yield warning(code, f'{text} "{name}"', loaded.places.get(f"{section}.{name}"))


def _used_sinks(project: Project, steps: Sequence[Step]) -> set[str]:
    """Those of routes, and what tenants have in their place."""
    named = {name for s in steps for name in (s.sink, *s.by_platform.values())}
    tenants = project.tenants.named.values()
    named |= {r.to.name for r in project.removed.values() if r.to is not None}
    return named | {own for t in tenants for sink, own in t.sinks.items() if sink in named}


def _own_outputs(loaded: Loaded, project: Project) -> Iterator[Problem]:
    written = {
        project.dead_letters.topic: "dead letters",
        project.dead_letters.replay_topic: "replays",
    }
    if project.feedback is not None:
        written[project.feedback.topic] = "feedback"
    for name, source in project.sources.items():
        if not isinstance(source, KafkaSourceConfig):
            continue
        for topic, what in written.items():
            if topic not in source.topics and source.reads(topic):
                message = (
                    f'the pattern of source "{name}" takes in {topic}, where the router writes'
                    f" {what}: they would come back as events"
                )
                yield warning("S408", message, _place(loaded, "sources", name, "pattern"))


def _loops(loaded: Loaded, project: Project) -> Iterator[Problem]:
    """Sinks whose records come back through a source of the same cluster."""
    sources = {n: s for n, s in project.sources.items() if isinstance(s, KafkaSourceConfig)}
    if not sources:
        return
    from router.sinks.kafka import KafkaSinkConfig

    for name, sink in project.sinks.items():
        if not isinstance(sink, KafkaSinkConfig):
            continue
        for source, reading in sources.items():
            if reading.reads(sink.topic) and set(reading.bootstrap) & set(sink.bootstrap):
                message = (
                    f'sink "{name}" publishes on {sink.topic}, which source "{source}" reads: each'
                    " record comes back as an event, and may go round for ever"
                )
                yield warning("S409", message, _place(loaded, "sinks", name, "topic"))


def _unsigned(loaded: Loaded, project: Project) -> Iterator[Problem]:
    for name, facts in project.sink_facts.items():
        if facts.type == "webhook":
            from router.sinks.webhook import WebhookConfig

            config = project.sinks[name]
            if isinstance(config, WebhookConfig) and config.unsigned:
                message = (
                    f'webhook "{name}" is not signed: its receiver can\'t tell the router from'
                    " anybody else; give it secrets:"
                )
                yield warning("S403", message, _place(loaded, "sinks", name, "unsigned"))


def _plain_text_mail(loaded: Loaded, project: Project) -> Iterator[Problem]:
    for name, facts in project.sink_facts.items():
        if facts.type != "smtp":
            continue
        from router.sinks.smtp import SmtpConfig

        config = project.sinks[name]
        if not isinstance(config, SmtpConfig) or config.security != "none":
            continue
        if not is_loopback_host(config.host.strip("[]")):
            message = (
                f'sink "{name}" speaks plain text to {config.host}: mail can be read on the way;'
                " write security: starttls"
            )
            yield warning("S404", message, _place(loaded, "sinks", name, "security"))


def _ledger(loaded: Loaded, project: Project) -> Iterator[Problem]:
    real = [name for name, facts in project.sink_facts.items() if facts.is_real]
    if project.ledger.type == "memory" and project.production:
        message = (
            "a production environment with a memory ledger: after every restart, events are sent"
            " again and waiting messages are lost; write type: sqlite"
        )
        yield warning("S405", message, _place(loaded, "ledger", "type"))
    if getattr(project.ledger, "ephemeral", False) and real:
        message = (
            "the ledger is ephemeral, but there are real sinks: with the disk go waiting messages"
            " and the memory of what was sent"
        )
        yield warning("S406", message, _place(loaded, "ledger", "ephemeral"))


def _real_people(loaded: Loaded, project: Project) -> Iterator[Problem]:
    if project.production:
        return
    divert = project.divert or Divert({})
    for name, facts in project.sink_facts.items():
        is_diverted = divert.covers(facts.channel, facts.address_kind)
        shared = project.sink_facts.get(name.partition("@")[0])
        if shared is not None and shared is not facts and shared.is_real:
            # What holds for all is told once, not for each tenant.
            continue
        if facts.is_real and facts.channel.is_personal and not is_diverted:
            message = (
                f'sink "{name}" writes to real people, and this environment is not production:'
                f" true; write divert: {{{facts.channel}: …}}, or real: false in the sink"
            )
            yield warning("S407", message, _place(loaded, "sinks", name))


def _admin(loaded: Loaded, project: Project) -> Iterator[Problem]:
    if not project.admin.enabled:
        return
    for problem in check_admin(project.admin):
        key = "probes" if problem.message.startswith("admin.probes") else "listen"
        yield replace(problem, at=_place(loaded, "admin", key))


def _open_secrets(loaded: Loaded) -> Iterator[Problem]:
    """Secrets that whoever may read the files can read."""
    for node in loaded.secrets:
        if isinstance(node.value, str) and not isinstance(node.value, Raw):
            message = "this secret can be read in the file; write !env NAME or !file PATH"
            yield warning("S410", message, node.at)


def _bare_variables(loaded: Loaded) -> Iterator[Problem]:
    """Variables as shells write them, which are text here."""
    for node in scalars(loaded.document) if loaded.document else ():
        if isinstance(node.value, str) and _BARE.fullmatch(node.value):
            message = f'"{node.value}" is text; for the variable write ${{{node.value[1:]}}}'
            yield warning("S412", message, node.at)


def _people(loaded: Loaded, project: Project) -> Iterator[Problem]:
    for message in people_findings(project):
        yield warning("S411", message, _place(loaded, "directory", "path"))
