"""A JSON API of some other company (a CRM, say): any method and path, behind credentials."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final
from urllib.parse import parse_qs

from router.clock import Clock
from router.messages import Channel
from router.sandbox.faults import Faults
from router.sandbox.http import Answer, Call, Endpoint, headers_of, json_answer
from router.sandbox.record import Received, Record

TOKEN_PATH = "/oauth/token"
_KEY_HEADERS = ("Idempotency-Key", "X-Idempotency-Key", "X-Request-Id")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens the API. Any one of them does; a call with none or a wrong one gets 401.

    Attributes:
        basic: User and password.
        bearer: A fixed bearer token.
        header: Name and value of an API-key header.
        client: OAuth 2 client id and secret for ``/oauth/token``.
        refresh_token: Gets tokens there too, together with the client's.
        rotates: Each use of the refresh token hands out a new one, and the used one ends.
        token_life_s: How long an issued token works.
        required: False lets calls without credentials in too.
    """

    basic: tuple[str, str] = ("sandbox", "sandbox-password")
    bearer: str = "sandbox-token"
    header: tuple[str, str] = ("X-Api-Key", "sandbox-api-key")
    client: tuple[str, str] = ("sandbox-client", "sandbox-client-secret")
    refresh_token: str = "sandbox-refresh-token"
    rotates: bool = False
    token_life_s: float = 3600.0
    required: bool = True


@final
class WebApi:
    """Accepts every call with valid credentials and answers with an id."""

    name = "http"

    def __init__(
        self, record: Record, clock: Clock, credentials: Credentials = Credentials()
    ) -> None:
        self.faults = Faults()
        self._record = record
        self._clock = clock
        self.credentials = credentials
        self._tokens: dict[str, float] = {}
        self._refresh_token = credentials.refresh_token
        self.tokens_issued = 0

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(lambda call: call.path, self._answer, self.faults)

    def set_state(self, target: str, state: str) -> None:
        """Paths have no state; plan faults instead.

        Raises:
            ValueError: always.
        """
        raise ValueError("the JSON API has no recipients with a state; plan a fault for its path")

    def revoke_tokens(self) -> None:
        """Every token issued so far stops working."""
        self._tokens.clear()

    def is_token(self, token: str) -> bool:
        """Whether ``/oauth/token`` issued it and it works still."""
        return self._clock.now() < self._tokens.get(token, 0.0)

    def _answer(self, call: Call) -> Answer:
        if call.path == TOKEN_PATH:
            return self._issue_token(call)
        if not self._admits(call.headers):
            self._record.refuse(self.name, call.path, "credentials missing or wrong")
            challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            return json_answer(401, {"error": "unauthorized"}, challenge)
        entry = self._record.add(
            Received(
                provider=self.name,
                channel=Channel.REQUEST,
                recipient=call.path,
                title=f"{call.method} {call.path}{'?' if call.query else ''}{call.query}",
                text=call.body.decode("utf-8", "replace"),
                key=next((call.headers[h] for h in _KEY_HEADERS if h in call.headers), None),
                raw=call.body,
                details={"method": call.method, "query": call.query, **headers_of(call)},
            )
        )
        return json_answer(200, {"ok": True, "id": str(entry.number)})

    def _admits(self, headers: Mapping[str, str]) -> bool:
        name, value = self.credentials.header
        if name in headers:
            return _same(headers[name], value)
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        match scheme.lower():
            case "basic":
                return _same(given, _basic(*self.credentials.basic))
            case "bearer":
                return _same(given, self.credentials.bearer) or self.is_token(given)
            case "":
                return not self.credentials.required
            case _:
                return False

    def _issue_token(self, call: Call) -> Answer:
        form = {k: v[0] for k, v in parse_qs(call.body.decode("utf-8", "replace")).items()}
        grant = form.get("grant_type")
        if grant not in ("client_credentials", "refresh_token"):
            return self._no_token(call, 400, "unsupported_grant_type")
        client = _basic_pair(call.headers) or (
            form.get("client_id", ""),
            form.get("client_secret", ""),
        )
        if not all(map(_same, client, self.credentials.client)):
            return self._no_token(call, 401, "invalid_client")
        is_refresh = grant == "refresh_token"
        if is_refresh and not _same(form.get("refresh_token", ""), self._refresh_token):
            return self._no_token(call, 400, "invalid_grant")
        token = secrets.token_urlsafe(24)
        life_s = self.credentials.token_life_s
        self.tokens_issued += 1
        self._tokens[token] = self._clock.now() + life_s
        fields = {"access_token": token, "token_type": "Bearer", "expires_in": int(life_s)}
        if is_refresh and self.credentials.rotates:
            self._refresh_token = fields["refresh_token"] = secrets.token_urlsafe(24)
        return json_answer(200, fields, {"Cache-Control": "no-store"})

    def _no_token(self, call: Call, status: int, error: str) -> Answer:
        self._record.refuse(self.name, call.path, error)
        return json_answer(status, {"error": error})


def _basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _basic_pair(headers: Mapping[str, str]) -> tuple[str, str] | None:
    scheme, _, given = headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(given, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ("", "")
    return user, password


def _same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode(), known.encode())
