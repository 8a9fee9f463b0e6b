"""The parts of the schema that are written by hand: routes, steps, conditions."""

from __future__ import annotations

from typing import Any

from router.authoring.policy_schema import (
    AFTER,
    BYPASS,
    POLICY,
    POLICY_DEFINITIONS,
    ROUTE_MODE,
    STEP_POLICY,
    UNLESS_EVENT,
)
from router.authoring.schema_parts import mapping, text, values
from router.config.defaults import ON_UNKNOWN
from router.config.steps import DEVICES
from router.planning import Cause
from router.routing import OPERATOR_NAMES

_OPERATORS = {
    "eq": "Equals.",
    "ne": "Does not equal; holds where nothing is.",
    "in": "Is one of these.",
    "not_in": "Is none of these; holds where nothing is.",
    "gt": "Above.",
    "gte": "At least.",
    "lt": "Below.",
    "lte": "At most.",
    "prefix": "Text that starts with this.",
    "suffix": "Text that ends with this.",
    "contains": "Text that has this in it.",
    "glob": "Text of this shape: * is anything, ? one character.",
    "regex": "Text in which this is found.",
    "exists": "Something is there, null included.",
    "cidr": "An address in this network.",
    "ignore_case": "Equals, upper and lower case alike.",
    "any_of": "A list that has one of these.",
    "all_of": "A list that has all of these.",
    "none_of": "A list that has none of these; holds where nothing is.",
    "some": "A list with an element of which all this holds.",
    "every": "A list of whose elements all this holds.",
}
_LISTS = ("in", "not_in", "any_of", "all_of", "none_of")
_TEXTS = ("prefix", "suffix", "contains", "glob", "regex")
_SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
_ONE_OR_MORE: dict[str, Any] = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
}


def _operand(name: str) -> dict[str, Any]:
    if name in ("some", "every"):
        return {"$ref": "#/$defs/condition"}
    if name in _LISTS:
        return {"type": "array", "items": _SCALAR, "minItems": 1}
    if name in _TEXTS:
        return {"type": "string", "minLength": 1}
    if name in ("cidr", "ignore_case"):
        return _ONE_OR_MORE
    return {"type": "boolean"} if name == "exists" else _SCALAR


_ON_UNKNOWN = {
    "enum": list(ON_UNKNOWN),
    "default": "dead_letter",
    "description": "What to do with a person that the directory does not know.",
}
_OWNER = text("The team to ask.")

_PERSON = {
    "id": text("Path of the person's id.", examples=["data.user_id"]),
    "email": text("Path of the e-mail address."),
    "name": text("Path of the name."),
    "locale": text("Path of the language, such as ru or pt-BR."),
    "timezone": text("Path of the time zone, such as Europe/Moscow."),
    "telegram": text("Path of the Telegram chat's id."),
    "max": text("Path of the MAX chat's id."),
    "devices": text("Path of the list of devices, or of their tokens."),
    "endpoints": text("Path of the list of endpoints that a customer takes webhooks at."),
    "preferences": text("Path of the map of categories to wanted or not."),
    "attributes": values("Further attributes, each with its path."),
}
_LIST = {
    "each": text("Path of a list: one recipient an element.", examples=["data.watchers"]),
    "except": text("Path of ids that are left out.", examples=["data.author_id"]),
    "where": {"$ref": "#/$defs/condition", "description": "A condition on item."},
    "max": {
        "type": ["integer", "string"],
        "description": "More recipients than this and nobody is sent to.",
        "default": 100_000,
    },
}

_REQUEST = mapping(
    "An HTTP request.",
    {
        "method": {"enum": ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"], "default": "POST"},
        "path": text("Below the sink's base_url, {name} is filled from params."),
        "params": values("What stands for {name} in the path, percent-encoded."),
        "query": values("Query parameters."),
        "headers": values("Extra headers."),
        "json": {"description": "The body as JSON."},
        "form": values("The body as a form."),
        "text": text("The body as text."),
    },
)

_DISTINCT_ID = text(
    "Path of the person's id; the recipient's id where the step runs per recipient.",
    examples=["data.user_id"],
)
_TRACK = text("What the event is called in analytics.", examples=["Payment Failed"])

_PROFILE = mapping(
    "Changes to a person's analytics profile.",
    {
        "set": values("Properties and their values."),
        "set_once": values("The same, where the profile has no value yet."),
        "add": values("Properties and the numbers to add; a repeat adds again."),
        "append": values("Lists and a value to append; a repeat appends again."),
        "union": values("Lists and the values that they shall have too."),
        "remove": values("Lists and a value to remove."),
        "unset": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Properties to remove.",
        },
    },
    minProperties=1,
)

_TABLE_ENTRY = mapping(
    "What to track for this event type.",
    {
        "track": _TRACK,
        "distinct_id": _DISTINCT_ID,
        "properties": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Fields of data, under their own names.",
            "examples": [["amount", "currency"]],
        },
        "rename": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "Properties with other names, each with its path.",
            "examples": [{"plan": "data.sub.plan"}],
        },
    },
    required=["track"],
)

_TABLE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": _TABLE_ENTRY,
    "minProperties": 1,
}

