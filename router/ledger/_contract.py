"""The durable record of deliveries: the operations on its rows, facts and progress.

Every operation takes a list and gives an aligned list, is safe to repeat, and uses the ledger's
own clock for leases and windows (seconds since the epoch everywhere). ``router.testing.ledgers``
holds the conformance suite that every kind passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from router.clock import Clock
from router.ledger._model import (
    RANKS,
    Claim,
    Done,
    Fact,
    Join,
    Joined,
    Kind,
    ProgressKey,
    Row,
    Settle,
    Settled,
    State,
    Stats,
    Take,
    Verdict,
)
from router.values import Duration


class LedgerReader(Protocol):
    """The part of a ledger that only looks, open beside the process that writes."""

    async def lookup(self, keys: Sequence[bytes]) -> Sequence[Row | None]: ...
    async def facts(self, scopes: Sequence[str]) -> Sequence[Fact]: ...
    async def rows(
        self,
        *,
        kind: Kind = Kind.DELIVERY,
        state: State | None = None,
        sink: str | None = None,
        since: float | None = None,
        until: float | None = None,
        after: bytes | None = None,
        limit: int = 100,
    ) -> Sequence[Row]: ...
    async def stats(self) -> Stats: ...


class Ledger(Protocol):
    """An open ledger. ``owner`` names this process; leases and windows use the ledger's clock.

    Within one call the items are worked on in order, each seeing what the ones before it wrote.
    Every method may raise ``LedgerDown``; the caller then fails closed. A call that was cancelled
    may still take effect.

    Attributes:
        uuid: Names the store for as long as it keeps its rows; empty for a memory ledger.
    """

    @property
    def uuid(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def is_durable(self) -> bool: ...

    @property
    def is_shared(self) -> bool:
        """Other replicas use it at the same time: rates are kept in it."""
        ...

    async def lookup(self, keys: Sequence[bytes]) -> Sequence[Row | None]:
        """The rows as they stand."""
        ...

    async def admit(self, asks: Sequence[Take]) -> Sequence[Verdict]:
        """Grants or refuses places in buckets, atomically for each ask, in order."""
        ...

    async def claim(self, rows: Sequence[Row], lease: float) -> Sequence[Claim]:
        """Takes deliveries for ``lease`` seconds just before they are sent.

        An unknown key is inserted as given (but without ``due``), claimed, with epoch 1, unless
        it is ``Cancelled`` or ``Behind``: then nothing is written. A claimed one whose lease
        has ended is taken over (``Doubtful``; no longer cancelled, but it can be ``Behind``). A
        row this owner holds with a live lease is ``Held`` too: nobody claims twice.
        """
        ...

    async def settle(self, settlements: Sequence[Settle]) -> Sequence[Settled]:
        """Writes outcomes and their follow-ups, all of the call in one transaction."""
        ...

    async def join(self, joins: Sequence[Join]) -> Sequence[Joined | Done]:
        """Puts members into digests, all of the call in one transaction.

        A member that waits in a digest already is told which; one whose row stands otherwise is
        ``Done``. A new member is inserted ``waiting`` on the scope's open digest, or on one that
        it opens: a row of kind ``digest``, ``scheduled`` for its end, with its own key as family,
        its opening as ``first_at`` and the number of members as ``waits_for``. A digest is open
        until its ``due`` has come, it has ``most`` members, or ``due`` has claimed it; then it is
        closed for ever. No ``start`` starts a member; ``Settle.waiters`` of the digest drops it.
        """
        ...

    async def members(self, digests: Sequence[bytes]) -> Sequence[Sequence[Row]]:
        """The waiting members of each digest with their messages, by (event_time, key)."""
        ...

    async def due(
        self,
        wanted: Mapping[str, int],
        lease: float,
        kinds: Sequence[Kind] | None = None,
        ranks: Sequence[int] = RANKS,
    ) -> Sequence[Row]:
        """Claims rows whose time has come: at most ``wanted[sink]`` for each sink named.

        Scheduled rows whose ``due`` has passed, waiting rows whose ``due`` has passed, claimed
        rows with a blob whose lease has ended (their row's state says ``claimed``: in doubt; one
        without a blob is left to its record, which is not committed, and to ``claim``) — of each
        sink the lowest ``rank`` first, then the longest due; heads only within an order scope,
        cancelled ones included (the caller's gate decides). Rows come back claimed, with their
        new epoch and lease, their ``state`` as it was before, and their blob. With ``ranks`` only
        rows of these.
        """
        ...

    async def expired(self, most: int, lease: float) -> Sequence[Row]:
        """Claims at most so many scheduled deliveries whose ``expires_at`` has passed, the longest
        ago first, whatever they wait for: of any sink, due or not, heads of an order scope or
        behind it. Rows come back as from ``due``."""
        ...

    async def next_due(self, sinks: Sequence[str]) -> float | None:
        """When ``due`` will next have something for these sinks, or None."""
        ...

    async def release(self, claims: Sequence[tuple[bytes, int]]) -> None:
        """Gives back this owner's claims (key, epoch) that were never sent: a row that the claim
        inserted without blob vanishes, one taken over in doubt stays in doubt with its lease
        ended, any other returns to ``scheduled``, due at once."""
        ...

    async def reschedule(self, keys: Sequence[bytes], due: float) -> Sequence[bool]:
        """Replay: compare-and-set ``dead`` to ``scheduled`` with fresh attempts and the next
        epoch; False where the row is not dead or has no blob."""
        ...

    async def facts(self, scopes: Sequence[str]) -> Sequence[Fact]:
        """Every live fact of these scopes, ordered by (scope, member)."""
        ...

    async def put_facts(self, facts: Sequence[Fact]) -> None:
        """Writes facts; an existing (scope, member) is replaced, unless its ``value`` is the
        number and larger one of a cancel mark (scope starts with ``cancel:``), whose ``until``
        only grows as well."""
        ...

    async def drop_facts(self, members: Sequence[tuple[str, str]]) -> None:
        """Removes facts (scope, member); missing ones are fine."""
        ...

    async def changes(self, prefix: str, since: float) -> Sequence[Fact]:
        """Facts whose scope starts with ``prefix`` written at or after ``since``, those that have
        ended included: to end a fact so that others notice, put it again with ``until`` now."""
        ...

    async def take(self, scope: str, n: int, per_second: float, burst: float) -> float:
        """Takes ``n`` tokens of a shared token bucket; the seconds to wait before using them.

        Tokens not there yet are promised: the next caller waits behind this one. A repeat takes
        again, which only costs time.
        """
        ...

    async def progress(self, keys: Sequence[ProgressKey]) -> Sequence[int | None]:
        """The next offset to read, as last stored."""
        ...

    async def put_progress(self, offsets: Mapping[ProgressKey, int]) -> None:
        """Stores the next offset to read; never moves backwards."""
        ...

    async def rows(
        self,
        *,
        kind: Kind = Kind.DELIVERY,
        state: State | None = None,
        sink: str | None = None,
        since: float | None = None,
        until: float | None = None,
        after: bytes | None = None,
        limit: int = 100,
    ) -> Sequence[Row]:
        """Rows for people to look at, by key order after ``after``; ``since``/``until`` bound
        ``updated``."""
        ...

    async def purge(self, older_than: float) -> int:
        """Drops final rows last changed before ``older_than`` (not unpublished dead letters, which
        are open) and facts whose ``until`` has passed; how many."""
        ...

    async def stats(self) -> Stats: ...


class LedgerDown(Exception):
    """The ledger can't be reached or written; nothing is known to have happened."""


class LedgerConfig(BaseModel):
    """Options that every ledger has."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    type: str = Field(description="The ledger's kind.")
    retention: Duration = Field(
        604800.0,
        description="How long a repeat is recognised: final rows are kept this long.",
        examples=["7d"],
    )


LedgerConfigT = TypeVar("LedgerConfigT", bound=LedgerConfig)
LedgerConfigT_contra = TypeVar("LedgerConfigT_contra", bound=LedgerConfig, contravariant=True)


class OpenLedger(Protocol[LedgerConfigT_contra]):
    """Opens a ledger for its lifetime.

    Raises (on entering):
        LedgerDown: it can't be reached.
        ConfigError: it can't be used as configured (network file system, locked by another).
    """

    def __call__(
        self, config: LedgerConfigT_contra, *, owner: str, clock: Clock
    ) -> AbstractAsyncContextManager[Ledger]: ...


class OpenLedgerReader(Protocol[LedgerConfigT_contra]):
    """Opens a ledger for looking only, whether or not another process has it open.

    Raises (on entering):
        LedgerDown: there is no such ledger, or it can't be reached.
        ConfigError: it can't be used as configured.
    """

    def __call__(
        self, config: LedgerConfigT_contra, *, clock: Clock
    ) -> AbstractAsyncContextManager[LedgerReader]: ...


@dataclass(frozen=True, slots=True)
class LedgerType(Generic[LedgerConfigT]):
    """One kind of ledger: what its module exports as ``LEDGER``.

    ``open_reader`` is None where there is nothing to look at from outside; ``is_shared``: several
    processes may have one open and write it.
    """

    name: str
    config: type[LedgerConfigT]
    open: OpenLedger[LedgerConfigT]
    open_reader: OpenLedgerReader[LedgerConfigT] | None = None
    is_shared: bool = False
