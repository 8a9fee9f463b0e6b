"""The durable record of deliveries. One file a kind; a file's name is its ``type:``."""

from router.kinds import Kinds
from router.ledger._codes import CODES
from router.ledger._contract import Ledger, LedgerConfig, LedgerDown, LedgerReader, LedgerType
from router.ledger._model import (
    RANKS,
    UNCLAIMED,
    UNSEEN,
    Behind,
    Cancelled,
    Claim,
    Done,
    Doubtful,
    Fact,
    Granted,
    Held,
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
    Waiters,
)

KINDS = Kinds("router.ledger", "LEDGER")
"""The installed ledger kinds."""

__all__ = [
    "CODES",
    "KINDS",
    "RANKS",
    "UNCLAIMED",
    "UNSEEN",
    "Behind",
    "Cancelled",
    "Claim",
    "Done",
    "Doubtful",
    "Fact",
    "Granted",
    "Held",
    "Join",
    "Joined",
    "Kind",
    "Ledger",
    "LedgerConfig",
    "LedgerDown",
    "LedgerReader",
    "LedgerType",
    "ProgressKey",
    "Row",
    "Settle",
    "Settled",
    "State",
    "Stats",
    "Take",
    "Verdict",
    "Waiters",
]
