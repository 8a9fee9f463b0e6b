"""A service account and the endpoint that gives it access tokens for signed assertions."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, final
from urllib.parse import parse_qs

import orjson
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from router.clock import Clock
from router.sandbox.http import Answer, Call, json_answer
from router.sandbox.jwt import Token

TOKEN_PATH = "/token"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_GOOGLES_OWN = "https://oauth2.googleapis.com/token"  # Google's library states it, come what may
_LONGEST_S = 3600
_SKEW_S = 300
_SCOPES = frozenset(
    {
        "https://www.googleapis.com/auth/firebase.messaging",
        "https://www.googleapis.com/auth/cloud-platform",
    }
)


@cache
def _key() -> rsa.RSAPrivateKey:
    """One for the process: making it takes a tenth of a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@final
class ServiceAccount:
    """The one account of a project, its key, and the tokens that it was given."""

    def __init__(self, clock: Clock, project_id: str, token_life_s: float) -> None:
        self.address = ""
        self._clock = clock
        self._project_id = project_id
        self._life_s = token_life_s
        self._key_id = secrets.token_hex(20)
        self._tokens: dict[str, float] = {}

    @property
    def email(self) -> str:
        return f"router@{self._project_id}.iam.gserviceaccount.com"

    def write_key_file(self, path: Path) -> None:
        """The JSON file that people download from Google's console."""
        pem = _key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        fields = {
            "type": "service_account",
            "project_id": self._project_id,
            "private_key_id": self._key_id,
            "private_key": pem.decode(),
            "client_email": self.email,
            "client_id": "100000000000000000001",
            "auth_uri": f"{self.address}/auth",
            "token_uri": f"{self.address}{TOKEN_PATH}",
        }
        path.touch(mode=0o600)
        path.write_bytes(orjson.dumps(fields, option=orjson.OPT_INDENT_2))

    def admits(self, headers: Mapping[str, str]) -> bool:
        """Whether a call brings a token that still holds."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._clock.now() < self._tokens.get(token, 0.0)

    def revoke_tokens(self) -> None:
        """Every token issued so far stops working."""
        self._tokens.clear()

    def issue(self, call: Call) -> tuple[Answer, str]:
        """The answer to a request for a token, and why there is none."""
        form = {k: v[0] for k, v in parse_qs(call.body.decode("utf-8", "replace")).items()}
        if form.get("grant_type") != _GRANT:
            return _refusal("unsupported_grant_type", f"Invalid grant_type: {_GRANT} expected")
        try:
            token = Token.read(form.get("assertion", ""))
        except ValueError:
            return _refusal("invalid_grant", "Bad Request")
        why = self._wrong_with(token)
        if why is not None:
            return _refusal(*why)
        access = f"ya29.{secrets.token_urlsafe(48)}"
        self._tokens[access] = self._clock.now() + self._life_s
        body: dict[str, Any] = {
            "access_token": access,
            "expires_in": int(self._life_s),
            "token_type": "Bearer",
        }
        return json_answer(200, body, {"Cache-Control": "no-store"}), ""

    def _wrong_with(self, token: Token) -> tuple[str, str] | None:
        now = self._clock.now()
        issued, expires = token.number("iat"), token.number("exp")
        if token.claims.get("iss") != self.email:
            return "invalid_grant", "Invalid grant: account not found"
        if token.header.get("kid") != self._key_id or not token.is_signed_by(_key().public_key()):
            return "invalid_grant", "Invalid JWT Signature."
        if token.claims.get("aud") not in (f"{self.address}{TOKEN_PATH}", _GOOGLES_OWN):
            return "invalid_grant", "Invalid JWT: Failed audience check."
        if (
            issued is None
            or expires is None
            or not (
                0 < expires - issued <= _LONGEST_S and issued - _SKEW_S < now < expires + _SKEW_S
            )
        ):
            text = (
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable"
                " timeframe. Check your iat and exp values in the JWT claim."
            )
            return "invalid_grant", text
        if not _SCOPES & set(str(token.claims.get("scope", "")).split()):
            return "invalid_scope", "Invalid OAuth scope or ID token audience provided."
        return None


def _refusal(error: str, description: str) -> tuple[Answer, str]:
    fields = {"error": error, "error_description": description}
    return json_answer(400, fields), description
