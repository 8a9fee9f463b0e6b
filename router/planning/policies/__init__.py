"""Policies: what they say, and what they decide. Pure."""

from router.planning.policies.local_time import instant_of, quiet_until, zone_of
from router.planning.policies.marks import held_scope, is_of_step, mark_scope
from router.planning.policies.model import (
    AT_ONCE,
    DAY_MINUTES,
    FREE,
    Bypass,
    CancelOn,
    Dedupe,
    Digest,
    Mode,
    QuietHours,
    Rank,
    Rollout,
    RoutePolicy,
    Same,
    StepPolicy,
    Throttle,
)
from router.planning.policies.preferences import OPTED_OUT, has_opted_out

__all__ = [
    "AT_ONCE",
    "DAY_MINUTES",
    "FREE",
    "OPTED_OUT",
    "Bypass",
    "CancelOn",
    "Dedupe",
    "Digest",
    "Mode",
    "QuietHours",
    "Rank",
    "Rollout",
    "RoutePolicy",
    "Same",
    "StepPolicy",
    "Throttle",
    "has_opted_out",
    "held_scope",
    "instant_of",
    "is_of_step",
    "mark_scope",
    "quiet_until",
    "zone_of",
]
