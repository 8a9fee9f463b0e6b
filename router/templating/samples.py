"""``samples/*.yaml``: the cases a template is shown and checked with."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any

from router.events import Collected, Event, Record
from router.nodes import Node
from router.problems import Problems
from router.recipients import Device, Recipient, read_devices
from router.templating.codes import RenderError
from router.templating.filters import moment
from router.templating.model import EXAMPLE_TIME, Sample, example_view
from router.templating.settings import check_keys, is_mapping, text_of
from router.templating.view import View

_KEYS = ("note", "now", "event", "digest", "recipient", "variables", "item", "route")
_EVENT_KEYS = ("id", "type", "source", "subject", "time", "topic", "key", "headers", "data")
_DIGEST_KEYS = (*_EVENT_KEYS, "item")
_ADDRESSES_APART = ("endpoints",)
_RECIPIENT_KEYS = tuple(f.name for f in fields(Recipient) if f.name not in _ADDRESSES_APART)
_RECIPIENT_TEXTS = frozenset(_RECIPIENT_KEYS) - {"attributes", "preferences", "devices"}
_DEVICE_KEYS = ("id", "token", "platform", "app", "environment", "locale")


def parse_sample(name: str, node: Node, problems: Problems) -> Sample | None:
    """Reads one sample; None if it can't be used."""
    before = len(problems.found)
    if not is_mapping(node, "a sample", problems):
        return None
    check_keys(node, _KEYS, problems)
    if not node.entries.keys() & {"event", "digest", "variables"}:
        problems.error("T101", "a sample needs an event, a digest or variables", node.at)
    event, item = _parse_event(node.get("event"), problems), _item(node)
    if "digest" in node.entries:
        event, item = _parse_digest(node, problems)
    recipient = _parse_recipient(node.get("recipient"), problems)
    variables = _mapping(node.get("variables"), "variables", problems)
    now = node.get("now")
    time = event.time if event else EXAMPLE_TIME
    view = View(
        event=event or example_view(variables).event,
        recipient=recipient,
        item=item,
        route=text_of(node.get("route"), problems) or "sample",
        now=_moment(now, time, problems),
        variables=variables,
    )
    note = text_of(node.get("note"), problems) or ""
    return Sample(name, note, view, node.at) if len(problems.found) == before else None


def _mapping(node: Node | None, what: str, problems: Problems) -> Mapping[str, Any]:
    if node is None or not is_mapping(node, what, problems):
        return {}
    return node.plain()


def _moment(node: Node | None, default: float, problems: Problems) -> float:
    if node is None:
        return default
    try:
        return moment(node.value).timestamp()
    except RenderError:
        problems.error("T101", "write a time as 2026-11-24T10:00:00Z", node.at)
        return default


def _item(node: Node) -> Any:
    item = node.get("item")
    return item.plain() if item else None


def _parse_digest(node: Node, problems: Problems) -> tuple[Event | None, Any]:
    """The event that stands for a digest's events, the newest of them, and its item."""
    for key in ("event", "item"):
        if key in node.entries:
            message = f"{key}: stands with each event of a digest, not beside it"
            problems.error("T101", message, node.key_at(key))
    entries = node.entries["digest"].node
    if not entries.is_sequence or not entries.nodes:
        problems.error("T101", "digest has to be a list of events", entries.at)
        return None, None
    found: list[tuple[Event, Any]] = []
    for entry in entries.nodes:
        event = _parse_event(entry, problems, _DIGEST_KEYS)
        if event is not None:
            found.append((event, _item(entry)))
    if not found:
        return None, None
    found.sort(key=lambda one: one[0].time)
    event, item = found[-1]
    return replace(event, collected=Collected(len(found), tuple(found))), item


def _parse_event(
    node: Node | None, problems: Problems, keys: Collection[str] = _EVENT_KEYS
) -> Event | None:
    if node is None or not is_mapping(node, "event", problems):
        return None
    check_keys(node, keys, problems)
    texts = {
        key: text_of(node.get(key), problems)
        for key in ("id", "type", "source", "subject", "topic", "key")
    }
    time = _moment(node.get("time"), EXAMPLE_TIME, problems)
    data = node.get("data")
    payload = data.plain() if data else None
    key = texts["key"]
    record = Record(
        topic=texts["topic"] or "sample",
        partition=0,
        offset=0,
        timestamp=time,
        key=key.encode() if key is not None else None,
        value=json.dumps(payload, default=str).encode(),
    )
    headers = _mapping(node.get("headers"), "headers", problems)
    return Event(
        id=texts["id"] or "sample",
        type=texts["type"] or "sample",
        source=texts["source"] or record.topic,
        subject=texts["subject"],
        time=time,
        data=payload,
        headers={name: str(value) for name, value in headers.items()},
        identity=texts["id"] or "sample",
        record=record,
    )


def _parse_recipient(node: Node | None, problems: Problems) -> Recipient | None:
    if node is None or not is_mapping(node, "recipient", problems):
        return None
    check_keys(node, _RECIPIENT_KEYS, problems)
    texts = {key: text_of(node.get(key), problems) for key in _RECIPIENT_TEXTS}
    return Recipient(
        **{**texts, "id": texts["id"] or "sample"},  # pyright: ignore[reportArgumentType]
        devices=_parse_devices(node.get("devices"), problems),
        attributes=_mapping(node.get("attributes"), "attributes", problems),
        preferences=_mapping(node.get("preferences"), "preferences", problems),
    )


def _parse_devices(node: Node | None, problems: Problems) -> tuple[Device, ...]:
    if node is None:
        return ()
    if not node.is_sequence:
        problems.error("T101", f"devices has to be a list, not {node.kind()}", node.at)
        return ()
    for entry in node.nodes:
        if is_mapping(entry, "a device", problems):
            check_keys(entry, _DEVICE_KEYS, problems)
            if text_of(entry.get("token"), problems) is None:
                problems.error("T101", "a device needs a token", entry.at)
    return read_devices(node.plain())
