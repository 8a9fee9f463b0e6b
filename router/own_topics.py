"""The topics that the router itself writes and reads: there before anything needs them.

A topic that appears while a group reads it causes a rebalance, and one that is missing loses time
when a dead letter has to be published.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

import anyio

from router.config import Project
from router.kafka.admin import TopicSpec, admin
from router.kafka.connection import KafkaConnection
from router.kafka.errors import KafkaUnavailable, TopicRefused
from router.publishing import dead_letter_connection, feedback_connection, first_cluster

log = logging.getLogger("router.kafka")


@dataclass(frozen=True, slots=True)
class OwnTopic:
    """A topic, what it is for, and the cluster that should have it."""

    name: str
    purpose: str
    cluster: KafkaConnection


def own_topics(project: Project) -> list[OwnTopic]:
    """What a project's dead letters, replays and feedback need."""
    letters = project.dead_letters
    wanted = [
        (letters.topic, "dead letters", dead_letter_connection(project)),
        (letters.replay_topic, "replays", first_cluster(project)),
    ]
    if project.feedback is not None:
        wanted.append((project.feedback.topic, "feedback", feedback_connection(project)))
    return [OwnTopic(name, purpose, cluster) for name, purpose, cluster in wanted if cluster]


async def ensure_own_topics(topics: Collection[OwnTopic]) -> list[OwnTopic]:
    """Creates those that are missing, or logs that they may not be created.

    Returns:
        Those whose cluster did not answer.
    """
    by_cluster: defaultdict[str, list[OwnTopic]] = defaultdict(list)
    for topic in topics:
        by_cluster[",".join(topic.cluster.bootstrap)].append(topic)
    unanswered: list[OwnTopic] = []

    async def ensure(some: list[OwnTopic]) -> None:
        try:
            await _ensure(some)
        except KafkaUnavailable as error:
            log.debug("topics can't be looked at: %s", error)
            unanswered.extend(some)

    async with anyio.create_task_group() as tasks:
        for some in by_cluster.values():
            tasks.start_soon(ensure, some)
    return unanswered


async def _ensure(topics: Collection[OwnTopic]) -> None:
    """Raises:
    KafkaUnavailable: no answer.
    """
    cluster = next(iter(topics)).cluster
    async with admin(cluster) as opened:
        present = await opened.topics()
        for topic in topics:
            if topic.name in present:
                continue
            try:
                await opened.ensure_topics([TopicSpec(topic.name)])
            except TopicRefused as error:
                log.error(
                    "topic %s for %s is missing on %s, and can't be created: %s",
                    topic.name,
                    topic.purpose,
                    ", ".join(cluster.bootstrap),
                    error,
                )
            else:
                log.info("topic %s for %s created", topic.name, topic.purpose)
