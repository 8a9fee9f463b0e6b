"""Requests that routes describe in YAML, and events as they are."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from router.messages import Channel, Message, Request
from router.planning import Delivery, RequestContent, layout_of, plan, render
from router.templating import RenderError
from tests.unit.planning.builders import NOW, event, request_step, route, value


def delivery(data: Any = None, content: RequestContent | None = None, **fields: Any) -> Delivery:
    made = route(request_step(content=content))
    (planned,) = plan(made, event(data, **fields), (), ()).deliveries
    return planned


def rendered(data: Any = None, **fields: Any) -> Request:
    message: Message = render(delivery(data, RequestContent(**fields)), {}, NOW)
    assert isinstance(message, Request)
    return message


def test_an_event_as_it_is() -> None:
    message = render(delivery({"amount": 5}, time=NOW + 0.25), {}, NOW)
    assert isinstance(message, Request)
    assert orjson.loads(message.body or b"") == {
        "type": "order.paid",
        "timestamp": "2026-01-02T03:04:05.250Z",
        "data": {"amount": 5},
    }


def test_places_in_the_path_are_percent_encoded() -> None:
    params = {"id": value("{{ data.id }}"), "no": value(7)}
    message = rendered({"id": "a/b {no}?ü"}, path="/orders/{id}/{no}", params=params)
    assert message.path == "/orders/a%2Fb%20%7Bno%7D%3F%C3%BC/7"


def test_json_keeps_native_types() -> None:
    written = {"amount": "{{ data.amount }}", "tags": ["{{ data.tag }}", "x"], "ok": True}
    message = rendered({"amount": 5, "tag": None}, json=value(written))
    assert orjson.loads(message.body or b"") == {"amount": 5, "tags": [None, "x"], "ok": True}
    assert message.content_type == "application/json"


def test_a_form_is_encoded() -> None:
    form = {"a": value("{{ data.a }}"), "n": value(1.5), "yes": value(True)}
    message = rendered({"a": "x y&z"}, form=form)
    assert message.body == b"a=x+y%26z&n=1.5&yes=true"
    assert message.content_type == "application/x-www-form-urlencoded"


def test_text_is_utf_8() -> None:
    message = rendered({"name": "Ü"}, text=value("Hi {{ data.name }}"))
    assert message.body == "Hi Ü".encode()
    assert message.content_type == "text/plain; charset=utf-8"


def test_no_body_where_none_is_described() -> None:
    message = rendered(method="DELETE", path="/x")
    assert (message.method, message.path, message.body) == ("DELETE", "/x", None)


def test_query_and_headers_leave_out_nulls() -> None:
    pairs = {"a": value("{{ data.a }}"), "b": value("{{ data.b }}")}
    message = rendered({"a": 1, "b": None}, query=pairs, headers=pairs)
    assert message.query == message.headers == (("a", "1"),)


@pytest.mark.parametrize("data", [{}, {"id": None}, {"id": ["x"]}])
def test_what_is_no_text_is_a_render_error(data: Any) -> None:
    with pytest.raises(RenderError):
        rendered(data, path="/{id}", params={"id": value("{{ data.id }}")})


def test_layouts_by_channel() -> None:
    assert layout_of(Channel.EMAIL) == "email"
    assert layout_of(Channel.REQUEST) == "webhook"
    assert layout_of(Channel.ANALYTICS) is None
