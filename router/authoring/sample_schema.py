"""The schemas of a template's samples and of a file of people."""

from __future__ import annotations

from typing import Any

from router.directories._people import PersonEntry

_TEXTS = {
    "id": "The company's id of the person.",
    "email": "E-mail address.",
    "name": "What the person is called.",
    "locale": "BCP 47 tag, such as ru or pt-BR.",
    "timezone": "IANA name, such as Europe/Moscow.",
    "telegram": "Telegram chat id.",
    "max": "Id in the MAX messenger.",
}
_EVENT = {
    "id": "The event's id.",
    "type": "The event's type, such as payment.failed.",
    "source": "Where it comes from; by default the topic.",
    "subject": "What it is about.",
    "time": "When it happened, as 2026-11-24T10:00:00Z.",
    "topic": "Kafka topic.",
    "key": "Kafka key.",
}
_MAPPING: dict[str, Any] = {"type": "object"}


def _text(description: str) -> dict[str, Any]:
    return {"type": ["string", "integer"], "description": description}


def _closed(properties: dict[str, Any], description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": False,
    }


_DEVICE = {
    "id": "The directory's id of the device; its token by default.",
    "token": "What the provider calls it.",
    "platform": "android, ios or web.",
    "app": "Which app it is.",
    "environment": "production or sandbox.",
    "locale": "BCP 47 tag.",
}
_RECIPIENT = {key: _text(text) for key, text in _TEXTS.items()} | {
    "devices": {
        "type": "array",
        "description": "Where pushes go.",
        "items": _closed({key: _text(text) for key, text in _DEVICE.items()}, "A device."),
    },
    "attributes": _MAPPING | {"description": "Whatever else the directory knows."},
    "preferences": {
        "type": "object",
        "description": "Category or category/channel to wanted or not.",
        "additionalProperties": {"type": "boolean"},
    },
}

_EVENT_PROPERTIES: dict[str, Any] = {key: _text(text) for key, text in _EVENT.items()} | {
    "headers": _MAPPING | {"description": "Kafka headers."},
    "data": {"description": "The payload."},
}
_ITEM: dict[str, Any] = {"description": "The element of recipients.each."}

SAMPLE_FILE: dict[str, Any] = {
    "title": "samples/*.yaml",
    "type": "object",
    "properties": {
        "note": {"type": "string", "description": "What is special about this case."},
        "now": _text("When it is rendered, as 2026-11-24T10:00:00Z; by default the event's time."),
        "event": _closed(_EVENT_PROPERTIES, "The event that routes match and the template reads."),
        "digest": {
            "type": "array",
            "minItems": 1,
            "description": "In place of event: the events that a digest tells of.",
            "items": _closed(_EVENT_PROPERTIES | {"item": _ITEM}, "An event of a digest."),
        },
        "recipient": _closed(_RECIPIENT, "Who receives it."),
        "variables": _MAPPING | {"description": "What a route's with: would give."},
        "item": _ITEM,
        "route": {"type": "string", "description": "The route's name."},
    },
    "anyOf": [
        {"required": ["event"]},
        {"required": ["digest"]},
        {"required": ["variables"]},
    ],
    "additionalProperties": False,
}
"""One case that a template is shown and checked with."""


def people_schema() -> dict[str, Any]:
    """A list of people, or a map from id to person."""
    person = PersonEntry.model_json_schema(ref_template="#/$defs/{model}")
    definitions: dict[str, Any] = person.pop("$defs", {})
    person.pop("required", None)
    definitions["person"] = person
    listed = {"allOf": [{"$ref": "#/$defs/person"}], "required": ["id"]}
    return {
        "title": "people.yaml",
        "oneOf": [
            {"type": "array", "items": listed},
            {"type": "object", "additionalProperties": {"$ref": "#/$defs/person"}},
        ],
        "$defs": definitions,
    }
