"""The shipped samples as events on topics."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING

import orjson

from router.config import Project
from router.events import Event, Record
from router.kafka.producer import Producer

if TYPE_CHECKING:
    from router.demo.running import Running


def samples_of(project: Project) -> list[Event]:
    """The events of every sample, once each; a digest is made of many and no event itself."""
    found: dict[str, Event] = {}
    for template in project.templates.values():
        for sample in template.samples:
            event = sample.view.event
            if event.record.value is not None and event.collected is None:
                found.setdefault(event.id, event)
    return list(found.values())


def stamped(sample: Event, now: float) -> Record:
    """A sample as a record of its own: a CloudEvent in binary mode, with a new id and time."""
    moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": str(uuid.uuid4()),
        "ce_type": sample.type,
        "ce_source": f"/kolibri/{sample.topic}",
        "ce_time": moment.replace("+00:00", "Z"),
        "content-type": "application/json",
    }
    if sample.subject is not None:
        attributes["ce_subject"] = sample.subject
    headers = tuple((name, value.encode()) for name, value in attributes.items())
    value = orjson.dumps(sample.data)
    return Record(sample.topic, 0, 0, now, sample.record.key, value, headers)


async def publish(producer: Producer, records: Sequence[Record]) -> None:
    """Publishes records to their topics."""
    for record in records:
        outgoing = [(record.key, record.value, record.headers)]
        await producer.publish(record.topic, outgoing)


async def keep_publishing(demo: Running, random: Random, pause_s: float = 1.5) -> None:
    """Publishes a sample now and then, for ever."""
    samples = demo.samples
    while True:
        await publish(demo.producer, [stamped(random.choice(samples), demo.clock.now())])
        await demo.clock.sleep(pause_s * (0.5 + random.random()))
