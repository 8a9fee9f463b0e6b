"""Records as they are kept in the ledger's rows, with facts about them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import orjson

from router.events import Record


def pack_record(head: Mapping[str, Any], record: Record) -> bytes:
    """JSON facts and a record, as bytes."""
    head = {
        **head,
        "rec": [
            record.topic,
            record.partition,
            record.offset,
            record.timestamp,
            None if record.key is None else _b64(record.key),
            [[name, _b64(value)] for name, value in record.headers],
            record.value is None,
        ],
    }
    raw = orjson.dumps(head)
    return len(raw).to_bytes(4, "big") + raw + (record.value or b"")


def unpack_record(blob: bytes) -> tuple[dict[str, Any], Record]:
    """What :func:`pack_record` was given."""
    end = 4 + int.from_bytes(blob[:4], "big")
    head = orjson.loads(blob[4:end])
    topic, partition, offset, timestamp, key, headers, is_null = head.pop("rec")
    record = Record(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp=timestamp,
        key=None if key is None else base64.b64decode(key),
        value=None if is_null else blob[end:],
        headers=tuple((name, base64.b64decode(value)) for name, value in headers),
    )
    return head, record


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
