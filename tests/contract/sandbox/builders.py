"""What clients of the sandbox send, with sensible defaults."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import aiosmtplib

from router.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, read to its end."""

    status: int
    content_type: str
    body: bytes
    json: Any
    headers: Mapping[str, str]


async def call(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    json: object = None,
    data: object = None,
    ca_file: object = None,
) -> Reply:
    """One request on a connection of its own; redirects are not followed."""
    tls = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
    options: dict[str, Any] = {"headers": headers, "allow_redirects": False, "ssl": tls}
    if json is not None:
        options["json"] = json
    if data is not None:
        options["data"] = data
    async with aiohttp.ClientSession() as session:
        async with session.request(method, url, **options) as answer:
            body = await answer.read()
            is_json = answer.content_type == "application/json"
            try:
                value = await answer.json() if is_json else None
            except ValueError:
                value = None
            return Reply(answer.status, answer.content_type, body, value, answer.headers)


async def send_message(
    box: Sandbox, chat: object = 42, text: str = "hi", **fields: object
) -> Reply:
    """Telegram's ``sendMessage`` with a JSON body."""
    url = f"{box.addresses['telegram']}/bot{box.credentials['telegram_token']}/sendMessage"
    return await call("POST", url, json={"chat_id": chat, "text": text, **fields})


MAIL = (
    "From: Shop <shop@sandbox.test>\r\n"
    "To: {to}\r\n"
    "Subject: {subject}\r\n"
    "Date: Tue, 24 Nov 2026 12:00:00 +0000\r\n"
    "Message-ID: <{id}@sandbox.test>\r\n"
    "\r\n"
    "{body}\r\n"
)


def mail(
    to: str = "ann@sandbox.test", id: str = "m1", subject: str = "Hello", body: str = "Hi"
) -> bytes:
    """A plain mail."""
    return MAIL.format(to=to, id=id, subject=subject, body=body).encode()


@asynccontextmanager
async def smtp_client(
    box: Sandbox, *, is_secure: bool = False, login: bool = False
) -> AsyncGenerator[aiosmtplib.SMTP]:
    """A connected client; secure by STARTTLS, trusting the sandbox's authority alone."""
    user, password = box.credentials["smtp_user"], box.credentials["smtp_password"]
    client = aiosmtplib.SMTP(
        hostname="127.0.0.1",
        port=urlsplit(box.addresses["smtp"]).port,
        start_tls=is_secure,
        tls_context=ssl.create_default_context(cafile=str(box.ca_file)) if is_secure else None,
        username=user if login else None,
        password=password if login else None,
        timeout=5,
    )
    await client.connect()
    try:
        yield client
    finally:
        client.close()


async def deliver(
    box: Sandbox, to: str = "ann@sandbox.test", id: str = "m1", **options: bool
) -> tuple[dict[str, aiosmtplib.SMTPResponse], str]:
    """One mail on a connection of its own."""
    async with smtp_client(box, **options) as client:
        return await client.sendmail("shop@sandbox.test", [to], mail(to, id))
