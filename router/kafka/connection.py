"""How a Kafka cluster is reached: what an operator writes, and what clients are given."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from router.values import FilePath, Secret

if TYPE_CHECKING:
    import ssl

_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:\d{1,5})?")


def _parse_servers(value: object) -> object:
    servers: Any = value.split(",") if isinstance(value, str) else value
    if not isinstance(servers, list | tuple) or not servers:
        raise ValueError("write kafka-1:9092 or a list of such addresses")
    stripped = [server.strip() if isinstance(server, str) else server for server in servers]  # pyright: ignore[reportUnknownVariableType]
    for server in stripped:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(server, str) or not _SERVER.fullmatch(server):
            raise ValueError(f'not a server: "{server}"; write kafka-1:9092')
    return tuple(stripped)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


Servers = Annotated[
    tuple[str, ...], BeforeValidator(_parse_servers, json_schema_input_type=str | list[str])
]


class Tls(BaseModel):
    """Encryption; ``tls: {}`` trusts the system's certificate authorities."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ca_file: FilePath | None = Field(
        default=None,
        description="PEM file of the authorities to trust instead of the system's.",
        examples=["/etc/router/kafka-ca.pem"],
    )
    cert_file: FilePath | None = Field(
        default=None,
        description="PEM file of the client certificate.",
        examples=["/etc/router/kafka.pem"],
    )
    key_file: FilePath | None = Field(
        default=None,
        description="PEM file of the client certificate's key.",
        examples=["/etc/router/kafka.key"],
    )
    key_password: Secret | None = Field(
        default=None,
        description="Password of the key file.",
        examples=["!env KAFKA_KEY_PASSWORD"],
    )
    verify: bool = Field(
        default=True,
        description="Check the broker's certificate and host name; `false` is for tests only.",
    )

    @model_validator(mode="after")
    def _key_needs_certificate(self) -> Tls:
        if self.key_file and not self.cert_file:
            raise ValueError("key_file is given without cert_file")
        return self

    def context(self) -> ssl.SSLContext:
        """An SSL context of these files.

        Raises:
            OSError: a file can't be read, or isn't what it should be.
        """
        import ssl

        context = ssl.create_default_context(cafile=self.ca_file)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert_file:
            password = self.key_password.reveal() if self.key_password else None
            context.load_cert_chain(self.cert_file, self.key_file, password)
        return context


class Sasl(BaseModel):
    """Who the router is to the brokers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        description="SASL mechanism."
    )
    username: str = Field(description="User name.", examples=["router"])
    password: Secret = Field(description="Password.", examples=["!env KAFKA_PASSWORD"])


class KafkaConnection(BaseModel):
    """A Kafka cluster. Encrypted where ``tls`` is given, authenticated where ``sasl`` is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bootstrap: Servers = Field(
        description="One or more brokers, as text with commas or a list.",
        examples=["kafka-1:9092,kafka-2:9092"],
    )
    tls: Tls | None = Field(default=None, description="Encryption; absent means plain text.")
    sasl: Sasl | None = Field(default=None, description="Authentication; absent means none.")
    client_id: str = Field(default="router", description="Name in the brokers' logs and quotas.")

    @property
    def security_protocol(self) -> str:
        """Kafka's name of the combination of ``tls`` and ``sasl``."""
        if self.sasl:
            return "SASL_SSL" if self.tls else "SASL_PLAINTEXT"
        return "SSL" if self.tls else "PLAINTEXT"

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments that every aiokafka client takes.

        Raises:
            OSError: a TLS file can't be read.
        """
        options: dict[str, Any] = {
            "bootstrap_servers": list(self.bootstrap),
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
        }
        if self.tls:
            options["ssl_context"] = self.tls.context()
        if self.sasl:
            options["sasl_mechanism"] = self.sasl.mechanism
            options["sasl_plain_username"] = self.sasl.username
            options["sasl_plain_password"] = self.sasl.password.reveal()
        return options
