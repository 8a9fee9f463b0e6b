"""The JWT that stands for a team's key at APNs (ES256), and when it is made anew.

Apple takes a token for an hour and wants no new one within 20 minutes. Here a token's time is the
start of a half-hour slot and the signature is deterministic (RFC 6979), so every connection, every
sink and every replica that has the key makes the very same token, without asking each other. Who
starts late in a slot stays with its token for 20 minutes all the same.

Source: "Establishing a token-based connection to APNs".
"""

from __future__ import annotations

from typing import final

import orjson

from router.sinks._push import encode_bytes
from router.values import Secret

_SLOT_S = 1800
_SKEW_S = 60
_SOONEST_S = 1200
_LATEST_S = 3300


@final
class ProviderToken:
    """The current token of one key."""

    def __init__(self, key: Secret, key_id: str, team_id: str) -> None:
        """Raises:
        ValueError: the key is not a P-256 key in PEM.
        """
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            found = load_pem_private_key(key.reveal().encode(), None)
        except (ValueError, TypeError):
            found = None
        if not isinstance(found, ec.EllipticCurvePrivateKey) or found.curve.name != "secp256r1":
            raise ValueError("the key is not Apple's .p8 file (a P-256 private key in PEM)")
        self._key = found
        self._key_id, self._team_id = key_id, team_id
        self._token = ""
        self._issued_at = 0
        self._renew_at = 0.0

    def current(self, now: float) -> str:
        """The token to send at a time (seconds since the epoch)."""
        slot = int((now - _SKEW_S) // _SLOT_S) * _SLOT_S
        is_due = slot > self._issued_at and now >= self._renew_at
        is_old = now - self._issued_at >= _LATEST_S
        if is_due or is_old or slot < self._issued_at - _SLOT_S:
            self._issue(slot, now)
        return self._token

    def expired(self, token: str, now: float) -> bool:
        """Apple calls a token expired; whether there is another one to try now.

        A token that is not 20 minutes old is not replaced: this machine's clock is wrong then.
        """
        if token == self._token and now - self._issued_at >= _SOONEST_S:
            self._issue(int(now), now)
        return token != self._token

    def hold(self, now: float) -> None:
        """Apple saw too many new tokens: the present one stays as long as it may."""
        self._renew_at = now + _SOONEST_S

    def _issue(self, at: int, now: float) -> None:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
        from cryptography.hazmat.primitives.hashes import SHA256

        header = {"alg": "ES256", "kid": self._key_id}
        claims = {"iss": self._team_id, "iat": at}
        signed = ".".join(encode_bytes(orjson.dumps(part)) for part in (header, claims))
        try:
            algorithm = ec.ECDSA(SHA256(), deterministic_signing=True)
        except UnsupportedAlgorithm:  # an OpenSSL before 3.2: every process has its own tokens
            algorithm = ec.ECDSA(SHA256())
        r, s = decode_dss_signature(self._key.sign(signed.encode(), algorithm))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        self._token = f"{signed}.{encode_bytes(signature)}"
        self._issued_at, self._renew_at = at, now + _SOONEST_S
