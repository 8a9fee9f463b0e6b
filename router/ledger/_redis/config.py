"""How a ledger on Redis is configured, and what that makes of its server."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from router.ledger._contract import LedgerConfig
from router.ledger._redis.store import Server
from router.ledger._tls import LedgerTls
from router.values import Duration, Secret


class RedisConfig(LedgerConfig):
    """A ledger on Redis 7 or later, for any number of replicas.

    What is scheduled there is as durable as Redis is told to be: it takes `appendonly yes`,
    `appendfsync always` and `maxmemory-policy noeviction`.
    """

    type: str = Field("redis", description="`redis`.")
    url: str = Field(
        description="Server and database, without password; of a cluster, any node.",
        examples=["redis://redis.internal:6379/0"],
    )
    user: str | None = Field(None, description="Who to log in as, where the server has users.")
    password: Secret | None = Field(
        None, description="The password.", examples=["!env LEDGER_PASSWORD"]
    )
    prefix: str = Field(
        "router",
        pattern=r"^[A-Za-z0-9_.-]+$",
        description="Names the ledger among others on the server; every key starts with it.",
    )
    cluster: bool = Field(
        False,
        description="The server is a node of a cluster. The ledger stays in one of its slots.",
    )
    tls: LedgerTls | None = Field(None, description="Encryption; absent means plain text.")
    connections: int = Field(
        8, ge=1, le=100, description="Most connections that a replica opens at once."
    )
    timeout: Duration = Field(
        5.0, ge=0.1, description="How long the server may take to connect, and to answer."
    )

    @field_validator("url")
    @classmethod
    def _without_password(cls, url: str) -> str:
        if not url.startswith("redis://"):
            raise ValueError("write redis://host:port/0, and tls: {} for an encrypted connection")
        if urlsplit(url).password is not None or "password=" in url:
            raise ValueError("a password does not belong into the URL; write it as password: !env")
        return url

    def server(self) -> Server:
        """Raises:
        OSError: a TLS file can't be read.
        """
        options: dict[str, Any] = {}
        if self.user is not None:
            options["username"] = self.user
        if self.password is not None:
            options["password"] = self.password.reveal()
        if self.tls is not None:
            self.tls.context()
            options |= _tls_options(self.tls)
        return Server(self._tls_url, options, self.prefix, self.cluster, self.timeout)

    @property
    def _tls_url(self) -> str:
        return self.url if self.tls is None else self.url.replace("redis://", "rediss://", 1)


def _tls_options(tls: LedgerTls) -> dict[str, Any]:
    options: dict[str, Any] = {
        "ssl_cert_reqs": "required" if tls.verify else "none",
        "ssl_check_hostname": tls.verify,
    }
    if tls.ca_file is not None:
        options["ssl_ca_certs"] = tls.ca_file
    if tls.cert_file is not None:
        options |= {"ssl_certfile": tls.cert_file, "ssl_keyfile": tls.key_file or tls.cert_file}
        if tls.key_password is not None:
            options["ssl_password"] = tls.key_password.reveal()
    return options