_STEP = mapping(
    "A sink and what to send there.",
    {
        "id": text("Stable name of the step; by default the sink's. Part of delivery keys."),
        "sink": {
            "anyOf": [
                text("The sink's name."),
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ],
            "description": "The sink's name; for analytics and requests also a list of sinks.",
        },
        "template": text("The template, if not the route's."),
        "with": values("Template variables and their values."),
        "request": _REQUEST,
        "track": _TRACK,
        "distinct_id": _DISTINCT_ID,
        "properties": values("The tracked event's properties."),
        "map": {
            # A file that !include names is text to an editor.
            "anyOf": [_TABLE, {"type": "string"}],
            "description": "What to track, by event type; the step runs for these types only.",
        },
        "profile": _PROFILE,
        "to": values(
            "A fixed address instead of recipients.",
            examples=[{"chat": "-1001234567890"}, {"email": "ops@acme.io"}, {"topic": "news"}],
            minProperties=1,
        ),
        "per": {
            "enum": ["recipient", "event"],
            "description": "Once for each recipient, or once for the event.",
        },
        "devices": {
            "enum": list(DEVICES),
            "default": "all",
            "description": "Which of a person's devices it goes to; latest is the one that was "
            "registered last.",
        },
        "fallback_for": text("Id of the step whose failure starts this one."),
        "causes": {
            "type": "array",
            "items": {"enum": [str(cause) for cause in Cause]},
            "minItems": 1,
            "description": "Why it starts; by default any failure, and unsettled with after.",
        },
        "after": AFTER,
        "unless_event": UNLESS_EVENT,
        "was": text("The step's earlier id, so that nothing is sent again after a rename."),
        **STEP_POLICY,
    },
    required=["sink"],
)

_ROUTE = mapping(
    "What it matches, who receives, which steps.",
    {
        "description": text("What it is for."),
        "owner": _OWNER,
        "match": {"$ref": "#/$defs/condition", "description": "Which events."},
        "recipient": mapping("The one who receives.", _PERSON, required=["id"]),
        "recipients": mapping("All who receive.", _PERSON | _LIST, required=["each", "id"]),
        "on_unknown": _ON_UNKNOWN,
        "category": text("What it is about: a name under categories."),
        "template": text("The template of all steps that name none."),
        "with": values("Template variables and their values."),
        "deliver": {
            "type": "array",
            "minItems": 1,
            "description": "The steps.",
            "items": {
                "anyOf": [text("The sink's name."), {"$ref": "#/$defs/step"}],
            },
        },
        "policy": mapping("Rules of sending.", POLICY),
        **ROUTE_MODE,
        "was": text("The route's earlier name, so that nothing is sent again after a rename."),
    },
    required=["match", "deliver"],
)

_CONDITION: dict[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "description": "Paths into the event and what must hold there; all must.",
    "properties": {
        "any": {
            "type": "array",
            "items": {"$ref": "#/$defs/condition"},
            "description": "One of these must hold.",
        },
        "all": {
            "type": "array",
            "items": {"$ref": "#/$defs/condition"},
            "description": "All of these must hold.",
        },
        "not": {"$ref": "#/$defs/condition", "description": "This must not hold."},
        "when": text("An expression over the event.", examples=["data.paid < data.due"]),
        "type": {"$ref": "#/$defs/predicate", "description": "The event's type."},
        "topic": {"$ref": "#/$defs/predicate", "description": "The Kafka topic."},
        "source": {"$ref": "#/$defs/predicate", "description": "Who produced the event."},
        "subject": {"$ref": "#/$defs/predicate", "description": "What the event is about."},
        "key": {"$ref": "#/$defs/predicate", "description": "The record's key."},
    },
    "additionalProperties": {"$ref": "#/$defs/predicate"},
}

_PREDICATE: dict[str, Any] = {
    "anyOf": [
        {**_SCALAR, "description": "Equals."},
        {"type": "array", "items": _SCALAR, "minItems": 1, "description": "Is one of these."},
        mapping(
            "Operators; all must hold.",
            {
                name: {"description": _OPERATORS.get(name, ""), **_operand(name)}
                for name in OPERATOR_NAMES
            },
            minProperties=1,
        ),
    ]
}

_DEFAULTS = mapping(
    "What holds where a route or step says nothing.",
    {"category": text("A name under categories."), "owner": _OWNER, "on_unknown": _ON_UNKNOWN}
    | POLICY,
)

_CATEGORY = mapping(
    "What notifications are about.",
    {
        "description": text("What it is, for people."),
        "owner": _OWNER,
        "optional": {"type": "boolean", "default": True, "description": "People may opt out."},
        "bypass": BYPASS,
    }
    | POLICY,
)

ROUTE_DEFINITIONS: dict[str, Any] = {
    "condition": _CONDITION,
    "predicate": _PREDICATE,
    "route": _ROUTE,
    "step": _STEP,
    "defaults": _DEFAULTS,
    "category": _CATEGORY,
    **POLICY_DEFINITIONS,
}
"""Definitions that all kinds of files share."""

ROUTES_FILE: dict[str, Any] = {
    "title": "routes/*.yaml",
    "type": "object",
    "properties": {
        "routes": {
            "type": "object",
            "description": "Routes by name. The name is part of delivery keys: see was.",
            "additionalProperties": {"$ref": "#/$defs/route"},
        },
        "defaults": {"$ref": "#/$defs/defaults"},
    },
    "additionalProperties": False,
}
"""A file that router.yaml includes."""

ANALYTICS_FILE: dict[str, Any] = {
    "title": "maps/*.yaml",
    "description": "What to track, by event type: what !include names at a step's map.",
    **_TABLE,
}
"""A table of analytics events in a file of its own."""
