"""Routes, steps, events and recipients with sensible defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from router.events import Event, Record
from router.messages import Channel, Target
from router.planning import (
    Cause,
    Content,
    PayloadContent,
    RequestContent,
    Route,
    Ruleset,
    Selection,
    Step,
)
from router.planning.model import InDoubtRule, OnUnknown
from router.problems import Position, Problems, Source
from router.recipients import Recipient
from router.routing import ROOTS, Condition, Path, parse_condition, parse_path
from router.templating import Value, compile_value
from tests.unit.routing.builders import plain_node

NOW = 1_767_323_045.0
AT = Position(Source.of("routes.yaml", ""), 1, 1)


def event(data: Any = None, **fields: Any) -> Event:
    """An event; ``offset`` tells records apart, ``id`` events."""
    offset = fields.pop("offset", 42)
    id = fields.pop("id", "e-1")
    values: dict[str, Any] = {
        "id": id,
        "type": "order.paid",
        "source": "orders",
        "subject": None,
        "time": NOW,
        "data": {} if data is None else data,
        "headers": {},
        "identity": f"orders/{id}",
        "record": Record("orders", 0, offset, NOW, b"key", b"{}"),
    }
    return Event(**values | fields)


def condition(mapping: Mapping[str, Any], roots: Sequence[str] = ("data", "type")) -> Condition:
    problems = Problems()

    def no_expressions(text: str, at: Position, problems: Problems) -> Callable[[Any], Any] | None:
        raise AssertionError("no expression in these tests")

    found = parse_condition(
        plain_node(mapping), problems, compile_expression=no_expressions, roots=roots
    )
    assert found is not None, problems.found
    return found


def path(text: str) -> Path:
    return parse_path(text, ROOTS)


def value(written: Any) -> Value:
    problems = Problems()
    compiled = compile_value(written, AT, problems)
    assert not problems.found, problems.found
    return compiled


def broken() -> Content:
    """Content that can't be rendered: it reads what no event has."""
    return RequestContent(text=value("{{ data.nothing.here }}"))


def selection(each: str | None = None, **fields: Any) -> Selection:
    """Paths as text; ``where`` as a mapping."""
    where = fields.pop("where", None)
    maximum = fields.pop("maximum", 100_000)
    excluded = fields.pop("excluded", None)
    named = fields or {"id": "item" if each else "data.user"}
    return Selection(
        fields={name: path(text) for name, text in named.items()},
        each=path(each) if each else None,
        excluded=path(excluded) if excluded else None,
        where=condition(where, ("item",)) if where else None,
        maximum=maximum,
    )


def step(
    id: str = "mail",
    *,
    sink: str | None = None,
    channel: Channel = Channel.EMAIL,
    address_kind: str = "email",
    content: Content | None = None,
    causes: Sequence[Cause] = (Cause.UNREACHABLE, Cause.REJECTED),
    fallback_for: str | None = None,
    per_recipient: bool = True,
    to: Target | None = None,
    expires: float | None = None,
    in_doubt: InDoubtRule = "resend",
    was: str | None = None,
) -> Step:
    return Step(
        id=id,
        sink=sink or id,
        channel=channel,
        address_kind=address_kind,
        content=content or PayloadContent(),
        at=AT,
        was=was,
        per_recipient=per_recipient,
        to=to,
        fallback_for=fallback_for,
        causes=frozenset(causes if fallback_for else ()),
        expires=expires,
        in_doubt=in_doubt,
    )


def request_step(id: str = "hook", **fields: Any) -> Step:
    """Runs once per event, and needs no address."""
    given = {"channel": Channel.REQUEST, "address_kind": "request", "per_recipient": False}
    return step(id, **given | fields)


def route(
    *steps: Step,
    id: str = "paid",
    match: Mapping[str, Any] | None = None,
    select: Selection | None = None,
    on_unknown: OnUnknown = "dead_letter",
    was: str | None = None,
) -> Route:
    personal = any(s.per_recipient for s in steps)
    return Route(
        id=id,
        match=condition(match or {"type": "order.paid"}),
        steps=steps,
        at=AT,
        was=was,
        selection=select or (selection() if personal else None),
        on_unknown=on_unknown,
    )


def rules(*routes: Route, hash: str = "1") -> Ruleset:
    return Ruleset.build(routes, {}, None, hash)


def person(id: str = "u-1", **fields: Any) -> Recipient:
    """Somebody with an address of every kind, unless told otherwise."""
    values: dict[str, Any] = {"email": f"{id}@example.org", "telegram": "1001"}
    return Recipient(id=id, **values | fields)
