"""JSON Schemas of the configuration files, for editors.

Components (those of installed plugins too) and settings come from their pydantic models, so that
schema and validation never disagree; routes and conditions, which have parsers of their own, are
described here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from router import directories, ledger, sinks, sources
from router.authoring.route_schema import ANALYTICS_FILE, ROUTE_DEFINITIONS, ROUTES_FILE
from router.authoring.sample_schema import SAMPLE_FILE, people_schema
from router.authoring.template_schema import TEMPLATE_FILE
from router.config.sections import SETTINGS, UNDIVERTED
from router.config.tenants import OVERLAID
from router.kinds import Kinds
from router.messages import Channel

Kind = Literal["router", "routes", "env", "tenant", "analytics", "template", "sample", "people"]
Schema: TypeAlias = dict[str, Any]

FILES: Mapping[Kind, str] = {
    "router": "router.json",
    "routes": "routes.json",
    "env": "overlay.json",
    "tenant": "tenant.json",
    "analytics": "analytics.json",
    "template": "template.json",
    "sample": "sample.json",
    "people": "people.json",
}
"""What each schema is called beside the others."""

KINDS: tuple[Kind, ...] = tuple(FILES)

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_COMPONENTS: dict[str, tuple[Kinds, str]] = {
    "sources": (sources.KINDS, "Where records come from, by name."),
    "sinks": (sinks.KINDS, "Where messages go, by name."),
    "ledger": (ledger.KINDS, "The durable record of deliveries."),
    "directory": (directories.KINDS, "Where recipients' profiles come from."),
}
_NAMED = ("sources", "sinks")
_SETTINGS_TEXT = {
    "delivery": "How much work is under way at once, and how it ends.",
    "dead_letters": "Where dead letters go.",
    "feedback": "Tells others what became of deliveries; without it nobody is told.",
    "admin": "The admin server, and the listener of probes and metrics.",
    "logs": "Logs on standard error.",
}
_BRAND: Schema = {
    "description": "What templates read as brand: for all, and below each tenant's own.",
    "type": "object",
    "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
    "additionalProperties": {"type": ["string", "number", "boolean"]},
    "examples": [{"name": "Acme", "support": "help@acme.example"}],
}
_TENANTS: Schema = {
    "description": "Whom the router sends for, each with a file of its own.",
    "type": "object",
    "properties": {
        "by": {
            "type": "string",
            "description": "Where an event names its tenant.",
            "examples": ["data.tenant"],
        },
        "default": {
            "type": "string",
            "description": "Whose an event is that names none. Without it such an event is a dead"
            " letter.",
        },
        "include": {
            "description": "Files of tenants, relative to router.yaml; each is called as its file"
            " is.",
            "type": "array",
            "items": {"type": "string"},
            "examples": [["tenants/*.yaml"]],
        },
    },
    "required": ["by", "include"],
    "additionalProperties": False,
}
_REMOVED: Schema = {
    "description": "What becomes of deliveries that still wait for sinks which were taken out, by"
    " the sink's name: dead_letter, or the sink that sends them instead.",
    "type": "object",
    "additionalProperties": {
        "anyOf": [
            {"const": "dead_letter"},
            {
                "type": "object",
                "properties": {
                    "move": {
                        "type": "string",
                        "description": "A sink of the same type, which sends them instead.",
                    }
                },
                "required": ["move"],
                "additionalProperties": False,
            },
        ]
    },
    "examples": [{"old-mail": {"move": "mail"}, "pager": "dead_letter"}],
}
_VARIABLE: Schema = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-.*)?\}"}


def schema(kind: Kind) -> Schema:
    """The JSON Schema (2020-12) of one kind of file.

    Args:
        kind: ``router`` is router.yaml, ``routes`` a file that it includes, ``env`` an overlay,
            ``tenant`` a tenant's file, ``analytics`` a table that a route includes,
            ``template`` a template.yaml, ``sample`` one of its samples, ``people`` a file of
            people.
    """
    builders: Mapping[Kind, Callable[[], Schema]] = {
        "router": _router,
        "routes": lambda: {**ROUTES_FILE, "$defs": ROUTE_DEFINITIONS},
        "env": _overlay,
        "tenant": _tenant,
        "analytics": lambda: ANALYTICS_FILE,
        "template": lambda: TEMPLATE_FILE,
        "sample": lambda: SAMPLE_FILE,
        "people": people_schema,
    }
    head = {"$schema": DIALECT, "$id": FILES[kind]}
    built = builders[kind]()
    # Samples and people are data: no variables and no anchors' keys.
    return head | (built if kind in ("sample", "people") else _for_editors(built))


def json_schema() -> Schema:
    """One schema for every kind of configuration file; each part is also whole by itself."""
    kinds: tuple[Kind, ...] = ("router", "routes", "env", "template")
    return {"$schema": DIALECT, "oneOf": [schema(kind) for kind in kinds]}


def schema_text(kind: Kind) -> str:
    """The schema as the text of a file."""
    return json.dumps(schema(kind), indent=2, ensure_ascii=False) + "\n"


def _router() -> Schema:
    definitions = _definitions()
    properties = _plain_sections()
    for section, (kinds, text) in _COMPONENTS.items():
        one = _component(section, kinds)
        if section in _NAMED:
            one = {"type": "object", "additionalProperties": one}
        properties[section] = {"description": text, **one}
    for section in SETTINGS:
        reference = _reference(section)
        properties[section] = {"description": _SETTINGS_TEXT[section], "$ref": reference}
    return {
        "title": "router.yaml",
        "type": "object",
        "properties": properties,
        "required": ["sources", "ledger", "sinks"],
        "additionalProperties": False,
        "$defs": definitions | ROUTE_DEFINITIONS,
    }


def _overlay() -> Schema:
    """Every part may be left out or be null; a component's type may stand in router.yaml."""
    definitions = _definitions()
    properties = _plain_sections()
    for section, (kinds, text) in _COMPONENTS.items():
        options = _options(section, kinds, definitions)
        options["type"] = {"enum": kinds.usable(), "description": "Another type replaces it whole."}
        one: Schema = {"type": "object", "properties": options, "additionalProperties": False}
        if section in _NAMED:
            one = {"type": "object", "additionalProperties": one}
        properties[section] = {"description": text, **one}
    for section in SETTINGS:
        reference = _reference(section)
        properties[section] = {"description": _SETTINGS_TEXT[section], "$ref": reference}
    tenants: Schema = properties["tenants"]
    named: Schema = {
        "description": "What this environment changes of single tenants, by name; null leaves one"
        " out.",
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "properties": _tenant_properties(definitions),
            "additionalProperties": False,
        },
    }
    properties["tenants"] = tenants | {"properties": tenants["properties"] | {OVERLAID: named}}
    whole: Schema = {
        "title": "env/NAME.yaml",
        "description": "Laid over router.yaml: maps merge, lists replace, null removes, a new name "
        "needs !new.",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "$defs": definitions | ROUTE_DEFINITIONS,
    }
    return _nullable(whole)


