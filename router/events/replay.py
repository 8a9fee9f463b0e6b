"""Events sent again through the router's own replay topic, with their original identity."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from router.events.attributes import PoisonError
from router.events.model import Poison, Record

MAX_HOPS = 8
"""An event replayed more often than this is going in circles."""

_PREFIX = "router-replay-"


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay asks for.

    Attributes:
        routes: Only these: ``route`` or ``route/step``; empty means all.
        delivery_key: Only the delivery of this key (16 bytes); None means all.
        hop: 1 for the first replay of an event.
    """

    routes: frozenset[str]
    delivery_key: bytes | None
    hop: int


def wrap_replay(
    record: Record, routes: Collection[str], delivery_key: bytes | None, hop: int
) -> tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]:
    """Key, value and headers to publish on the replay topic.

    The original's own replay headers, if it came from there, are replaced.
    """
    facts: dict[str, bytes] = {
        "topic": record.topic.encode(),
        "partition": str(record.partition).encode(),
        "offset": str(record.offset).encode(),
        "timestamp": repr(record.timestamp).encode(),
        "routes": orjson.dumps(sorted(routes)),
        "hop": str(hop).encode(),
    }
    if delivery_key is not None:
        facts["delivery-key"] = delivery_key.hex().encode()
    headers = tuple((f"{_PREFIX}{name}", value) for name, value in facts.items())
    return record.key, record.value, headers + _original_headers(record)


def unwrap_replay(record: Record) -> tuple[Record, Replay] | Poison:
    """The original record and what is asked of it, from a record of the replay topic.

    Poison (``invalid_replay``, ``replay_loop``) is about the record as read.
    """
    facts = {
        name.removeprefix(_PREFIX): value
        for name, value in record.headers
        if name.startswith(_PREFIX)
    }
    try:
        original, replay = _read(record, facts)
        if replay.hop > MAX_HOPS:
            raise PoisonError("replay_loop", f"replayed more than {MAX_HOPS} times")
    except PoisonError as error:
        return Poison(record, error.reason)
    except (KeyError, ValueError) as error:
        return Poison(record, PoisonError("invalid_replay", _explain(error)).reason)
    return original, replay


def _read(record: Record, facts: Mapping[str, bytes]) -> tuple[Record, Replay]:
    routes: Any = orjson.loads(facts["routes"])
    if not isinstance(routes, list) or not all(isinstance(route, str) for route in routes):
        raise PoisonError("invalid_replay", "the routes are not a list of names")
    delivery_key = (
        bytes.fromhex(facts["delivery-key"].decode()) if "delivery-key" in facts else None
    )
    if delivery_key is not None and len(delivery_key) != 16:
        raise PoisonError("invalid_replay", "the delivery key is not of 16 bytes")
    timestamp = float(facts["timestamp"])
    if not 0 <= timestamp < 1e12:
        raise PoisonError("invalid_replay", "the timestamp is out of range")
    original = Record(
        topic=facts["topic"].decode(),
        partition=int(facts["partition"]),
        offset=int(facts["offset"]),
        timestamp=timestamp,
        key=record.key,
        value=record.value,
        headers=_original_headers(record),
    )
    return original, Replay(frozenset(routes), delivery_key, int(facts["hop"]))


def _original_headers(record: Record) -> tuple[tuple[str, bytes], ...]:
    return tuple(header for header in record.headers if not header[0].startswith(_PREFIX))


def _explain(error: KeyError | ValueError) -> str:
    if isinstance(error, KeyError):
        return f"header {_PREFIX}{error.args[0]} is missing"
    return "a replay header can't be read"
