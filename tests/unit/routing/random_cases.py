"""Random conditions and events from small pools, so that they often meet."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

from router.events import Event
from tests.unit.routing.builders import event

TYPES = ("payment.failed", "payment.succeeded", "board.shared", "")
TOPICS = ("payments", "boards")
NAMES = ("a", "b", "0", "a.b", "items")
TEXTS = ("", "a", "A", "ab", "card", "10.0.0.7", "::1", "payment.failed", "ß", "SS", "1", "\ud800")
NUMBERS = (0, 1, 1.0, -1, 2.5, 10**30, 1e308, -0.0)
CONSTANTS = (True, False, None)
ODDITIES = (math.nan, math.inf, 10**400, Decimal("1"), Decimal("NaN"), Decimal("sNaN"))
STEPS = (".a", ".b", ".0", '."0"', '."a.b"', ".items", "[*]", ".1")
EVENT_PATHS = ("topic", "type", "key", "subject", "headers.a", 'headers."a.b"')
WHENS = ("data['a'] == 1", "type > 'c'", "data > 0", "True")


def literal(rng: Random) -> Any:
    return rng.choice(rng.choice((TEXTS, NUMBERS, CONSTANTS)))


def literals(rng: Random) -> list[Any]:
    return [literal(rng) for _ in range(rng.randint(1, 3))]


def text(rng: Random) -> str:
    return rng.choice(TEXTS[1:-1])


def ordered(rng: Random) -> Any:
    return rng.choice((text(rng), rng.choice(NUMBERS)))


OPERANDS: dict[str, Callable[[Random], Any]] = {
    **dict.fromkeys(("eq", "ne"), literal),
    **dict.fromkeys(("in", "not_in", "any_of", "all_of", "none_of"), literals),
    **dict.fromkeys(("gt", "gte", "lt", "lte"), ordered),
    **dict.fromkeys(("prefix", "suffix", "contains"), text),
    "glob": lambda rng: rng.choice(("*", "a?", "[a-c]*", "pay*ed", "[!a]")),
    "regex": lambda rng: rng.choice(("a", "^a", "b$", "(?i)card", r"^\d+", ".")),
    "exists": lambda rng: rng.random() < 0.5,
    "cidr": lambda rng: rng.choice(("10.0.0.0/8", ["192.168.0.0/16", "::/64"], "::1")),
    "ignore_case": lambda rng: rng.choice((text(rng), [text(rng), text(rng)])),
}

AIMED: dict[str, tuple[str, ...]] = {
    "data.text": (
        "prefix",
        "suffix",
        "contains",
        "glob",
        "regex",
        "ignore_case",
        "gt",
        "lte",
        "eq",
    ),
    "data.number": ("gt", "gte", "lt", "lte", "eq", "in", "ne"),
    "data.address": ("cidr", "regex"),
    "data.list": ("any_of", "all_of", "none_of", "some", "every", "exists"),
    "data.list[*]": ("eq", "ne", "in", "not_in", "gt", "prefix", "regex", "ignore_case"),
    "data.rows": ("some", "every"),
    "data.rows[*].a": ("eq", "not_in", "gte", "contains", "exists"),
    "data.rows[*]": ("some", "every"),
}
"""Paths whose values :func:`payload` makes fit for these operators."""


def payload(rng: Random) -> dict[str, Any]:
    small = [rng.choice((1, 1.0, "a", "ab", True, None, "card")) for _ in range(rng.randint(0, 3))]
    rows = [{"a": literal(rng), "b": rng.choice((1, "a"))} for _ in range(rng.randint(0, 3))]
    fields: dict[str, Any] = {
        "text": rng.choice(TEXTS),
        "number": rng.choice((*NUMBERS, Decimal("2.5"), Decimal(1), Decimal("NaN"))),
        "address": rng.choice(("10.0.0.7", "192.168.1.1", "::1", "::ffff:10.1.1.1", "::g")),
        "list": small,
        "rows": rows if rng.random() < 0.7 else [rows],
    }
    return {name: fields[name] for name in fields if rng.random() < 0.9}


def aimed(rng: Random) -> tuple[str, Any]:
    """A path of the payload and an operator that may well hold there."""
    target = rng.choice(sorted(AIMED))
    operator = rng.choice(AIMED[target])
    if operator in OPERANDS:
        return target, {operator: OPERANDS[operator](rng)}
    about = rng.choice(("item", "item.a", "item.b"))
    return target, {operator: {about: rng.choice((1, "a", ["a", 1, True], {"exists": True}))}}


def value(rng: Random, depth: int = 3) -> Any:
    """A payload or a part of one."""
    kind = rng.random()
    if depth == 0 or kind < 0.35:
        return rng.choice(ODDITIES) if rng.random() < 0.1 else literal(rng)
    if kind < 0.65:
        return [value(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    names = rng.sample(NAMES, rng.randint(0, len(NAMES)))
    return {name: value(rng, depth - 1) for name in names}


def path(rng: Random, root: str) -> str:
    if root == "data" and rng.random() < 0.3:
        return rng.choice(EVENT_PATHS)
    return root + "".join(rng.choices(STEPS, k=rng.choice((0, 1, 1, 1, 2, 2, 3))))


def expectation(rng: Random, *, nested: bool) -> Any:
    """What stands behind a path."""
    kind = rng.random()
    if kind < 0.25:
        return literal(rng)
    if kind < 0.4:
        return literals(rng)
    if kind < 0.55 and not nested:
        return {rng.choice(("some", "every")): mapping(rng, "item", depth=1)}
    names = rng.sample(sorted(OPERANDS), rng.choice((1, 1, 1, 2)))
    return {name: OPERANDS[name](rng) for name in names}


def mapping(rng: Random, root: str = "data", depth: int = 2) -> dict[str, Any]:
    """A condition as an operator writes it."""
    nested = root == "item"
    found = {
        path(rng, root): expectation(rng, nested=nested) for _ in range(rng.choice((1, 1, 2, 3)))
    }
    if not nested and rng.random() < 0.6:
        found = dict(aimed(rng) for _ in range(rng.choice((1, 1, 2))))
    if not nested and rng.random() < 0.1:
        found["when"] = rng.choice(WHENS)
    if depth and rng.random() < 0.35:
        name = rng.choice(("any", "all", "not"))
        several = [mapping(rng, root, depth - 1) for _ in range(rng.randint(1, 3))]
        found[name] = several[0] if name == "not" else several
    return found


def route(rng: Random) -> dict[str, Any]:
    """Any condition, most of them behind equalities as real routes are."""
    found = mapping(rng) if rng.random() < 0.7 else {}
    if not found or rng.random() < 0.6:
        found["type"] = rng.choice(TYPES) if rng.random() < 0.7 else rng.sample(TYPES, 2)
        if rng.random() < 0.3:
            found["topic"] = rng.choice(TOPICS)
        if rng.random() < 0.6:
            found["data.a"] = literal(rng) if rng.random() < 0.6 else literals(rng)
    return found


def random_event(rng: Random) -> Event:
    names = rng.sample(NAMES, rng.randint(1, len(NAMES)))
    data = {**payload(rng), **{name: value(rng) for name in names}}
    if rng.random() < 0.1:
        data = value(rng)
    return event(
        data,
        type=rng.choice((*TYPES, "a")),
        topic=rng.choice((*TOPICS, "other")),
        key=rng.choice((None, b"a", b"card")),
        subject=rng.choice((None, "a")),
        headers={name: rng.choice(TEXTS) for name in rng.sample(NAMES, rng.randint(0, 2))},
    )
