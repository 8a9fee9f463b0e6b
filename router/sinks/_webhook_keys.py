"""What signs webhooks (Standard Webhooks 1.0.0): shared secrets and Ed25519 private keys."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias

from router.values import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    SigningKey: TypeAlias = bytes | Ed25519PrivateKey

_PRIVATE = "whsk_"
_SEED_BYTES = 32


def signing_key(secret: Secret) -> SigningKey:
    """The key that a secret writes out: ``whsec_…`` signs with HMAC, ``whsk_…`` with Ed25519.

    Raises:
        ValueError: it is neither, or what Ed25519 needs is not installed.
    """
    text = secret.reveal()
    if text.startswith(_PRIVATE):
        return _private_key(_decoded(text.removeprefix(_PRIVATE)))
    key = _decoded(text.removeprefix("whsec_"))
    if not 24 <= len(key) <= 64:
        raise ValueError("a signing secret is whsec_ and the base64 of 24 to 64 random bytes")
    return key


def sign(keys: Sequence[SigningKey], message_id: str, timestamp: int, body: bytes) -> str:
    """The ``webhook-signature`` header: for each key a ``v1`` or, with Ed25519, ``v1a`` one."""
    content = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return " ".join(_signature(key, content) for key in keys)


def _signature(key: SigningKey, content: bytes) -> str:
    if isinstance(key, bytes):
        version, value = "v1", hmac.digest(key, content, hashlib.sha256)
    else:
        version, value = "v1a", key.sign(content)
    return f"{version},{base64.b64encode(value).decode()}"


def _private_key(key: bytes) -> Ed25519PrivateKey:
    """A key from its seed, behind which its public half may stand, as libsodium writes keys."""
    if not find_spec("cryptography"):
        raise ValueError("an Ed25519 key needs an extra: pip install 'router[signing]'")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    seed, public = key[:_SEED_BYTES], key[_SEED_BYTES:]
    if len(seed) == _SEED_BYTES:
        found = Ed25519PrivateKey.from_private_bytes(seed)
        if public in (b"", found.public_key().public_bytes_raw()):
            return found
    raise ValueError("an Ed25519 key is whsk_ and the base64 of its seed of 32 random bytes")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
