"""Jobs with sensible defaults."""

from __future__ import annotations

from typing import Any

from router.delivery.job import Job
from router.events import Record
from router.messages import Request, Target

NOW = 1_767_323_045.0


def job(number: int = 1, **fields: Any) -> Job:
    """A job; ``number`` makes its key."""
    values: dict[str, Any] = {
        "key": number.to_bytes(16, "big"),
        "family": (1000 + number).to_bytes(16, "big"),
        "siblings": 1,
        "route": "paid",
        "step": "mail",
        "sink": "mail",
        "target": Target("a@example.org", "email"),
        "record": Record("orders", 0, number, NOW, None, b"{}"),
        "identity": f"orders/{number}",
        "event_type": "order.paid",
        "event_time": NOW,
        "event_hash": b"h" * 16,
        "in_doubt": "resend",
        "message": Request(body=b"{}"),
    }
    return Job(**values | fields)
