"""A team's signing key and client certificate, as Apple would have given them out."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_LIFE = timedelta(days=30)


@final
class Credentials:
    """The files of one team.

    Attributes:
        key_file: The ``.p8`` file: the private key that signs provider tokens.
        certificate_file: A client certificate for the topic, with its key, in PEM.
        public_key: Verifies provider tokens.
    """

    def __init__(self, folder: Path, topic: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self.public_key = key.public_key()
        self.key_file = folder / "apns-key.p8"
        self.certificate_file = folder / "apns-client.pem"
        _write(self.key_file, _pem(key))
        self._certificate, self._certificate_key = _certificate(topic)
        _write(self.certificate_file, self._certificate + self._certificate_key)

    def ask_for(self, tls: ssl.SSLContext) -> None:
        """Has a server ask clients for the certificate; they may go without."""
        tls.load_verify_locations(cadata=self._certificate.decode())
        tls.verify_mode = ssl.CERT_OPTIONAL


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)


def _certificate(topic: str) -> tuple[bytes, bytes]:
    """A certificate that vouches for itself; its user id is the topic, as Apple writes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.USER_ID, topic),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Apple Push Services: {topic}"),
        ]
    )
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _LIFE)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM), _pem(key)
