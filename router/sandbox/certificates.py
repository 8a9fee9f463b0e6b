"""A private certificate authority of the sandbox's own, so that clients' trust is exercised."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

_LIFE = timedelta(days=30)


class CryptographyMissing(RuntimeError):
    """TLS in the sandbox needs a package that is not installed; the text says which."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files: the authority that clients have to trust, a server's certificate with its key."""

    ca_file: Path
    server_file: Path

    def server_context(self) -> ssl.SSLContext:
        """For servers of the sandbox."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server_file)
        return context


def make_certificates(folder: Path, *, expired: bool = False) -> Certificates:
    """A fresh authority and a certificate for ``localhost`` and ``127.0.0.1``.

    Args:
        folder: Where the files go.
        expired: The server's certificate ran out yesterday.

    Raises:
        CryptographyMissing: the ``cryptography`` package is not installed.
    """
    try:
        pems = tuple(_pems(expired))
    except ImportError:
        raise CryptographyMissing(
            "TLS in the sandbox needs cryptography: pip install 'router[demo]'"
        ) from None
    ca_file, server_file = folder / "ca.pem", folder / "server.pem"
    ca_file.write_bytes(pems[0])
    server_file.touch(mode=0o600)
    server_file.write_bytes(pems[1] + pems[2])
    return Certificates(ca_file, server_file)


def _pems(expired: bool) -> Iterator[bytes]:
    """The authority's certificate, the server's key, the server's certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def name(common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])

    now = datetime.now(UTC)
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer, subject = name("Router sandbox authority"), name("localhost")
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        x509.CertificateBuilder(issuer, issuer, ca_key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _LIFE)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(ca_id, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id)
    server = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _LIFE)
        .not_valid_after(now + (timedelta(days=-1) if expired else _LIFE))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(authority, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    yield ca.public_bytes(serialization.Encoding.PEM)
    yield key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    yield server.public_bytes(serialization.Encoding.PEM)
