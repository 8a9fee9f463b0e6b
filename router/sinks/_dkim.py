"""DKIM signatures (RFC 6376, RFC 8463): canonical form ``relaxed/relaxed``, RSA or Ed25519.

``Subject`` and the other fields that a mail has once are named once more than they are there, so
that nobody can add a second one to a signed mail.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Annotated, Any, Self, TypeAlias, final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from router.values import FilePath, Secret

_ONCE = (
    *(b"from", b"to", b"subject", b"date", b"message-id", b"reply-to"),
    *(b"mime-version", b"content-type"),
)
_SIGNED = (
    *_ONCE,
    *(b"content-transfer-encoding", b"content-language", b"auto-submitted"),
    *(b"list-unsubscribe", b"list-unsubscribe-post"),
)
_LEAST_RSA_BITS = 1024
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?"
_DOMAIN = rf"^{_NAME}(?:\.{_NAME})+$"
_SELECTOR = rf"^{_NAME}(?:\.{_NAME})*$"


class Dkim(BaseModel):
    """How mails are signed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    domain: str | None = Field(
        None,
        pattern=_DOMAIN,
        description="Domain that signs; by default the sender's.",
        examples=["acme.example"],
    )
    selector: str = Field(
        pattern=_SELECTOR,
        description="Name of the key: its record in DNS is `<selector>._domainkey.<domain>`.",
        examples=["router2026"],
    )
    key: Secret | None = Field(
        None,
        description="The private key in PEM: RSA, or Ed25519.",
        examples=["!file /run/secrets/dkim.pem"],
    )
    key_file: FilePath | None = Field(
        None,
        description="The file with the private key, read when the sink opens.",
        examples=["secrets/dkim.pem"],
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not find_spec("cryptography"):
            raise ValueError("DKIM needs an extra: pip install 'router[signing]'")
        if (self.key is None) == (self.key_file is None):
            raise ValueError("key: give one of key and key_file")
        return self


def _distinct(keys: tuple[Dkim, ...]) -> tuple[Dkim, ...]:
    names = [(key.domain, key.selector) for key in keys]
    if len(set(names)) < len(names):
        raise ValueError("two keys have the same selector; each has a record of its own in DNS")
    return keys


def _form(given: Any) -> str:
    return "list" if isinstance(given, list | tuple) else "one"


DkimKeys: TypeAlias = Annotated[
    Annotated[Dkim, Tag("one")]
    | Annotated[
        tuple[Dkim, ...], Field(min_length=1, max_length=5), AfterValidator(_distinct), Tag("list")
    ],
    Discriminator(_form),
]
"""One key, or several that each sign every mail."""


@final
class MailSigner:
    """Makes the signatures of one key.

    Args:
        algorithm: ``rsa-sha256`` or ``ed25519-sha256``.
        sign: The signature of the bytes that RFC 6376 section 3.7 calls data.
    """

    def __init__(
        self, domain: str, selector: str, algorithm: str, sign: Callable[[bytes], bytes]
    ) -> None:
        self._sign = sign
        self._start = f"v=1; a={algorithm}; c=relaxed/relaxed; d={domain}; s={selector}"

    def signature(self, mail: bytes, now: float) -> bytes:
        """The ``DKIM-Signature`` of a mail that has none yet: a header field with its line end.

        Args:
            mail: With CRLF line ends, not dot-stuffed.
            now: Seconds since the epoch.
        """
        head, _, body = mail.partition(b"\r\n\r\n")
        fields = _fields(head)
        present = [name for name in _SIGNED if name in fields]
        body_hash = b64encode(hashlib.sha256(relaxed_body(body)).digest()).decode()
        lines = [self._start, f"t={int(now)}", _named([*present, *_ONCE]), f"bh={body_hash}", "b="]
        field = b"DKIM-Signature: " + ";\r\n ".join(lines).encode()
        covered = [b"%s:%s\r\n" % (name, fields[name]) for name in present]
        value = self._sign(b"".join(covered) + relaxed_field(field))
        return field + _folded(b64encode(value)) + b"\r\n"


def mail_signers(
    config: Dkim | tuple[Dkim, ...] | None, sender_domain: str
) -> tuple[MailSigner, ...]:
    """A signer for each key; reads the keys' files.

    Raises:
        OSError: a key can't be read or used.
    """
    if config is None:
        return ()
    keys = config if isinstance(config, tuple) else (config,)
    return tuple(mail_signer(key, sender_domain) for key in keys)


def signed(mail: bytes, signers: Sequence[MailSigner], now: float) -> bytes:
    """The mail with a signature of each before its other headers.

    Args:
        mail: With CRLF line ends, not dot-stuffed.
        now: Seconds since the epoch.
    """
    return b"".join([*(signer.signature(mail, now) for signer in signers), mail])


def mail_signer(config: Dkim, sender_domain: str) -> MailSigner:
    """The signer of a configuration; reads the key's file.

    Raises:
        OSError: the key can't be read or used.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_pem(config), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise OSError("dkim.key: not an unencrypted private key in PEM") from None
    domain = config.domain or sender_domain
    match key:
        case ed25519.Ed25519PrivateKey():
            # RFC 8463 section 3: what is signed is the hash.
            return MailSigner(
                domain,
                config.selector,
                "ed25519-sha256",
                lambda data: key.sign(hashlib.sha256(data).digest()),
            )
        case rsa.RSAPrivateKey() if key.key_size >= _LEAST_RSA_BITS:
            return MailSigner(
                domain,
                config.selector,
                "rsa-sha256",
                lambda data: key.sign(data, padding.PKCS1v15(), hashes.SHA256()),
            )
        case rsa.RSAPrivateKey():
            raise OSError(f"dkim.key: RSA of {key.key_size} bits is too weak; 2048 are usual")
        case _:
            raise OSError("dkim.key: neither an RSA nor an Ed25519 key")


def relaxed_field(field: bytes) -> bytes:
    """A header field, ``name: value`` with its folds, in relaxed form, without a line end."""
    name, _, value = field.partition(b":")
    return b"%s:%s" % (name.strip().lower(), _single_spaced(value.replace(b"\r\n", b"")).strip())


def relaxed_body(body: bytes) -> bytes:
    """A body in relaxed form (RFC 6376 section 3.4.4)."""
    text = _single_spaced(body).replace(b" \r\n", b"\r\n").removesuffix(b" ")
    while text.endswith(b"\r\n"):
        text = text[:-2]
    return text + b"\r\n" if text else b""


def _single_spaced(text: bytes) -> bytes:
    text = text.replace(b"\t", b" ")
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    return text


def _pem(config: Dkim) -> bytes:
    if config.key is not None:
        return config.key.reveal().encode()
    assert config.key_file is not None
    with open(config.key_file, "rb") as file:
        return file.read()


def _fields(head: bytes) -> dict[bytes, bytes]:
    """Value in relaxed form by name; a mail of the router's has each field once."""
    found: dict[bytes, bytes] = {}
    for field in re.split(rb"\r\n(?![ \t])", head):
        name, _, value = relaxed_field(field).partition(b":")
        found[name] = value
    return found


def _named(names: Sequence[bytes]) -> str:
    rows = (names[start : start + 5] for start in range(0, len(names), 5))
    return "h=" + ":\r\n ".join(b":".join(row).decode() for row in rows)


def _folded(text: bytes) -> bytes:
    return b"\r\n ".join(text[start : start + 72] for start in range(0, len(text), 72))
