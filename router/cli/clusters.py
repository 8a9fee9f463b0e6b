"""Kafka clusters for commands: their secrets are read only where a connection needs them."""

from __future__ import annotations

from collections.abc import Callable

from router.cli.output import read_project
from router.config import Project
from router.kafka.connection import KafkaConnection


def read_project_with(
    config: str, environment: str | None, connection: Callable[[Project], KafkaConnection | None]
) -> Project:
    """The project; its secrets are read only if the connection that is wanted has some."""
    project, _ = read_project(config, environment, read_secrets=False)
    wanted = connection(project)
    if wanted is not None and _has_secrets(wanted):
        project, _ = read_project(config, environment)
    return project


def _has_secrets(connection: KafkaConnection) -> bool:
    tls = connection.tls
    return connection.sasl is not None or (tls is not None and tls.key_password is not None)
