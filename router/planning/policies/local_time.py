"""Quiet hours in somebody's own time, DST and all. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from router.planning.policies.model import DAY_MINUTES, QuietHours


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo | None:
    """The zone of an IANA name; None where there is none of that name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def instant_of(wall: datetime, zone: ZoneInfo) -> float:
    """When a wall clock shows a time, seconds since the epoch.

    A time that the clock skips moves forward by as much as it skips; one that it shows twice is
    the first of the two.
    """
    return wall.replace(tzinfo=zone, fold=0).timestamp()


def quiet_until(hours: QuietHours, now: float) -> float | None:
    """When the quiet hours that ``now`` lies in end, seconds since the epoch; None: it is not in
    them.
    """
    named = hours.zone or hours.otherwise
    zone = zone_of(named) or zone_of(hours.otherwise) or zone_of("UTC")
    assert zone is not None
    today = datetime.fromtimestamp(now, zone).replace(
        hour=0, minute=0, second=0, microsecond=0, tzinfo=None, fold=0
    )
    for day in (today - timedelta(days=1), today):
        start = instant_of(day + timedelta(minutes=hours.start), zone)
        length = (hours.end - hours.start) % DAY_MINUTES or DAY_MINUTES
        end = instant_of(day + timedelta(minutes=hours.start + length), zone)
        if start <= now < end:
            return end
    return None
