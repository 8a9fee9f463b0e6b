"""Signatures of Standard Webhooks: the check of the sandbox's receiver, and signing itself.

The router takes no webhooks in yet; a check of its own belongs here once it does.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from contextlib import suppress

from multidict import CIMultiDict

from router.clock import ManualClock
from router.sandbox.http import Call
from router.sandbox.record import Record
from router.sandbox.webhook import SECRET, WebhookReceiver
from router.sinks._webhook_keys import sign, signing_key
from router.values import Secret
from tests.fuzz.parts import split

_NOW = 1_780_000_000.0
_KEY = base64.b64decode(SECRET.removeprefix("whsec_"))


def webhook(content: bytes) -> None:
    """A call with ``headers`` and ``body``: accepted if, and only if, a signature is right."""
    parts = split(content)
    headers = CIMultiDict[str]()
    for line in parts.get("headers", b"").decode("latin-1").split("\n"):
        name, colon, value = line.partition(": ")
        if colon:
            headers.add(name, value)
    body = parts.get("body", b"")
    clock = ManualClock(_NOW)
    receiver = WebhookReceiver(Record(clock), clock)
    status = receiver.endpoint.answer(Call("POST", "/hook", "", headers, body)).status
    if status == 204:
        assert _is_signed(headers, body)
    else:
        assert 400 <= status < 500
    if "webhook-id" in headers:
        # What is signed by the router itself is taken, whatever the body is.
        signature = sign([signing_key(Secret(SECRET))], "msg_1", int(_NOW), body)
        named = {"webhook-id": "msg_1", "webhook-timestamp": f"{_NOW:.0f}"}
        good = CIMultiDict(named | {"webhook-signature": signature, "content-type": "text/plain"})
        assert receiver.endpoint.answer(Call("POST", "/hook", "", good, body)).status == 415


def _is_signed(headers: CIMultiDict[str], body: bytes) -> bool:
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    good = hmac.digest(_KEY, signed, hashlib.sha256)
    for one in headers["webhook-signature"].split(" "):
        kind, _, value = one.partition(",")
        with suppress(ValueError):
            if kind == "v1" and base64.b64decode(value) == good:
                return True
    return False