def _tenant() -> Schema:
    """A tenant's file: values of its own, over the project's."""
    definitions = _definitions()
    properties = _tenant_properties(definitions)
    sinks_of = properties["sinks"]
    sinks_of["additionalProperties"] = _nullable(sinks_of["additionalProperties"])
    return {
        "title": "tenants/NAME.yaml",
        "description": "A tenant, called as its file is.",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "$defs": {name: _nullable(one) for name, one in definitions.items()},
    }


def _tenant_properties(definitions: Schema) -> dict[str, Schema]:
    kinds, _ = _COMPONENTS["sinks"]
    options = _options("sinks", kinds, definitions)
    del options["type"]
    override: Schema = {
        "type": "object",
        "properties": options,
        "additionalProperties": False,
    }
    return {
        "description": {"type": "string", "description": "Who it is."},
        "brand": _BRAND | {"description": "Over the project's brand, value by value."},
        "sinks": {
            "description": "Options of its own, by sink: maps merge, lists replace, null removes."
            " The tenant then has this sink to itself.",
            "type": "object",
            "additionalProperties": override,
        },
    }


def _options(section: str, kinds: Kinds, definitions: Schema) -> Schema:
    """The options of all kinds together."""
    options: Schema = {}
    for name in kinds.usable():
        options |= definitions[_definition_name(section, name)]["properties"]
    return options


def _nullable(given: Schema) -> Schema:
    """The same schema, with null allowed and nothing compulsory; lists replace, so their items
    stay as they are."""
    found = {key: value for key, value in given.items() if key != "required"}
    for key in ("properties", "$defs"):
        if key in found:
            found[key] = {name: _nullable(one) for name, one in found[key].items()}
    if isinstance(found.get("additionalProperties"), dict):
        found["additionalProperties"] = _nullable(found["additionalProperties"])
    if "anyOf" in found:
        found["anyOf"] = [*found["anyOf"], {"type": "null"}]
    if "enum" in found:
        found["enum"] = [*found["enum"], None]
    if "type" in found:
        found["type"] = [*_types(found), "null"]
    return found


