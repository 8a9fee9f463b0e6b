"""Addresses to listen on, and what is unsafe about them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from router.config.settings import AdminSettings
from router.problems import Problem


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port, written ``127.0.0.1:9090`` or ``[::1]:9090``; port 0 takes a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address that a text names.

        Raises:
            ValueError: it is not ``host:port``; the message says what to write.
        """
        host, colon, port = text.strip().rpartition(":")
        is_bracketed = host.startswith("[") and host.endswith("]")
        if (
            not colon
            or not host
            or (":" in host and not is_bracketed)
            or not (port.isascii() and port.isdigit() and int(port) < 65536)
        ):
            raise ValueError(f'not an address: "{text}"; write host:port, as in 127.0.0.1:9090')
        return cls(host[1:-1] if is_bracketed else host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Reachable from this machine alone."""
        return is_loopback_host(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback_host(host: str) -> bool:
    """``localhost`` or a loopback address, without looking any name up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_admin(settings: AdminSettings) -> list[Problem]:
    """What is wrong with the listening addresses, and with going without a token."""
    problems: list[Problem] = []
    for name in ("listen", "probes"):
        try:
            address = Address.parse(getattr(settings, name))
        except ValueError as error:
            problems.append(Problem("S301", f"admin.{name}: {error}"))
            continue
        if name == "listen" and settings.token is None and not address.is_loopback:
            message = (
                f"admin.listen {address} is reachable from outside and there is no admin.token; "
                "set a token (!env ADMIN_TOKEN) or listen on 127.0.0.1"
            )
            problems.append(Problem("S302", message))
    return problems
