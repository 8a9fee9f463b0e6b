"""How the APNs look-alikes behave."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ApnsSettings:
    """How both environments behave.

    Attributes:
        team_id, key_id: Of the one team and its one key.
        topic: The team's one app.
        max_streams: Streams that a connection may have once its token was found good; before
            that, one.
        has_limits: 100 pushes to a device at once, refilled over a minute.
        idle_s: A connection without requests for so long is closed; None never.
    """

    team_id: str = "SANDBOXTM1"
    key_id: str = "SANDBOXKY1"
    topic: str = "com.example.shop"
    max_streams: int = 1000
    has_limits: bool = True
    idle_s: float | None = None
