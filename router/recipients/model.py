"""People and addresses, and the one interface their profiles come through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from router.messages.outcome import Reason
from router.values import Secret


@dataclass(frozen=True, slots=True)
class Device:
    """A phone or browser that takes pushes. ``platform`` is ``android``, ``ios`` or ``web``."""

    id: str
    token: str
    platform: str
    app: str | None = None
    environment: str | None = None
    registered_at: float | None = None
    locale: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a customer takes webhooks.

    Attributes:
        id: The directory's id of it; without one its address tells it from others.
        secrets: Signing secrets; each signs.
        types: Event types that it takes, ``*`` and ``?`` are shapes; none is all.
        registered_at: Seconds since the epoch when it was registered, if known: one that said it
            is gone is used again if it was registered later.
        is_from_event: The event named it, not the directory.
        is_exposed: The event brought its secrets without the source declaring them as such; they
            are left out.
    """

    url: str
    id: str | None = None
    secrets: tuple[Secret, ...] = ()
    types: tuple[str, ...] = ()
    registered_at: float | None = None
    is_from_event: bool = False
    is_exposed: bool = False


@dataclass(frozen=True, slots=True)
class Recipient:
    """A person or address.

    Attributes:
        id: The company's id of the person; what keys and throttles count by.
        email, telegram, max: Addresses; None where the person has none.
        locale: BCP 47 tag such as ``ru`` or ``pt-BR``.
        timezone: IANA name such as ``Europe/Moscow``.
        devices: For pushes.
        endpoints: For webhooks to customers.
        attributes: Whatever else the directory knows; templates may read it.
        preferences: Category or ``category/channel`` to wanted or not.
    """

    id: str
    email: str | None = None
    name: str | None = None
    locale: str | None = None
    timezone: str | None = None
    telegram: str | None = None
    max: str | None = None
    devices: tuple[Device, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    preferences: Mapping[str, bool] = field(default_factory=dict[str, bool])
    endpoints: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Unknown:
    """The directory answered: there is no such person."""

    id: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The directory did not answer: nothing is known, try later."""

    reason: Reason


Found: TypeAlias = Recipient | Unknown | Unavailable


class Directory(Protocol):
    """Where profiles come from."""

    async def lookup(self, ids: Sequence[str], tenant: str = "") -> Sequence[Found]:
        """One answer for each id, in the same order; never raises for a single id's sake.

        Args:
            tenant: Who asks; empty where no tenants are configured. It must find nobody that
                belongs to another tenant.
        """
        ...
