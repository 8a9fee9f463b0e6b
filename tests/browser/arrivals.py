"""What arrives at a sandbox, with sensible defaults."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import anyio
import orjson

from router.messages import Button, Channel
from router.sandbox import Received, Sandbox
from tests.contract.sandbox.builders import call

BYTES = b'{"as": "it came"}'


def push(title: str, to: str = "token-1", collapse: str = "", **details: str) -> Received:
    facts = {"topic": "com.example.shop", "push_type": "alert", "collapse_id": collapse, **details}
    return Received("apns", Channel.PUSH, to, title, "Tap to look", raw=BYTES, details=facts)


def mail(subject: str, html: str | None = None, to: str = "ann@post.example") -> Received:
    raw = f"Subject: {subject}\r\n\r\n{html}".encode()
    details = {"From": "Shop <shop@post.example>"}
    return Received("smtp", Channel.EMAIL, to, subject, "Plain", html, raw=raw, details=details)


def chat(text: str, html: str | None = None, to: str = "42", key: str | None = None) -> Received:
    buttons = ((Button("Open", "https://shop.example/"),),)
    return Received(
        "telegram", Channel.CHAT, to, "", text, html or text, buttons, key=key, raw=BYTES
    )


def event(name: str, to: str = "u-1", **properties: object) -> Received:
    text = orjson.dumps(properties).decode()
    return Received(
        "mixpanel", Channel.ANALYTICS, to, name, text, raw=BYTES, details={"kind": "event"}
    )


def request(body: object, to: str = "/invoices", title: str = "invoice.issued") -> Received:
    raw = orjson.dumps(body)
    details = {"method": "POST", "signature": "valid", "user-agent": "router"}
    return Received("webhook", Channel.REQUEST, to, title, raw.decode(), raw=raw, details=details)


def one_of_each() -> list[Received]:
    return [
        push("Your order is packed", badge="3", link="https://shop.example/orders/12"),
        mail("Receipt", "<h1>Thank you</h1>"),
        chat("Paid", "<b>Paid</b> <a href='https://shop.example/'>see</a>"),
        event("Order Paid", amount=12, currency="EUR"),
        request({"id": "INV-1"}),
    ]


async def introduce(box: Sandbox, people: Mapping[str, object]) -> None:
    reply = await call("POST", box.addresses["control"] + "/people", json=people)
    assert reply.status == 200


@asynccontextmanager
async def counted_connections() -> AsyncGenerator[tuple[str, list[int]]]:
    """An address that somebody wants the browser to reach, and who came."""
    came: list[int] = []

    async def note(stream: anyio.abc.SocketStream) -> None:
        came.append(stream.extra(anyio.abc.SocketAttribute.remote_port))
        await stream.aclose()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, note)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            yield f"http://127.0.0.1:{port}", came
            group.cancel_scope.cancel()
