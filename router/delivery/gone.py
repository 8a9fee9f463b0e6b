"""Addresses that a provider has said are dead: kept as facts, and left alone from then on."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple, final

from router.clock import Clock
from router.delivery.job import Job
from router.delivery.watched import WatchedLedger
from router.ledger import Fact
from router.messages import Target

SINKS = "gone"
"""Scope of the facts that say which sinks have dead addresses at all."""

_LOOK_EVERY_S = 10.0
_DAY = 86400.0
_KEEP_S = 90 * _DAY
_KEEP_UNDATED_S = 7 * _DAY


class Address(NamedTuple):
    """Where a sink sends something of a tenant's: what it finds dead is dead for that tenant."""

    tenant: str
    sink: str
    address: str


@final
class GoneAddresses:
    """Which addresses are dead, as the ledger knows it.

    An address is known by a keyed hash, never by itself. One that was registered again after it
    died is alive. Of an address without a time of registration nobody can tell that: it is tried
    again after a week.

    Each address is a scope of its own, so that those of a batch are looked up by name, however
    many there are.
    """

    def __init__(self, ledger: WatchedLedger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._key = ledger.uuid.encode()[:64]
        self._sinks: set[str] = set()
        self._looked_at: float | None = None

    def found(self, job: Job) -> list[Fact]:
        """The facts to write of a delivery whose address turned out to be dead."""
        now, registered_at = self._clock.now(), job.target.registered_at
        self._sinks.add(job.sink)
        until = now + (_KEEP_UNDATED_S if registered_at is None else _KEEP_S)
        value = repr(now if registered_at is None else registered_at)
        return [
            Fact(self._scope(address_of(job)), "", value, until),
            Fact(SINKS, job.sink, until=now + _KEEP_S),
        ]

    async def among(self, addresses: Iterable[tuple[Address, Target]]) -> set[Address]:
        """Those that are dead.

        Raises:
            LedgerDown: nobody knows.
        """
        await self._look()
        scopes = {self._scope(a): (a, target) for a, target in addresses if a.sink in self._sinks}
        if not scopes:
            return set()
        dead: set[Address] = set()
        for fact in await self._ledger.facts(list(scopes)):
            address, target = scopes[fact.scope]
            if target.registered_at is None or target.registered_at <= float(fact.value):
                dead.add(address)
        return dead

    async def _look(self) -> None:
        """From time to time: has another replica found a sink's first dead address?"""
        now = self._clock.monotonic()
        if self._looked_at is None or now - self._looked_at >= _LOOK_EVERY_S:
            self._sinks |= {fact.member for fact in await self._ledger.facts([SINKS])}
            self._looked_at = now

    def _scope(self, one: Address) -> str:
        text = f"{one.tenant}\0{one.address}" if one.tenant else one.address
        raw = text.encode("utf-8", "surrogatepass")
        return f"{SINKS}:{one.sink}:{blake2b(raw, key=self._key, digest_size=16).hexdigest()}"


def address_of(job: Job) -> Address:
    """Where a delivery goes."""
    return Address(job.tenant, job.sink, job.target.address)
