"""The durable record of deliveries. One file a kind; a file's name is its ``type:``."""

from router.kinds import Kinds
from router.ledger._codes import CODES
from router.ledger._contract import (
    Behind,
    Cancelled,
    Claim,
    Done,
    Doubtful,
    Fact,
    Granted,
    Held,
    Kind,
    Ledger,
    LedgerConfig,
    LedgerDown,
    LedgerReader,
    LedgerType,
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
    "Behind",
    "Cancelled",
    "Claim",
    "Done",
    "Doubtful",
    "Fact",
    "Granted",
    "Held",
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
