"""Encrypted connections to a ledger's server."""

from __future__ import annotations

import ssl

from pydantic import BaseModel, ConfigDict, Field, model_validator

from router.values import FilePath, Secret


class LedgerTls(BaseModel):
    """Encryption; ``tls: {}`` trusts the system's certificate authorities."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ca_file: FilePath | None = Field(
        None,
        description="PEM file of the authorities to trust instead of the system's.",
        examples=["/etc/router/ledger-ca.pem"],
    )
    cert_file: FilePath | None = Field(
        None,
        description="PEM file of the client certificate.",
        examples=["/etc/router/ledger.pem"],
    )
    key_file: FilePath | None = Field(
        None,
        description="PEM file of the client certificate's key.",
        examples=["/etc/router/ledger.key"],
    )
    key_password: Secret | None = Field(
        None, description="Password of the key file.", examples=["!env LEDGER_KEY_PASSWORD"]
    )
    verify: bool = Field(
        True,
        description="Check the server's certificate and host name; `false` is for tests only.",
    )

    @model_validator(mode="after")
    def _key_needs_certificate(self) -> LedgerTls:
        if self.key_file and not self.cert_file:
            raise ValueError("key_file is given without cert_file")
        return self

    def context(self) -> ssl.SSLContext:
        """An SSL context of these files.

        Raises:
            OSError: a file can't be read, or isn't what it should be.
        """
        context = ssl.create_default_context(cafile=self.ca_file)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert_file:
            password = self.key_password.reveal() if self.key_password else None
            context.load_cert_chain(self.cert_file, self.key_file, password)
        return context
