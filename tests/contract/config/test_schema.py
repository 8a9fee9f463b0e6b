"""The JSON Schemas: they accept what loads, and name what the loader knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from router.authoring.schema import Kind, json_schema, schema
from router.config import CODES
from router.config.defaults import CATEGORY_KEYS, DEFAULT_KEYS, POLICY_KEYS
from router.config.documents import read_document
from router.config.lines import STEP_KEYS
from router.config.routes import ROUTE_KEYS
from router.config.sections import ROUTER_KEYS
from router.nodes import Node
from router.problems import Problems, Source
from router.routing import OPERATOR_NAMES

ROOT = Path(__file__).parents[3]
PROJECTS = (ROOT, ROOT / "tests/config/base", ROOT / "tests/config/tenants")
KINDS: tuple[Kind, ...] = ("router", "routes", "env", "template")
ALONE: tuple[Kind, ...] = ("analytics", "tenant")
FILES: list[tuple[Kind, Path]] = [
    (kind, path)
    for project in PROJECTS
    for kind, pattern in (
        ("router", "config/router.yaml"),
        ("routes", "config/routes/*.yaml"),
        ("env", "config/env/*.yaml"),
        ("tenant", "config/tenants/*.yaml"),
        ("analytics", "config/maps/*.yaml"),
        ("template", "templates/*/template.yaml"),
    )
    for path in sorted(project.glob(pattern))
]


def plain(text: str) -> Any:
    """What an editor sees of a file: tagged values are text."""
    problems = Problems()
    node = read_document(Source.of("f", text), text, problems, include=Node).node
    assert not problems.found
    return node.plain()


def complaints(kind: Kind, text: str) -> list[str]:
    found = Draft202012Validator(schema(kind)).iter_errors(plain(text))
    return [f"{error.json_path}: {error.message}" for error in found]


@pytest.mark.parametrize("kind", [*KINDS, *ALONE])
def test_each_schema_is_a_schema(kind: Kind) -> None:
    Draft202012Validator.check_schema(schema(kind))


def test_the_whole_is_one_of_the_kinds() -> None:
    assert [one["$id"] for one in json_schema()["oneOf"]] == [schema(k)["$id"] for k in KINDS]


@pytest.mark.parametrize(
    ("kind", "path"), FILES, ids=[path.relative_to(ROOT).as_posix() for _, path in FILES]
)
def test_files_that_load_are_accepted(kind: Kind, path: Path) -> None:
    assert complaints(kind, path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("kind", "text", "place"),
    [
        ("routes", "routes: {r: {match: {type: a}, deliver: [m], descripton: x}}", "$.routes.r"),
        ("routes", "routes: {r: {match: {type: a}}}", "$.routes.r"),
        ("routes", "routes: {r: {match: {a: {'>=': 5}}, deliver: [m]}}", "$.routes.r.match.a"),
        ("routes", "routes: {r: {match: {}, deliver: [m]}}", "$.routes.r.match"),
        ("routes", "routes: {r: {match: {type: a}, deliver: [{id: x}]}}", "$.routes.r.deliver[0]"),
        ("router", "sources: {}\nsinks: {}\n", "$"),
        (
            "router",
            "sources: {}\nledger: {type: memory}\nsinks: {m: {type: smtp, hots: x}}\n",
            "$.sinks.m",
        ),
        (
            "router",
            "sources: {}\nledger: {type: memory}\nsinks: {m: {type: smpt}}\n",
            "$.sinks.m.type",
        ),
        ("env", "sinks: {m: {hots: x}}\n", "$.sinks.m"),
        ("template", "locales: {require: [en]}\n", "$.locales"),
        ("tenant", "sinks: {m: {hots: x}}\n", "$.sinks.m"),
        ("tenant", "sinks: {m: {type: smtp}}\n", "$.sinks.m"),
        ("tenant", "brand: {colors: [a]}\n", "$.brand.colors"),
        ("env", "tenants: {named: {acme: {brnad: {}}}}\n", "$.tenants.named.acme"),
    ],
)
def test_mistakes_are_shown_where_they_are(kind: Kind, text: str, place: str) -> None:
    assert any(found.startswith(f"{place}: ") for found in complaints(kind, text))


@pytest.mark.parametrize(
    "text",
    [
        "sinks: {m: null, n: {timeout: null, concurrency: '${N}'}}\ndivert: null\n",
        "tenants: {named: {acme: null, globex: {sinks: {m: {host: null}}}}}\n",
        "x-anchors: {a: 1}\nlogs: {x-note: 1, level: debug}\n",
    ],
)
def test_overlays_may_remove_and_leave_out(text: str) -> None:
    assert complaints("env", text) == []


def test_schema_and_loader_know_the_same_keys() -> None:
    definitions = schema("routes")["$defs"]
    assert set(definitions["route"]["properties"]) == set(ROUTE_KEYS)
    assert set(definitions["step"]["properties"]) == set(STEP_KEYS)
    assert set(definitions["defaults"]["properties"]) == set(DEFAULT_KEYS)
    assert set(definitions["category"]["properties"]) == set(CATEGORY_KEYS)
    policy = definitions["route"]["properties"]["policy"]
    assert set(policy["properties"]) == set(POLICY_KEYS)
    assert set(schema("router")["properties"]) == set(ROUTER_KEYS)
    assert set(schema("env")["properties"]) == set(ROUTER_KEYS)
    operators = definitions["predicate"]["anyOf"][-1]["properties"]
    assert set(operators) == set(OPERATOR_NAMES)
    assert all(operator["description"] for operator in operators.values())


def test_every_option_of_a_sink_is_described() -> None:
    definitions = schema("router")["$defs"]
    for name in ("sinks.smtp", "sinks.telegram", "sinks.webhook", "sinks.http"):
        for key, option in definitions[name]["properties"].items():
            assert option.get("description"), f"{name} {key}"


def test_codes_are_told_in_one_line() -> None:
    for code, meaning in CODES.items():
        assert code[0] in "YRTSE"
        assert meaning.endswith(".")
        assert "\n" not in meaning
