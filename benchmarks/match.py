"""Cost of matching one event against 10, 1,000 and 10,000 routes, and the time to build them.

Run ``python benchmarks/match.py``. Ten routes stand on every event type; most name a tenant, and
the rest of their conditions is drawn from comparisons, lists, regular expressions and elements of
lists. "one type" sends events of the first type only, whose ten routes are the same at every
size, so it shows what the other routes cost; "all types" sends every type, so it also shows what
caches of the processor do. "unwanted" is an event that no route wants, "skipped" the question
whether to decode it at all.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from time import process_time
from typing import Any

from router.events import Event, Record
from router.nodes import Entry, Node
from router.problems import Position, Problems, Source
from router.routing import Condition, Matcher, parse_condition

SIZES = (10, 1_000, 10_000)
ROUTES_A_TYPE = 10
EVENTS = 200
SECONDS = 0.4
RECORD = Record("topic", 0, 0, 0.0, None, b"")
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


def route(rng: random.Random, type_number: int) -> dict[str, Any]:
    match: dict[str, Any] = {"type": f"type-{type_number}"}
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


def event(rng: random.Random, type_name: str) -> Event:
    data = {
        "tenant": f"tenant-{rng.randrange(4)}",
        "amount": rng.randrange(1000),
        "method": rng.choice(["card", "sbp", "cash", "invoice"]),
        "email": "ann@acme.io",
        "user": {"country": "RU", "id": "u-1"},
        "items": [{"sku": f"A-{rng.randrange(5)}", "qty": rng.randrange(4)}],
        "tags": ["vip"],
    }
    return Event("e", type_name, "s", None, 0.0, data, {}, "e", RECORD)


def microseconds(work: Callable[[Event], object], events: list[Event]) -> float:
    """Processor time per event, the best of five runs."""
    best = float("inf")
    for _ in range(5):
        rounds, start = 0, process_time()
        while (spent := process_time() - start) < SECONDS / 5:
            for one in events:
                work(one)
            rounds += 1
        best = min(best, spent / (rounds * len(events)))
    return best * 1e6


def measure(size: int) -> str:
    rng = random.Random(7)
    texts = [route(rng, number // ROUTES_A_TYPE) for number in range(size)]
    types = size // ROUTES_A_TYPE
    first = [event(rng, "type-0") for _ in range(EVENTS)]
    every = [event(rng, f"type-{rng.randrange(types)}") for _ in range(EVENTS)]
    unwanted = [event(rng, "unheard") for _ in range(EVENTS)]

    start = process_time()
    conditions = [parse(text) for text in texts]
    parsed = process_time()
    matcher = Matcher.build(enumerate(conditions))
    built = process_time()
    matches = sum(len(matcher.match(one)) for one in every) / len(every)
    costs = [
        microseconds(matcher.match, first),
        microseconds(matcher.match, every),
        microseconds(matcher.match, unwanted),
        microseconds(lambda one: matcher.wants("topic", one.type), unwanted),
    ]
    return (
        f"{size:>7,}{parsed - start:>9.2f}{built - parsed:>9.2f}"
        + "".join(f"{cost:>11.2f}" for cost in costs)
        + f"{matches:>9.2f}{len(matcher.sources):>8}"
    )


def main() -> None:
    names = ("one type", "all types", "unwanted", "skipped")
    print(" " * 25 + "us per event".rjust(11 * len(names)))
    columns = "".join(name.rjust(11) for name in names)
    print(f"{'routes':>7}{'parse s':>9}{'build s':>9}{columns}{'matches':>9}{'shapes':>8}")
    for size in SIZES:
        print(measure(size), flush=True)


if __name__ == "__main__":
    main()
