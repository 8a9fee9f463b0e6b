"""Hashes of content: the same content has the same hash, on every replica."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from router.values import Secret

_SECRET_KEY = b"router configuration hash"


def digest_of(*parts: Any) -> str:
    """32 hexadecimal digits for plain values; the order of keys doesn't count.

    A secret enters as a keyed digest, so that its rotation changes the hash and the hash does
    not tell the secret.
    """
    text = json.dumps(parts, sort_keys=True, default=_stand_in, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _stand_in(value: object) -> object:
    if isinstance(value, Secret):
        if not value.known:
            return ["secret"]
        digest = hmac.new(_SECRET_KEY, value.reveal().encode("utf-8", "surrogatepass"), "sha256")
        return ["secret", digest.hexdigest()]
    return repr(value)
