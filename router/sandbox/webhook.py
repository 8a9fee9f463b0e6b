"""A Standard Webhooks receiver (specification 1.0.0): checks every signature by its own code."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, final

import orjson

from router.clock import Clock
from router.messages import Channel
from router.sandbox.faults import Faults
from router.sandbox.http import Answer, Call, Endpoint, headers_of, json_answer
from router.sandbox.record import Received, Record

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SECRET = "whsec_cm91dGVyLXNhbmRib3gtd2ViaG9vay1zZWNyZXQtMDE="
"""The secret that a sandbox without other settings shares with its senders."""

_PUBLIC_KEY = "whpk_"
_TOLERANCE_S = 300
_ID = re.compile(r"[!-\-/-~]+")  # visible ASCII without the dot
_STAMP = re.compile(r"\d{1,15}", re.ASCII)
_TYPE = re.compile(r"[A-Za-z0-9_.]+")


@final
class WebhookReceiver:
    """Endpoints at any path, all with the same secrets.

    A secret is ``whsec_…``, shared with the sender, or ``whpk_…``, the sender's public key.
    """

    name = "webhook"

    def __init__(self, record: Record, clock: Clock, secrets: Sequence[str] = (SECRET,)) -> None:
        self.faults = Faults()
        self.secrets = secrets
        self._gone: set[str] = set()
        self._record = record
        self._clock = clock
        self._secrets = [
            base64.b64decode(secret.removeprefix("whsec_"))
            for secret in secrets
            if not secret.startswith(_PUBLIC_KEY)
        ]
        self._public_keys = [
            _public_key(base64.b64decode(secret.removeprefix(_PUBLIC_KEY)))
            for secret in secrets
            if secret.startswith(_PUBLIC_KEY)
        ]

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(lambda call: call.path, self._answer, self.faults)

    def set_state(self, target: str, state: str) -> None:
        """Whether an endpoint, named by its path, is ``alive`` or ``gone`` (410).

        Raises:
            ValueError: there is no such state.
        """
        if state not in ("alive", "gone"):
            raise ValueError(f"no state {state!r} of an endpoint; there are alive and gone")
        (self._gone.add if state == "gone" else self._gone.discard)(target)

    def _answer(self, call: Call) -> Answer:
        status, why = self._verdict(call)
        if status != 204:
            self._record.refuse(self.name, call.path, why)
            return json_answer(status, {"error": why})
        message_id = call.headers["webhook-id"]
        text = call.body.decode("utf-8", "replace")
        self._record.add(
            Received(
                provider=self.name,
                channel=Channel.REQUEST,
                recipient=call.path,
                title=_event_type(call.body) or f"{call.method} {call.path}",
                text=text,
                key=message_id,
                raw=call.body,
                details={"method": call.method, "signature": "valid", **headers_of(call)},
            )
        )
        return Answer(204)

    def _verdict(self, call: Call) -> tuple[int, str]:
        if call.path in self._gone:
            return 410, "endpoint gone"
        if call.method != "POST":
            return 405, "only POST"
        headers = call.headers
        missing = [
            name
            for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
            if not headers.get(name)
        ]
        if missing:
            return 400, f"header missing: {', '.join(missing)}"
        if not _ID.fullmatch(headers["webhook-id"]):
            return 400, "webhook-id has a dot or a character that is not visible ASCII"
        stamp = headers["webhook-timestamp"]
        if not _STAMP.fullmatch(stamp):
            return 400, "webhook-timestamp is not an integer"
        if abs(self._clock.now() - int(stamp)) > _TOLERANCE_S:
            return 401, "webhook-timestamp is more than five minutes away"
        if not self._is_signed(headers["webhook-id"], stamp, headers["webhook-signature"], call):
            return 401, "no signature matches"
        return _check_body(call)

    def _is_signed(self, message_id: str, stamp: str, signatures: str, call: Call) -> bool:
        signed = b".".join((message_id.encode(), stamp.encode(), call.body))
        given = [item.partition(",") for item in signatures.split(" ")]
        return any(self._is_good(version, value, signed) for version, _, value in given)

    def _is_good(self, version: str, signature: str, signed: bytes) -> bool:
        try:
            value = base64.b64decode(signature, validate=True)
        except ValueError:
            return False
        match version:
            case "v1":
                good = (hmac.digest(key, signed, hashlib.sha256) for key in self._secrets)
                return any(hmac.compare_digest(value, known) for known in good)
            case "v1a":
                return any(_verifies(key, value, signed) for key in self._public_keys)
            case _:
                return False


def _public_key(raw: bytes) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(raw)


def _verifies(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _check_body(call: Call) -> tuple[int, str]:
    if call.headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
        return 415, "content type is not application/json"
    try:
        orjson.loads(call.body)
    except orjson.JSONDecodeError:
        return 400, "body is not JSON"
    return 204, ""


def _event_type(body: bytes) -> str | None:
    value: object = orjson.loads(body)
    kind = value.get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) and _TYPE.fullmatch(kind) else None
