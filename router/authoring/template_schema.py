"""The schema of ``template.yaml``."""

from __future__ import annotations

from typing import Any

from router.templating.layouts import BOUNDS, OVERFLOWS
from router.templating.variables import TYPES

_LOCALES: dict[str, Any] = {
    "type": "object",
    "description": "Languages that the template speaks.",
    "properties": {
        "required": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Every text must exist in these.",
            "examples": [["en", "ru"]],
        },
        "default": {"type": "string", "description": "For recipients whose language is unknown."},
        "fallback": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "Which language stands in for which.",
            "examples": [{"kk": "ru"}],
        },
    },
    "additionalProperties": False,
}

_VARIABLE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "type": {"enum": list(TYPES), "description": "What its values are."},
        "example": {"description": "A value for previews and checks."},
        "examples": {"type": "array", "description": "Several of them."},
        "optional": {"type": "boolean", "default": False, "description": "May be absent."},
        "pii": {
            "type": "boolean",
            "default": False,
            "description": "Personal: never in logs and traces.",
        },
    },
    "required": ["type"],
    "additionalProperties": False,
}


def _limits(channel: str) -> dict[str, Any]:
    properties: dict[str, Any] = {
        name: {"type": "integer", "minimum": 1, "description": "Characters at most."}
        for name in BOUNDS[channel]
    }
    if overflows := OVERFLOWS[channel]:
        properties["overflow"] = {
            "enum": list(overflows),
            "default": "error",
            "description": "What becomes of longer ones: a dead letter, cut with an ellipsis, or "
            "(chats) several messages one after another.",
        }
    return {"type": "object", "properties": properties, "additionalProperties": False}


TEMPLATE_FILE: dict[str, Any] = {
    "title": "template.yaml",
    "type": "object",
    "properties": {
        "description": {"type": "string", "description": "What it is for."},
        "owner": {"type": "string", "description": "The team to ask."},
        "locales": _LOCALES,
        "variables": {
            "type": "object",
            "description": "Values the template needs. Without with:, x is data.x of the event.",
            "additionalProperties": _VARIABLE,
        },
        "channels": {
            "type": "object",
            "description": "Limits of each channel's message.",
            "properties": {channel: _limits(channel) for channel in BOUNDS},
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}
"""What a template says about itself."""
