"""The parts of the schema that are written by hand: routes, steps, conditions."""

from __future__ import annotations

from typing import Any

from router.config.defaults import IN_DOUBT, ON_UNKNOWN
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


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


def _mapping(description: str, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": False,
        **more,
    }


def _values(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "description": description, "additionalProperties": True, **more}


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


_EXPIRES = _text(
    "How long after the event it may still be sent: 24h for push and chat, 72h for e-mail, never "
    "for requests, where nothing is said.",
    examples=["1h", "never"],
)
_IN_DOUBT = {
    "enum": list(IN_DOUBT),
    "default": "resend",
    "description": "What to do where nobody knows whether a message left: resend (it may come "
    "twice) or dead_letter (at most once).",
}
_POLICY = {"expires": _EXPIRES, "in_doubt": _IN_DOUBT}
_ON_UNKNOWN = {
    "enum": list(ON_UNKNOWN),
    "default": "dead_letter",
    "description": "What to do with a person that the directory does not know.",
}
_OWNER = _text("The team to ask.")

_PERSON = {
    "id": _text("Path of the person's id.", examples=["data.user_id"]),
    "email": _text("Path of the e-mail address."),
    "name": _text("Path of the name."),
    "locale": _text("Path of the language, such as ru or pt-BR."),
    "timezone": _text("Path of the time zone, such as Europe/Moscow."),
    "telegram": _text("Path of the Telegram chat's id."),
    "max": _text("Path of the MAX chat's id."),
    "devices": _text("Path of the list of devices, or of their tokens."),
    "endpoints": _text("Path of the list of endpoints that a customer takes webhooks at."),
    "preferences": _text("Path of the map of categories to wanted or not."),
    "attributes": _values("Further attributes, each with its path."),
}
_LIST = {
    "each": _text("Path of a list: one recipient an element.", examples=["data.watchers"]),
    "except": _text("Path of ids that are left out.", examples=["data.author_id"]),
    "where": {"$ref": "#/$defs/condition", "description": "A condition on item."},
    "max": {
        "type": ["integer", "string"],
        "description": "More recipients than this and nobody is sent to.",
        "default": 100_000,
    },
}

_REQUEST = _mapping(
    "An HTTP request.",
    {
        "method": {"enum": ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"], "default": "POST"},
        "path": _text("Below the sink's base_url, {name} is filled from params."),
        "params": _values("What stands for {name} in the path, percent-encoded."),
        "query": _values("Query parameters."),
        "headers": _values("Extra headers."),
        "json": {"description": "The body as JSON."},
        "form": _values("The body as a form."),
        "text": _text("The body as text."),
    },
)

_DISTINCT_ID = _text(
    "Path of the person's id; the recipient's id where the step runs per recipient.",
    examples=["data.user_id"],
)
_TRACK = _text("What the event is called in analytics.", examples=["Payment Failed"])

_PROFILE = _mapping(
    "Changes to a person's analytics profile.",
    {
        "set": _values("Properties and their values."),
        "set_once": _values("The same, where the profile has no value yet."),
        "add": _values("Properties and the numbers to add; a repeat adds again."),
        "append": _values("Lists and a value to append; a repeat appends again."),
        "union": _values("Lists and the values that they shall have too."),
        "remove": _values("Lists and a value to remove."),
        "unset": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Properties to remove.",
        },
    },
    minProperties=1,
)

_TABLE_ENTRY = _mapping(
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

_STEP = _mapping(
    "A sink and what to send there.",
    {
        "id": _text("Stable name of the step; by default the sink's. Part of delivery keys."),
        "sink": {
            "anyOf": [
                _text("The sink's name."),
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ],
            "description": "The sink's name; for analytics and requests also a list of sinks.",
        },
        "template": _text("The template, if not the route's."),
        "with": _values("Template variables and their values."),
        "request": _REQUEST,
        "track": _TRACK,
        "distinct_id": _DISTINCT_ID,
        "properties": _values("The tracked event's properties."),
        "map": {
            # A file that !include names is text to an editor.
            "anyOf": [_TABLE, {"type": "string"}],
            "description": "What to track, by event type; the step runs for these types only.",
        },
        "profile": _PROFILE,
        "to": _values(
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
        "fallback_for": _text("Id of the step whose failure starts this one."),
        "causes": {
            "type": "array",
            "items": {"enum": [str(cause) for cause in Cause]},
            "minItems": 1,
            "description": "Which failures start it; by default any.",
        },
        "was": _text("The step's earlier id, so that nothing is sent again after a rename."),
        **_POLICY,
    },
    required=["sink"],
)

_ROUTE = _mapping(
    "What it matches, who receives, which steps.",
    {
        "description": _text("What it is for."),
        "owner": _OWNER,
        "enabled": {"type": "boolean", "default": True, "description": "False switches it off."},
        "match": {"$ref": "#/$defs/condition", "description": "Which events."},
        "recipient": _mapping("The one who receives.", _PERSON, required=["id"]),
        "recipients": _mapping("All who receive.", _PERSON | _LIST, required=["each", "id"]),
        "on_unknown": _ON_UNKNOWN,
        "category": _text("What it is about: a name under categories."),
        "template": _text("The template of all steps that name none."),
        "with": _values("Template variables and their values."),
        "deliver": {
            "type": "array",
            "minItems": 1,
            "description": "The steps.",
            "items": {
                "anyOf": [_text("The sink's name."), {"$ref": "#/$defs/step"}],
            },
        },
        "policy": _mapping("Rules of sending.", _POLICY),
        "was": _text("The route's earlier name, so that nothing is sent again after a rename."),
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
        "when": _text("An expression over the event.", examples=["data.paid < data.due"]),
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
        _mapping(
            "Operators; all must hold.",
            {
                name: {"description": _OPERATORS.get(name, ""), **_operand(name)}
                for name in OPERATOR_NAMES
            },
            minProperties=1,
        ),
    ]
}

_DEFAULTS = _mapping(
    "What holds where a route or step says nothing.",
    {"category": _text("A name under categories."), "owner": _OWNER, "on_unknown": _ON_UNKNOWN}
    | _POLICY,
)

_CATEGORY = _mapping(
    "What notifications are about.",
    {
        "description": _text("What it is, for people."),
        "owner": _OWNER,
        "optional": {"type": "boolean", "default": True, "description": "People may opt out."},
    }
    | _POLICY,
)

ROUTE_DEFINITIONS: dict[str, Any] = {
    "condition": _CONDITION,
    "predicate": _PREDICATE,
    "route": _ROUTE,
    "step": _STEP,
    "defaults": _DEFAULTS,
    "category": _CATEGORY,
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
