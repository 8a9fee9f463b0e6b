"""Cost of matching one event against 10, 1,000 and 10,000 routes, and the time to build them.

Run ``python benchmarks/match.py``. Routes are spread over event types and tenants, as in a
product with many teams: every one names a type, most a tenant, and the rest of their conditions
is drawn from comparisons, lists, regular expressions and elements of lists.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from router.events import Event, Record
from router.nodes import Entry, Node
from router.problems import Position, Problems, Source
from router.routing import Condition, Matcher, parse_condition

SIZES = (10, 1_000, 10_000)
ROUTES_A_TYPE = 10
EVENTS = 200
SECONDS = 0.4
AT = Position(Source.of("bench", ""), 1, 1)


def node(value: Any) -> Node:
    match value:
        case Mapping():
            return Node({key: Entry(AT, node(item)) for key, item in value.items()}, AT)
        case list():
            return Node(tuple(map(node, value)), AT)
        case _:
            return Node(value, AT)


def parse(value: Mapping[str, Any]) -> Condition:
    problems = Problems()
    condition = parse_condition(node(value), problems, compile_expression=lambda *_: None)
    problems.raise_if_errors()
    assert condition is not None
    return condition


def route(rng: random.Random, types: int) -> dict[str, Any]:
    match: dict[str, Any] = {"type": f"type-{rng.randrange(types)}"}
    if rng.random() < 0.8:
        match["data.tenant"] = f"tenant-{rng.randrange(4)}"
    extra: dict[str, Any] = {
        "data.amount": {"gte": rng.randrange(1000)},
        "data.method": rng.sample(["card", "sbp", "cash", "invoice"], 2),
        "data.email": {"regex": rng.choice(["@acme\\.io$", "^a", "b.*c"])},
        "data.user.country": {"ne": rng.choice(["RU", "KZ", "DE"])},
        "data.items": {"some": {"sku": f"A-{rng.randrange(5)}", "qty": {"gt": 1}}},
        "data.tags[*]": rng.choice(["vip", "new", "late"]),
    }
    for path in rng.sample(sorted(extra), rng.randrange(4)):
        match[path] = extra[path]
    return match


def event(rng: random.Random, types: int) -> Event:
    data = {
        "tenant": f"tenant-{rng.randrange(4)}",
        "amount": rng.randrange(1000),
        "method": rng.choice(["card", "sbp", "cash", "invoice"]),
        "email": "ann@acme.io",
        "user": {"country": "RU", "id": "u-1"},
        "items": [{"sku": f"A-{rng.randrange(5)}", "qty": rng.randrange(4)}],
        "tags": ["vip"],
    }
    name = f"type-{rng.randrange(types)}"
    return Event("e", name, "s", None, 0.0, data, {}, "e", Record("t", 0, 0, 0.0, None, b""))


def microseconds(work: Callable[[Event], object], events: list[Event]) -> float:
    """The best of three runs, per event."""
    best = float("inf")
    for _ in range(3):
        rounds, start = 0, perf_counter()
        while (spent := perf_counter() - start) < SECONDS / 3:
            for one in events:
                work(one)
            rounds += 1
        best = min(best, spent / (rounds * len(events)))
    return best * 1e6


def main() -> None:
    print(
        f"{'routes':>8} {'parse s':>9} {'build s':>9} {'us/event':>9} {'matches':>8} {'shapes':>7}"
    )
    for size in SIZES:
        rng = random.Random(7)
        types = max(1, size // ROUTES_A_TYPE)
        texts = [route(rng, types) for _ in range(size)]
        events = [event(rng, types) for _ in range(EVENTS)]
        start = perf_counter()
        conditions = [parse(text) for text in texts]
        parsed = perf_counter()
        matcher = Matcher.build(enumerate(conditions))
        built = perf_counter()
        cost = microseconds(matcher.match, events)
        matches = sum(len(matcher.match(one)) for one in events) / len(events)
        print(
            f"{size:>8,} {parsed - start:>9.2f} {built - parsed:>9.2f} {cost:>9.2f} "
            f"{matches:>8.2f} {len(matcher.sources):>7}"
        )


if __name__ == "__main__":
    main()
