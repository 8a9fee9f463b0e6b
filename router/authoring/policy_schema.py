"""The parts of the schema about policies: what every level may say, and what steps may."""

from __future__ import annotations

from typing import Any

from router.authoring.schema_parts import mapping, text
from router.config.defaults import BYPASSES, IN_DOUBT
from router.config.policies import ORDERS, PRIORITIES, THENS
from router.config.route_policies import MODES

_DURATION = {"pattern": r"^(0|(\d+(\.\d+)?(ms|s|m|h|d|w))+)$"}
_OFF: dict[str, Any] = {"const": "none", "description": "Switches off what is inherited."}


def _or_none(description: str, one: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [one, _OFF], "description": description}


def _duration(description: str, *examples: str) -> dict[str, Any]:
    return text(description, **_DURATION, examples=list(examples))


_SAME: dict[str, Any] = {
    "anyOf": [
        text("A path into both events."),
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1},
    ],
    "description": "Paths whose values are equal in both events; as a mapping, own paths to "
    "those of the other event.",
    "examples": ["data.subscription_id", {"data.id": "data.subscription.id"}],
}
_WITHIN = _duration(
    "For how long after the event the other one counts; by default 24h, or for as long as a "
    "message can be kept back.",
    "1h",
)

_DELAY = _duration("Sent no earlier than so long after the event; 0s is at once.", "5m")
_QUIET_HOURS = _or_none(
    "A part of the day at which people are left alone.",
    mapping(
        "From one time of day to another, over midnight too.",
        {
            "from": text("Time of day at which they begin.", examples=["22:00"]),
            "to": text("Time of day at which they end.", examples=["08:00"]),
            "timezone": text(
                "The recipient's own, or a zone such as Europe/Moscow for everybody.",
                default="recipient",
            ),
            "otherwise": text(
                "The zone of people of whom none is known.",
                default="UTC",
                examples=["Europe/Moscow"],
            ),
            "then": {
                "enum": list(THENS),
                "default": "hold",
                "description": "What becomes of messages: hold until the end, or suppress.",
            },
        },
        required=["from", "to"],
    ),
)
_ORDERING = {
    "enum": list(ORDERS),
    "default": "none",
    "description": "key sends the messages of one Kafka key one after the other, in the order of "
    "their events.",
}
_PRIORITY = {
    "enum": list(PRIORITIES),
    "default": "normal",
    "description": "Whose turn it is where a sink has more to send than it can.",
}
_EXPIRES = text(
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
_STEP: dict[str, Any] = {
    "expires": _EXPIRES,
    "in_doubt": _IN_DOUBT,
    "delay": _DELAY,
    "quiet_hours": _QUIET_HOURS,
    "ordering": _ORDERING,
    "priority": _PRIORITY,
}

_DEDUPE = _or_none(
    "The first message of a key is sent to a person, the others are not.",
    mapping(
        "What counts as the same, and for how long.",
        {
            "key": text("Path of the value that is compared.", examples=["data.board_id"]),
            "window": _duration("For how long after the first.", "10m"),
        },
        required=["key", "window"],
    ),
)
_THROTTLE = _or_none(
    "At most so many notifications to one person. In a category all of its routes count "
    "together, in the defaults of router.yaml all routes; all throttles that apply must grant.",
    mapping(
        "How many in how long.",
        {
            "limit": {
                "type": "integer",
                "minimum": 1,
                "description": "So many notifications, on however many channels and devices.",
            },
            "per": _duration("Within so long.", "1d"),
            "by": text(
                "What counts apart: recipient, category (with the routes of the same category), "
                "or a path, whose values are counted one by one.",
                default="recipient",
                examples=["category", "data.board_id"],
            ),
        },
        required=["limit", "per"],
    ),
)
_DIGEST = _or_none(
    "Events are collected for a person and told of in one message.",
    mapping(
        "How they are collected.",
        {
            "key": text(
                "Path: events of one value are told of together; by default all of the route.",
                examples=["data.board_id"],
            ),
            "window": _duration("The digest closes so long after its first event.", "15m"),
            "max": {
                "type": "integer",
                "minimum": 1,
                "default": 100,
                "description": "So many events close it at once.",
            },
            "extend": {
                "type": "boolean",
                "default": False,
                "description": "Each further event moves the end to window from then.",
            },
            "at_most": _duration("With extend: the longest that it takes.", "1h"),
        },
        required=["window"],
    ),
)
_CANCEL_ON = _or_none(
    "Another event that makes what is not sent yet pointless.",
    mapping(
        "Which event, and what ties it to this one.",
        {
            "match": {"$ref": "#/$defs/condition", "description": "Which events."},
            "same": {"$ref": "#/$defs/policy.same"},
            "within": _WITHIN,
        },
        required=["match", "same"],
    ),
)
_ROUTE: dict[str, Any] = {
    "dedupe": _DEDUPE,
    "throttle": _THROTTLE,
    "digest": _DIGEST,
    "cancel_on": _CANCEL_ON,
}


def _by_name(name: str) -> str:
    return f"policy.{name}"


POLICY_DEFINITIONS: dict[str, Any] = {
    _by_name(name): one for name, one in (_STEP | _ROUTE).items()
} | {_by_name("same"): _SAME}
STEP_POLICY: dict[str, Any] = {name: {"$ref": f"#/$defs/{_by_name(name)}"} for name in _STEP}
"""Policies that every level may hold, steps too."""
POLICY: dict[str, Any] = STEP_POLICY | {
    name: {"$ref": f"#/$defs/{_by_name(name)}"} for name in _ROUTE
}
"""Policies of routes, and of the levels above them."""

UNLESS_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "An event that makes this step pointless, such as that the one before was "
    "seen: a condition, with same and within beside it.",
    "properties": {
        "type": {"$ref": "#/$defs/predicate", "description": "The event's type."},
        "same": {"$ref": "#/$defs/policy.same"},
        "within": _WITHIN,
    },
    "required": ["same"],
    "additionalProperties": {
        "anyOf": [{"$ref": "#/$defs/predicate"}, {"type": ["array", "object", "string"]}]
    },
    "examples": [{"type": "push.opened", "same": "data.payment_id"}],
}
AFTER = _duration("With cause unsettled: so long after the step before was free to go.", "10m")

ROUTE_MODE: dict[str, Any] = {
    "mode": {
        "enum": list(MODES),
        "default": "live",
        "description": "shadow plans and counts, and sends nothing; off does not even match.",
    },
    "rollout": mapping(
        "Sends to a part only, to the same ones each time.",
        {
            "percent": {"type": "number", "minimum": 0, "maximum": 100, "description": "How many."},
            "by": text(
                "What is drawn: the recipient, or the value at a path.",
                default="recipient",
                examples=["data.team_id"],
            ),
        },
        required=["percent"],
    ),
}
BYPASS: dict[str, Any] = {
    "type": "array",
    "items": {"enum": list(BYPASSES)},
    "description": "What its notifications pass by.",
    "examples": [["preferences", "quiet_hours", "throttle"]],
}
