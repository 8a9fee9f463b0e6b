"""Signed tokens (RFC 7515, compact form), read and verified without any code of the senders."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256


@dataclass(frozen=True, slots=True)
class Token:
    """A token's parts; nothing of it is true before :meth:`is_signed_by` says so."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes

    @classmethod
    def read(cls, text: str) -> Token:
        """Raises:
        ValueError: it is not a signed token.
        """
        parts = text.split(".")
        if len(parts) != 3:
            raise ValueError("not three parts")
        header, claims = (orjson.loads(_decoded(part)) for part in parts[:2])
        if not isinstance(header, dict) or not isinstance(claims, dict):
            raise ValueError("header or claims are no object")
        signed = f"{parts[0]}.{parts[1]}".encode()
        return cls(header, claims, signed, _decoded(parts[2]))

    def is_signed_by(self, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bool:
        """Whether the key's owner signed it, with ES256 or RS256 as its kind of key has it."""
        try:
            if isinstance(key, rsa.RSAPublicKey):
                key.verify(self.signature, self.signed, padding.PKCS1v15(), SHA256())
                return self.header.get("alg") == "RS256"
            if len(self.signature) != 64:
                return False
            r, s = (
                int.from_bytes(half, "big") for half in (self.signature[:32], self.signature[32:])
            )
            key.verify(encode_dss_signature(r, s), self.signed, ec.ECDSA(SHA256()))
            return self.header.get("alg") == "ES256"
        except InvalidSignature:
            return False

    def number(self, name: str) -> float | None:
        """A claim that is a number."""
        match self.claims.get(name):
            case bool():
                return None
            case int() | float() as value:
                return float(value)
            case _:
                return None


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
