"""Customers' webhook endpoints, from a directory or out of an event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

from router.recipients.model import Endpoint
from router.values import Secret


def read_endpoints(value: Any, *, from_event: bool) -> tuple[Endpoint, ...]:
    """Endpoints from a list of maps with ``url``, ``secrets`` and what else is known.

    Entries without an address are left out. An event's secrets are taken only where they are
    declared as such, and are :class:`Secret` then; see :attr:`Endpoint.is_exposed`.
    """
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        return ()
    found = (_endpoint(entry, from_event) for entry in value if isinstance(entry, Mapping))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return tuple(endpoint for endpoint in found if endpoint is not None)


def _endpoint(fields: Mapping[str, Any], from_event: bool) -> Endpoint | None:
    url = fields.get("url")
    if not isinstance(url, str) or not url.strip():
        return None
    given = list(_listed(fields.get("secrets")))
    secrets = [s if isinstance(s, Secret) else Secret(s) for s in given]
    is_exposed = from_event and any(isinstance(secret, str) for secret in given)
    id, registered_at = fields.get("id"), fields.get("registered_at")
    is_time = isinstance(registered_at, int | float) and not isinstance(registered_at, bool)
    return Endpoint(
        url=url.strip(),
        id=str(id) if isinstance(id, str | int) and not isinstance(id, bool) else None,
        secrets=() if is_exposed else tuple(secrets),
        types=tuple(t for t in _listed(fields.get("types")) if isinstance(t, str)),
        registered_at=float(registered_at) if is_time else None,  # pyright: ignore[reportArgumentType]
        is_from_event=from_event,
        is_exposed=is_exposed,
    )


def _listed(value: Any) -> Iterable[str | Secret]:
    if isinstance(value, str | Secret):
        return (value,)
    if not isinstance(value, list | tuple):
        return ()
    return [item for item in value if isinstance(item, str | Secret) and item]  # pyright: ignore[reportUnknownVariableType]


def wants(endpoint: Endpoint, event_type: str) -> bool:
    """Whether the endpoint takes events of this type: one of its types, or of their shapes."""
    if not endpoint.types:
        return True
    return any(fnmatchcase(event_type, _literal_brackets(shape)) for shape in endpoint.types)


def _literal_brackets(shape: str) -> str:
    """``*`` and ``?`` are all there is to a shape."""
    return shape.replace("[", "[[]")


def endpoint_id(endpoint: Endpoint) -> str:
    """What tells an endpoint from a recipient's others: its id, else its address's hash."""
    if endpoint.id is not None:
        return endpoint.id
    return blake2b(endpoint.url.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def is_allowed(endpoint: Endpoint, hosts: Iterable[str]) -> bool:
    """Whether an address that came in an event is of one of these hosts.

    Args:
        hosts: ``hooks.acme.io``, or ``*.acme.io`` for every host below ``acme.io``.
    """
    try:
        host = (urlsplit(endpoint.url).hostname or "").lower().rstrip(".")
    except ValueError:
        return False
    for allowed in hosts:
        name = allowed.lower()
        if host == name or (name.startswith("*.") and host.endswith(name[1:])):
            return True
    return False
