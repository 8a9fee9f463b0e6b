"""What goes into a ledger and comes out of it: rows, claims, settlements, digests, facts.

Times are seconds since the epoch, by the ledger's own clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from router.messages import Reason


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
