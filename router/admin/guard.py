"""Who may call, and what every answer carries."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from typing import Final, final
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.config.addresses import is_loopback_host
from router.values import Secret

_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@final
class SecurityHeaders:
    """Adds the security headers that an answer does not set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


@final
class Gatekeeper:
    """Lets callers in who know the token; without a token, only what this machine sends itself."""

    def __init__(self, token: Secret | None) -> None:
        self._token = None if token is None else token.reveal().encode()

    def admit_reader(self, request: Request) -> None:
        """For pages: the token as a bearer token, or as the password a browser asks for.

        Raises:
            HTTPException: 401 or 403.
        """
        if self._token is None:
            _require_loopback_name(request)
        elif not self._knows_token(request, schemes=("bearer", "basic")):
            raise HTTPException(
                401, "a token is needed", {"WWW-Authenticate": 'Basic realm="router", Bearer'}
            )

    def admit_operator(self, request: Request) -> None:
        """For changes: the token as a bearer token, which no browser sends of its own accord.

        Raises:
            HTTPException: 401 or 403.
        """
        if self._token is None:
            _require_loopback_name(request)
        elif not self._knows_token(request, schemes=("bearer",)):
            raise HTTPException(401, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})
        _refuse_other_sites(request)

    def _knows_token(self, request: Request, schemes: tuple[str, ...]) -> bool:
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        scheme = scheme.lower()
        if scheme not in schemes:
            return False
        given = credentials.strip().encode() if scheme == "bearer" else _password(credentials)
        return self._token is not None and hmac.compare_digest(given, self._token)


def _password(credentials: str) -> bytes:
    try:
        return base64.b64decode(credentials, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""


def _require_loopback_name(request: Request) -> None:
    """Refuses names that only resolve to this machine: a web page could make one (rebinding)."""
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    if not is_loopback_host(host):
        raise HTTPException(403, "without a token, only localhost may be asked for")


def _refuse_other_sites(request: Request) -> None:
    """Refuses a change that a page of another site had a browser send."""
    if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        raise HTTPException(403, "not from another site")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, "not from another site")
