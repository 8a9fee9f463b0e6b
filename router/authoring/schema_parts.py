"""How parts of the schema are written by hand: each with its description."""

from __future__ import annotations

from typing import Any


def text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


def mapping(description: str, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": False,
        **more,
    }


def values(description: str, **more: Any) -> dict[str, Any]:
    """Keys that the writer chooses."""
    return {"type": "object", "description": description, "additionalProperties": True, **more}