def _types(one: Schema) -> list[str]:
    kind: str | list[str] = one.get("type", [])
    return [kind] if isinstance(kind, str) else kind


def _plain_sections() -> dict[str, Schema]:
    channels = {
        str(channel): {
            "type": "string",
            "description": f"Where {channel} messages go instead: an address, or suppress.",
        }
        for channel in Channel
    }
    kinds = {
        kind: {
            "type": "string",
            "description": f"Where messages to {kind} addresses go instead, before the channel's:"
            " an address, or suppress.",
        }
        for kind in _address_kinds()
    }
    return {
        "production": {
            "type": "boolean",
            "default": False,
            "description": "This environment reaches real people.",
        },
        "include": {
            "description": "Route files, relative to router.yaml.",
            "type": "array",
            "items": {"type": "string"},
            "examples": [["routes/*.yaml"]],
        },
        "templates": {
            "description": "The templates' folder, relative to router.yaml.",
            "type": "string",
            "default": "../templates",
        },
        "categories": {
            "description": "What notifications are about: owners, preferences, defaults.",
            "type": "object",
            "additionalProperties": {"$ref": "#/$defs/category"},
        },
        "defaults": {"$ref": "#/$defs/defaults"},
        "brand": _BRAND,
        "tenants": _TENANTS,
        "removed": _REMOVED,
        "divert": {
            "description": "Sends real messages elsewhere, by channel or kind of address.",
            "type": "object",
            "properties": kinds | channels,
            "additionalProperties": False,
            "examples": [{"email": "qa@acme.io", "telegram": "-1001555", "push": "suppress"}],
        },
    }


def _address_kinds() -> list[str]:
    """Kinds of address that the installed sinks send to and that can be diverted by themselves."""
    loaded = [sinks.KINDS.load(name) for name in sinks.KINDS.usable()]
    return sorted({kind.address_kind for kind in loaded} - UNDIVERTED)


def _component(section: str, kinds: Kinds) -> Schema:
    """Chosen by ``type``, as the loader does."""
    names = kinds.usable()
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"description": "The kind.", "enum": names}},
        "allOf": [
            {
                "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
                "then": {"$ref": f"#/$defs/{_definition_name(section, name)}"},
            }
            for name in names
        ],
    }


def _definition_name(section: str, name: str) -> str:
    return f"{section}.{name}"


def _reference(section: str) -> str:
    return f"#/$defs/{section}"


def _definitions() -> dict[str, Schema]:
    """Every model, the components' own under ``section.kind``."""
    models: dict[str, type[BaseModel]] = dict(SETTINGS)
    for section, (kinds, _) in _COMPONENTS.items():
        for name in kinds.usable():
            models[_definition_name(section, name)] = kinds.load(name).config
    references, generated = models_json_schema(
        [(model, "validation") for model in models.values()], ref_template="#/$defs/{model}"
    )
    definitions: dict[str, Schema] = dict(generated["$defs"])
    for name, model in models.items():
        reference: str = references[(model, "validation")]["$ref"]
        definitions[name] = definitions[reference.removeprefix("#/$defs/")]
    return definitions


_VALUES = frozenset({"default", "examples", "enum", "const", "required"})


def _for_editors(node: Any) -> Any:
    """Lets ``x-`` keys hold anchors, and ``${NAME}`` stand for any scalar."""
    if isinstance(node, list):
        items: list[Any] = node
        return [_for_editors(item) for item in items]
    if not isinstance(node, dict):
        return node
    given: Schema = node
    found: Schema = {}
    for key, value in given.items():
        if key in ("properties", "$defs"):
            found[key] = {name: _for_editors(one) for name, one in value.items()}
        else:
            found[key] = value if key in _VALUES else _for_editors(value)
    if found.get("additionalProperties") is False:
        found.setdefault("patternProperties", {"^x-": True})
    scalars = set(_types(found)) - {"object", "array", "null"}
    is_narrow = "pattern" in found or "enum" in found or "string" not in scalars
    if is_narrow and (scalars or "enum" in found):
        said = {key: found.pop(key) for key in ("description", "default") if key in found}
        return said | {"anyOf": [found, _VARIABLE]}
    return found
