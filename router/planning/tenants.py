"""Whose an event is, where one router serves several. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from router.events import Event
from router.messages import Reason
from router.planning.model import Step
from router.problems import nearest
from router.routing import MISSING, Path
from router.templating import BrandValue

UNKNOWN_TENANT: Final = "unknown_tenant"
"""Why an event of a tenant that nobody has configured is a dead letter."""
_LONGEST_SHOWN: Final = 40
_MOST_GUESSES: Final = 64


@dataclass(frozen=True, slots=True)
class Tenant:
    """One of those whom the router sends for.

    Attributes:
        name: Part of every key and scope; empty where no tenants are configured.
        brand: What templates read as ``brand``: the project's values with the tenant's own.
        sinks: Sink to the name of the tenant's own; it shares the sinks that are not in here.
        event_hosts: See :class:`router.planning.SinkFacts`; of each of its own sinks, by that
            one's name.
    """

    name: str
    brand: Mapping[str, BrandValue] = field(default_factory=dict[str, BrandValue])
    sinks: Mapping[str, str] = field(default_factory=dict[str, str])
    event_hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def own(self, sink: str) -> str:
        """What the tenant has in the sink's place: its own, or the sink itself."""
        return self.sinks.get(sink, sink)


NOBODYS: Final = Tenant("")
"""Where no tenants are configured."""


def step_of(step: Step, tenant: Tenant) -> Step:
    """The step with the tenant's own sinks in the place of those that it does not share."""
    sink = tenant.own(step.sink)
    if sink == step.sink and tenant.sinks.keys().isdisjoint(step.by_platform.values()):
        return step
    return replace(
        step,
        sink=sink,
        by_platform={platform: tenant.own(name) for platform, name in step.by_platform.items()},
        event_hosts=tenant.event_hosts.get(sink, step.event_hosts),
    )


@dataclass(frozen=True, slots=True)
class UnknownTenant:
    """An event says a tenant that is not configured, or none where there is no default.

    Attributes:
        value: What it says, shortened, with its kind where it is no text; None: nothing.
        near: A configured tenant whose name is like it.
    """

    value: str | None
    near: str | None = None

    def __str__(self) -> str:
        if self.value is None:
            return "the event names no tenant, and there is no default"
        hint = f'; the nearest is "{self.near}"' if self.near else ""
        return f"there is no tenant {self.value}{hint}"

    @property
    def reason(self) -> Reason:
        """Why the event is a dead letter."""
        return Reason(UNKNOWN_TENANT, str(self))


@dataclass(frozen=True, slots=True)
class Tenants:
    """Everybody the router sends for.

    Attributes:
        by: Where an event names its tenant; None: no tenants are configured.
        default: Whose an event is that names none (absent or null).
        brand: The project's own values.
        guesses: What was probably meant by names that are not configured, as far as worked out.
    """

    by: Path | None = None
    default: str | None = None
    named: Mapping[str, Tenant] = field(default_factory=dict[str, Tenant])
    brand: Mapping[str, BrandValue] = field(default_factory=dict[str, BrandValue])
    guesses: dict[str, str | None] = field(
        default_factory=dict[str, str | None], init=False, repr=False, compare=False
    )

    def of(self, event: Event) -> Tenant | UnknownTenant:
        """Whose the event is. With no tenants configured: the nameless one's."""
        if self.by is None:
            return Tenant("", self.brand)
        said = self.by.value(event)
        if said is MISSING or said is None:
            default = self.named.get(self.default) if self.default is not None else None
            return default or UnknownTenant(None)
        name = _name(said)
        if name is None:
            return UnknownTenant(_a_kind(said))
        return self.named.get(name) or UnknownTenant(_shown(name), self._near(name))

    def _near(self, name: str) -> str | None:
        """A tenant that was probably meant. Among thousands this takes a quarter of a second, and
        all events of one that is not configured yet say the same: it is worked out once for each
        name, for so many names."""
        if name not in self.guesses:
            if len(self.guesses) >= _MOST_GUESSES or len(name) > 2 * _LONGEST_SHOWN:
                return None
            self.guesses[name] = nearest(name, self.named)
        return self.guesses[name]

    def brand_of(self, name: str) -> Mapping[str, BrandValue]:
        """What templates read as ``brand`` for a tenant; the project's own for any other name."""
        tenant = self.named.get(name)
        return self.brand if tenant is None else tenant.brand


NO_TENANTS: Final = Tenants()


def _name(said: Any) -> str | None:
    """A tenant's name as events write it: text, or a whole number."""
    if isinstance(said, str):
        return said
    return str(said) if type(said) is int else None


def _shown(name: str) -> str:
    """As text in quotes, in so many characters that a reason stays a line."""
    short = name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}…"
    return f'"{"".join(c if c.isprintable() else "?" for c in short)}"'


def _a_kind(said: Any) -> str:
    kinds = {dict: "a mapping", list: "a list", bool: "true or false"}
    return f"of that value: it is {kinds.get(type(said), 'a number')}"
