"""OAuth 2 tokens for an application (RFC 6749 §4.4) or, by a refresh token, for a user (§6).

A token is fetched when needed and kept until stale. A server may hand out a new refresh token in
place of the one that was used (§6); the newest is kept in memory as long as the process lives.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Literal
from urllib.parse import quote_plus, urlencode

import anyio
from pydantic import BaseModel, ConfigDict, Field

from router.clock import Clock
from router.messages import Halt, InDoubt, Outcome, Reason, Retry
from router.sinks._http import answer_text, exchange, json_body
from router.transport import HttpClient, HttpRequest, HttpResponse
from router.values import Secret

_MARGIN_S = 30.0
_DEFAULT_LIFE_S = 300.0


class OAuth2Auth(BaseModel):
    """A token of an OAuth 2 server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["oauth2"] = Field(description="A token of an OAuth 2 server.")
    token_url: str = Field(
        pattern=r"^https?://[^\s/]+(/[^\s]*)?$",
        description="The token endpoint.",
        examples=["https://login.example.com/realms/acme/protocol/openid-connect/token"],
    )
    client_id: str = Field(min_length=1, description="Client id.", examples=["router"])
    client_secret: Secret = Field(description="Client secret.", examples=["!env CRM_CLIENT_SECRET"])
    refresh_token: Secret | None = Field(
        None,
        description="Fetch tokens with this refresh token instead of the client's credentials "
        "alone. A new one in an answer is used from then on, and forgotten when the process ends.",
        examples=["!env CRM_REFRESH_TOKEN"],
    )
    scope: str | None = Field(None, description="Scopes to ask for.", examples=["crm.write"])
    audience: str | None = Field(
        None,
        description="Audience to ask for, where the server wants one.",
        examples=["https://crm.example/api"],
    )
    client_auth: Literal["basic", "form"] = Field(
        "basic", description="Whether the client's secret goes into a header or into the form."
    )


def token_request(
    auth: OAuth2Auth, timeout_s: float, refresh_token: str | None = None
) -> HttpRequest:
    """The call that fetches a token; ``refresh_token`` stands in for the configured one."""
    form = {"grant_type": "client_credentials"}
    if auth.refresh_token is not None:
        newest = refresh_token or auth.refresh_token.reveal()
        form = {"grant_type": "refresh_token", "refresh_token": newest}
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    if auth.client_auth == "basic":
        pair = f"{quote_plus(auth.client_id)}:{quote_plus(auth.client_secret.reveal())}"
        headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    else:
        form |= {"client_id": auth.client_id, "client_secret": auth.client_secret.reveal()}
    if auth.scope is not None:
        form["scope"] = auth.scope
    if auth.audience is not None:
        form["audience"] = auth.audience
    return HttpRequest("POST", auth.token_url, headers, urlencode(form).encode(), timeout_s)


def token_of(response: HttpResponse) -> tuple[str, float] | Outcome:
    """The token and its life in seconds, or what it means that there is none."""
    match json_body(response):
        case {"access_token": str(token), "expires_in": int() | float() as life} if (
            response.status == 200
        ):
            return token, float(life)
        case {"access_token": str(token)} if response.status == 200:
            return token, _DEFAULT_LIFE_S
        case _ if response.status in (400, 401, 403):
            return Halt(Reason("token_refused", answer_text(response)))
        case _:
            return Retry(Reason("token_unavailable", answer_text(response)))


def rotated_token(response: HttpResponse) -> str | None:
    """The refresh token that takes the place of the one that was used, if there is one."""
    match json_body(response):
        case {"refresh_token": str(token)} if token:
            return token
        case _:
            return None


_newest: dict[tuple[str, str, str], str] = {}
"""Refresh tokens that took the place of configured ones. The process keeps them, not the sink: a
reload opens the sink anew, and by then the configured token may be worth nothing."""


class TokenSource:
    """The current token; concurrent sends share one fetch."""

    def __init__(
        self, auth: OAuth2Auth, client: HttpClient, clock: Clock, timeout_s: float
    ) -> None:
        configured = auth.refresh_token.reveal() if auth.refresh_token else ""
        self._configured = (auth.token_url, auth.client_id, configured)
        self._auth = auth
        self._timeout_s = timeout_s
        self._client = client
        self._clock = clock
        self._lock = anyio.Lock()
        self._token: str | None = None
        self._stale_at = 0.0

    async def token(self) -> str | Outcome:
        """A token that is not stale, or the outcome for the message that can't have one."""
        async with self._lock:
            if self._token is not None and self._clock.monotonic() < self._stale_at:
                return self._token
            asked_at = self._clock.monotonic()
            newest = _newest.get(self._configured)
            found = await self._fetched(newest)
            if isinstance(found, Halt) and newest is not None:
                found = await self._fetched(None)
            if not isinstance(found, tuple):
                return found
            self._token, life = found
            self._stale_at = asked_at + max(life - _MARGIN_S, life / 2)
            return self._token

    async def _fetched(self, refresh_token: str | None) -> tuple[str, float] | Outcome:
        """A new token and its life in seconds.

        Args:
            refresh_token: The one that took the place of the configured one, if any did.
        """
        request = token_request(self._auth, self._timeout_s, refresh_token)
        response = await exchange(self._client, request)
        if isinstance(response, InDoubt):
            return Retry(Reason("token_unavailable", response.reason.text))
        if not isinstance(response, HttpResponse):
            return response
        found = token_of(response)
        if isinstance(found, tuple) and self._auth.refresh_token is not None:
            self._keep(rotated_token(response) or refresh_token)
        return found

    def _keep(self, refresh_token: str | None) -> None:
        """Uses this refresh token from here on; None: the configured one."""
        if refresh_token is None:
            _newest.pop(self._configured, None)
        else:
            _newest[self._configured] = refresh_token

    def refuse(self, token: str) -> None:
        """Forgets a token that the API did not take."""
        if self._token == token:
            self._token = None
