"""Access tokens of a Google service account: a signed assertion for a token (RFC 7523).

Tokens are replaced ahead of their end: one sender fetches the next while all others go on with the
present one. Signing takes a millisecond and happens in a thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlencode

import anyio
import anyio.to_thread
import orjson

from router.clock import Clock
from router.messages import InDoubt, Outcome, Reason, Retry, Scope
from router.sinks._http import exchange, retry_after
from router.sinks._oauth2 import token_of
from router.sinks._push import encode_bytes
from router.transport import HttpClient, HttpRequest, HttpResponse
from router.values import Secret

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_LIFE_S = 3600
_AHEAD_S = 300.0
_MARGIN_S = 30.0
_AGAIN_S = 30.0
_QUIET_S = 5.0


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """What a service account's JSON key file says."""

    project_id: str
    client_email: str
    key_id: str
    private_key: Secret
    token_uri: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises:
        ValueError: it is not a service account's key file; the text quotes nothing of it.
        """
        try:
            fields = orjson.loads(text)
        except orjson.JSONDecodeError:
            fields = None
        match fields:
            case {
                "type": "service_account",
                "client_email": str(email),
                "private_key": str(key),
                **rest,
            }:
                return cls(
                    str(rest.get("project_id") or ""),
                    email,
                    str(rest.get("private_key_id") or ""),
                    Secret(key),
                    str(rest.get("token_uri") or "https://oauth2.googleapis.com/token"),
                )
            case _:
                raise ValueError("not the JSON key file of a service account")


class Signer:
    """Signs assertions with the account's key."""

    def __init__(self, account: ServiceAccount) -> None:
        """Raises:
        ValueError: the key is not an RSA key in PEM.
        """
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        self._account = account
        try:
            key = load_pem_private_key(account.private_key.reveal().encode(), None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("the service account's private key is not an RSA key in PEM")
        self._key = key

    def assertion(self, now: float) -> str:
        """A JWT by which the account asks for a token, signed with RS256."""
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        account = self._account
        claims = {
            "iss": account.client_email,
            "scope": SCOPE,
            "aud": account.token_uri,
            "iat": int(now),
            "exp": int(now) + _ASSERTION_LIFE_S,
        }
        header = {"alg": "RS256", "typ": "JWT", "kid": account.key_id}
        signed = ".".join(encode_bytes(orjson.dumps(part)) for part in (header, claims))
        signature = self._key.sign(signed.encode(), PKCS1v15(), SHA256())
        return f"{signed}.{encode_bytes(signature)}"


class AccessTokens:
    """The current token; concurrent sends share one fetch, and its failure."""

    def __init__(
        self, account: ServiceAccount, signer: Signer, client: HttpClient, clock: Clock
    ) -> None:
        self._account = account
        self._signer = signer
        self._client = client
        self._clock = clock
        self._lock = anyio.Lock()
        self._token: str | None = None
        self._renew_at = 0.0
        self._stale_at = 0.0
        self._failure: Outcome | None = None
        self._failed_at = -1.0

    async def current(self, timeout_s: float) -> str | Outcome:
        """A token that is not stale, or the outcome for a message that can't have one."""
        asked_at = self._clock.monotonic()
        token = self._usable(asked_at)
        if token is not None and (asked_at < self._renew_at or self._lock.locked()):
            return token
        async with self._lock:
            now = self._clock.monotonic()
            token = self._usable(now)
            if token is not None and now < self._renew_at:
                return token
            if self._failure is not None and self._failed_at >= asked_at:
                return self._failure
            found = await self._fetch(timeout_s)
            if isinstance(found, tuple):
                token, life = found
                self._token, self._failure = token, None
                self._stale_at = now + life - min(_MARGIN_S, life / 4)
                self._renew_at = now + life - min(_AHEAD_S, life / 2)
                return token
            if token is not None:
                self._renew_at = now + _AGAIN_S
                return token
            self._failure, self._failed_at = found, self._clock.monotonic()
            return found

    def refuse(self, token: str) -> None:
        """Forgets a token that the API did not take."""
        if self._token == token:
            self._token = None

    def _usable(self, now: float) -> str | None:
        return self._token if now < self._stale_at else None

    async def _fetch(self, timeout_s: float) -> tuple[str, float] | Outcome:
        assertion = await anyio.to_thread.run_sync(self._signer.assertion, self._clock.now())
        response = await exchange(
            self._client,
            HttpRequest(
                "POST",
                self._account.token_uri,
                {"Content-Type": "application/x-www-form-urlencoded"},
                urlencode({"grant_type": _GRANT, "assertion": assertion}).encode(),
                timeout_s,
            ),
        )
        match response:
            case HttpResponse():
                found = token_of(response)
                if isinstance(found, Retry):
                    asked = retry_after(response, self._clock.now())
                    return Retry(found.reason, _QUIET_S if asked is None else asked, Scope.SINK)
                return found
            case InDoubt(reason) | Retry(reason):
                text = f"{reason.code} {reason.text}".strip()
                return Retry(Reason("token_unavailable", text), _QUIET_S, Scope.SINK)
            case other:
                return other
