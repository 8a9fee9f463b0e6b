"""What the router tells about itself: metrics and logs, without personal data or secrets."""

from router.telemetry.accounts import Account, Balance, Exit
from router.telemetry.bound import (
    AttemptOutcome,
    LedgerMetrics,
    PartitionMetrics,
    RouteMetrics,
    SinkMetrics,
    TopicMetrics,
)
from router.telemetry.logs import AUDIT, Logs, log, log_bug, setup_logs
from router.telemetry.metrics import CONTENT_TYPE, Metrics
from router.telemetry.redaction import (
    RecipientHash,
    Redactor,
    people_hash,
    recipient_hash,
    secrets_in,
)

__all__ = [
    "AUDIT",
    "CONTENT_TYPE",
    "Account",
    "AttemptOutcome",
    "Balance",
    "Exit",
    "LedgerMetrics",
    "Logs",
    "Metrics",
    "PartitionMetrics",
    "RecipientHash",
    "Redactor",
    "RouteMetrics",
    "SinkMetrics",
    "TopicMetrics",
    "log",
    "log_bug",
    "people_hash",
    "recipient_hash",
    "secrets_in",
    "setup_logs",
]
