"""Small projects for daemons under test, written as configuration files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from router.sandbox import Sandbox


class Env(str):
    """A value that the configuration takes from an environment variable: ``!env NAME``."""


class File(str):
    """A value that the configuration takes from a file: ``!file PATH``."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(Env, lambda dumper, name: dumper.represent_scalar("!env", str(name)))
_Dumper.add_representer(File, lambda dumper, path: dumper.represent_scalar("!file", str(path)))


@dataclass(frozen=True, slots=True)
class Project:
    """A project on disk.

    Attributes:
        folder: Holds ``router.yaml``, ``routes.yaml``, ``templates/`` and the ledger.
        env: Variables that its daemon needs.
    """

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def config(self) -> Path:
        return self.folder / "router.yaml"

    @property
    def routes(self) -> Path:
        return self.folder / "routes.yaml"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    def write_routes(self, routes: Mapping[str, Any]) -> None:
        """Replaces the routes."""
        self.routes.write_text(_dump({"routes": routes}))


def write_project(
    folder: Path,
    *,
    sources: Mapping[str, Any],
    sinks: Mapping[str, Any],
    routes: Mapping[str, Any],
    env: Mapping[str, str] | None = None,
    **sections: Any,
) -> Project:
    """Writes a project; ``sections`` are further ones of ``router.yaml``, or stand in for ours."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "include": ["routes.yaml"],
        "sources": sources,
        "sinks": sinks,
        "ledger": {"type": "sqlite", "path": "ledger.db", "ephemeral": True},
        "admin": {"listen": "127.0.0.1:0", "probes": "127.0.0.1:0"},
        "categories": {"orders": {"description": "Orders", "owner": "shop"}},
        "defaults": {"category": "orders"},
        "dead_letters": _dead_letters(sources),
    }
    project = Project(folder, dict(env or {}))
    project.config.write_text(_dump(document | sections))
    project.write_routes(routes)
    return project


def _dead_letters(sources: Mapping[str, Any]) -> dict[str, str]:
    """Topics of one's own where there is Kafka: tests share brokers."""
    groups = [source["group"] for source in sources.values() if source["type"] == "kafka"]
    return dead_letter_topics(groups[0]) if groups else {}


def dead_letter_topics(group: str) -> dict[str, str]:
    """Where the daemon of a group writes dead letters and reads replays."""
    return {"topic": f"{group}.dead", "replay_topic": f"{group}.replay"}


def _dump(document: Mapping[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


# Parts ---------------------------------------------------------------------------------------


def kafka_source(bootstrap: str, topics: Sequence[str], group: str) -> dict[str, Any]:
    """A Kafka source that starts at the earliest record."""
    return {
        "type": "kafka",
        "bootstrap": bootstrap,
        "topics": list(topics),
        "group": group,
        "start": "earliest",
        "session_timeout": "6s",
        "metadata_refresh": "500ms",
    }


def api_sink(box: Sandbox, **options: Any) -> dict[str, Any]:
    """The JSON API of the sandbox."""
    token = Env("API_TOKEN")
    sink = {
        "type": "http",
        "base_url": box.addresses["http"],
        "auth": {"type": "bearer", "token": token},
        "timeout": "5s",
        "real": False,
    }
    return sink | options


def secrets_of(box: Sandbox) -> dict[str, str]:
    """The variables that hold the sandbox's credentials."""
    return {
        "API_TOKEN": box.credentials["http_bearer"],
        "BOT_TOKEN": box.credentials["telegram_token"],
        "SMTP_PASSWORD": box.credentials["smtp_password"],
        "HOOK_SECRET": box.credentials["webhook_secret"],
    }


def order_route(prefix: str = "/orders", **step: Any) -> dict[str, Any]:
    """A route that calls the API once for each ``order.paid``, at ``PREFIX/ID``."""
    request = {
        "method": "POST",
        "path": f"{prefix}/{{id}}",
        "params": {"id": "{{ data.id }}"},
        "json": {"order": "{{ data.id }}"},
    }
    return {
        "match": {"type": "order.paid"},
        "deliver": [{"sink": "api", "request": request} | step],
    }


def write_template(project: Project, name: str, layouts: Mapping[str, str]) -> None:
    """A template in English without variables, with these layouts by file name."""
    folder = project.folder / "templates" / name
    (folder / "texts").mkdir(parents=True, exist_ok=True)
    described = {
        "description": name,
        "owner": "shop",
        "locales": {"required": ["en"], "default": "en"},
    }
    (folder / "template.yaml").write_text(_dump(described))
    (folder / "texts" / "en.txt").write_text("title: An order\n")
    for file, text in layouts.items():
        (folder / file).write_text(text)
