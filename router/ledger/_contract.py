"""The durable record of deliveries: rows, facts, progress, and the operations on them.

Every operation takes a list and gives an aligned list, is safe to repeat, and uses the ledger's
own clock for leases and windows (seconds since the epoch everywhere). ``router.testing.ledgers``
holds the conformance suite that every kind passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, Literal, Protocol, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from router.clock import Clock
from router.messages import Reason
from router.values import Duration


class State(StrEnum):
    """Where a row stands; the first three are open, the others final."""

    CLAIMED = "claimed"
    SCHEDULED = "scheduled"
    WAITING = "waiting"
    DELIVERED = "delivered"
    SUPPRESSED = "suppressed"
    DEAD = "dead"

    @property
    def is_final(self) -> bool:
        return self in _FINAL

    @property
    def settles(self) -> bool:
        """An offset may be committed past a row in this state."""
        return self is not State.CLAIMED


_FINAL = (State.DELIVERED, State.SUPPRESSED, State.DEAD)


class Kind(StrEnum):
    """What a row stands for."""

    DELIVERY = "delivery"
    INPUT = "input"
    DIGEST = "digest"
    DEAD_LETTER = "dead_letter"
    FEEDBACK = "feedback"


@dataclass(frozen=True, slots=True)
class Row:
    """One delivery, or another piece of durable work of the same life cycle.

    Attributes:
        key: 16 bytes.
        kind, state: See the enumerations.
        sink: The sink's name (for dead letters and feedback the internal sink's).
        epoch: Grows by one with each claim; 0 was never claimed.
        owner: The replica that holds the claim.
        lease_until: When a claim ends.
        due: When scheduled work wants to run; for waiting rows the time at which an
            ``unsettled`` fallback starts, None if only a failure starts it.
        attempts: Attempts made so far.
        first_at: When the first attempt was made.
        expires_at: Not to be sent after this.
        family: 16 bytes shared by all deliveries of one event, step and recipient
            (a person's devices); what waiting rows wait on.
        wait_on: The family whose end a waiting row awaits.
        waits_for: How many more failures of that family start it; of a digest's row, how many
            members it has.
        starts_on: The causes that start a waiting row, as ``Settle.causes`` names them. One that
            names ``unseen`` outlives the delivery of what it waits on, until its own ``due``.
        order_scope, seq: With ``ordering: key``: only the lowest open ``seq`` of a scope may run.
        cancel_scope: The fact scope whose mark cancels it.
        event_time: Seconds since the epoch.
        event_hash: 16 bytes: tells a second event of the same identity from the first.
        position: ``topic/partition/offset`` of the record.
        reason: Why it is in this state.
        blob: Everything needed to run it again; emptied in the write that makes it final, but
            kept for dead rows (replay).
        updated: When it last changed.
        doubtful: An earlier claim ended without an outcome; stays until an outcome is written.
        rank: What goes first among the due rows of a sink: 0 urgent, 1 normal, 2 bulk.
    """

    key: bytes
    kind: Kind = Kind.DELIVERY
    state: State = State.CLAIMED
    sink: str = ""
    epoch: int = 0
    owner: str | None = None
    lease_until: float | None = None
    due: float | None = None
    attempts: int = 0
    first_at: float | None = None
    expires_at: float | None = None
    family: bytes | None = None
    wait_on: bytes | None = None
    waits_for: int = 0
    starts_on: tuple[str, ...] = ()
    order_scope: str | None = None
    seq: int | None = None
    cancel_scope: str | None = None
    event_time: float = 0.0
    event_hash: bytes = b""
    position: str = ""
    reason: Reason | None = None
    blob: bytes | None = None
    updated: float = 0.0
    doubtful: bool = False
    rank: int = 1


# Claims --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Granted:
    """The caller holds the delivery until its lease ends."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Doubtful:
    """An earlier claim's lease ended without an outcome: it may have been sent.

    The caller holds the claim (as with ``Granted``) and decides by the route's ``in_doubt``.
    """

    epoch: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody else holds it; look again at ``until``."""

    until: float


@dataclass(frozen=True, slots=True)
class Done:
    """There is nothing to claim: the row is in this state already (final, scheduled, waiting).

    ``other_event`` tells that the row belongs to a different record of the same identity.
    """

    state: State
    other_event: bool = False


@dataclass(frozen=True, slots=True)
class Behind:
    """A lower open ``seq`` of its order scope has to end first."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Its cancel scope has a mark that is not older than the event."""


Claim: TypeAlias = Granted | Doubtful | Held | Done | Behind | Cancelled


# Settlements ---------------------------------------------------------------------------------

Waiters = Literal["keep", "start", "drop"]

RANKS: Final = (0, 1, 2)
"""What ``Row.rank`` can be."""

UNCLAIMED: Final = -1
"""As ``Settle.row.epoch``: an open row that nobody has ever claimed, and nothing else."""

UNSEEN: Final = "unseen"
"""In ``Row.starts_on``: it starts at its ``due`` even where what it waits on was delivered."""


@dataclass(frozen=True, slots=True)
class Settle:
    """Writes what became of one row.

    A row that exists is updated only if ``row.epoch`` is its current epoch (0 means: never
    claimed, insert it, or leave it be where it exists already; ``UNCLAIMED``: update it if it was
    never claimed); a stale ``delivered`` is written
    all the same, unless the row is final or the epoch 0; any other stale outcome is ``STALE`` and
    writes nothing. A row that stands in ``row.state`` already, under the same epoch or finally,
    is ``SAME``: nothing is written, and no waiter counted twice.

    Attributes:
        row: The row as it shall stand; never ``claimed``. ``key, epoch, state`` decide; on an
            update ``state, due, attempts, reason`` are taken as given, ``sink, first_at,
            expires_at, blob`` where given, and all else (family, event_time, event_hash, position,
            order, cancel scope …) keeps its stored value. ``scheduled`` without ``due`` is due now.
        waiters: What this does to rows in state ``waiting`` on the stored row's family, once
            ``follow_ups`` are in: ``keep`` nothing, ``start`` counts one failure of those whose
            ``starts_on`` shares a cause with ``causes``, and at zero schedules them at once (the
            others are dropped), ``drop`` makes them ``suppressed``. Neither drops a row whose
            ``starts_on`` names ``unseen``: it stays, waiting for its own ``due``. Whatever waits
            on a row that is dropped goes with it, in turn, ``unseen`` or not: what was never sent
            can't be seen.
        causes: Why the row failed, for ``start``.
        dropped_as: With ``drop``, the reason that the dropped rows get (None: ``not_needed``, as
            with ``start``).
        follow_ups: Rows inserted in the same transaction if this settlement is written and their
            key is new: dead letters, feedback, waiting fallbacks. The fallback of several devices
            goes with each one's settlement: the first inserts it, and each acts on it.
    """

    row: Row
    waiters: Waiters = "keep"
    causes: tuple[str, ...] = ()
    follow_ups: tuple[Row, ...] = ()
    dropped_as: Reason | None = None


class Settled(StrEnum):
    """What a settlement came to: written; already so (a repeat); or overtaken."""

    OK = "ok"
    SAME = "same"
    STALE = "stale"


# Digests -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Join:
    """Asks for a member's place in the open digest of a scope, or opens one.

    Attributes:
        scope: Whose digest: one string for route, person and key.
        key: 16 bytes: of the digest's row, if this member opens it (derived from the member's
            key). Should a row of that key be there already, the next free number is taken.
        member: The member's row, as it shall wait (state ``waiting``, with a blob); the ledger
            fills ``wait_on`` with the digest's key.
        sink: Of the digest's row: the internal sink that flushes digests.
        window: Seconds after its opening at which a digest closes.
        most: So many members close it at once.
        extend: Each further member moves the end to ``window`` seconds from now ...
        at_most: ... but never beyond so many seconds after the opening (None: no bound; only with
            ``extend``).
        blob: What the digest's row keeps.
    """

    scope: str
    key: bytes
    member: Row
    sink: str
    window: float
    most: int
    extend: bool = False
    at_most: float | None = None
    blob: bytes = b""


@dataclass(frozen=True, slots=True)
class Joined:
    """A member has its place.

    Attributes:
        digest: The key of the digest that has it.
        members: How many the digest has.
        closes_at: When the digest closes, or closed (seconds since the epoch).
        is_new: The member was put there by this call.
    """

    digest: bytes
    members: int
    closes_at: float
    is_new: bool


# Facts ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fact:
    """A small durable fact: gate, silence, cancel mark, gone token, throttle member, crash mark.

    ``until`` None keeps it for ever. ``at`` is when it was written (ledger clock); give 0.
    """

    scope: str
    member: str
    value: str = ""
    until: float | None = None
    at: float = 0.0
    blob: bytes | None = None


@dataclass(frozen=True, slots=True)
class Take:
    """Asks for one of at most ``limit`` places in a bucket within ``window`` seconds.

    Insert-if-absent of ``(bucket, member)``: a member that is in already gets the verdict it got
    then, so that a redelivery neither suppresses itself nor counts twice. Serves throttles, caps
    and dedupe (limit 1).
    """

    bucket: str
    member: str
    limit: int
    window: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """``granted``, and how many places of the bucket are taken now."""

    granted: bool
    taken: int


@dataclass(frozen=True, slots=True)
class ProgressKey:
    group: str
    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Stats:
    """Row counts by (kind, state), open rows by sink with the bytes of their blobs, and for how
    many seconds the oldest due row has been due (None: nothing is due)."""

    rows: Mapping[tuple[Kind, State], int]
    backlog: Mapping[str, int]
    backlog_bytes: Mapping[str, int]
    oldest_due: float | None


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
