"""What the router tells about itself: metrics and logs, without personal data or secrets."""

from router.telemetry.accounts import Account, Balance, Exit
from router.telemetry.metrics import (
    CONTENT_TYPE,
    LedgerMetrics,
    Metrics,
    PartitionMetrics,
    RouteMetrics,
    SinkMetrics,
    TopicMetrics,
)

__all__ = [
    "CONTENT_TYPE",
    "Account",
    "Balance",
    "Exit",
    "LedgerMetrics",
    "Metrics",
    "PartitionMetrics",
    "RouteMetrics",
    "SinkMetrics",
    "TopicMetrics",
]
