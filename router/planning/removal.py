"""Sinks that were taken out of the configuration while deliveries waited for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from router.messages import Channel, Reason, Target
from router.planning.model import UNKNOWN_PLATFORM, SinkFacts

SINK_REMOVED: Final = Reason("sink_removed", "its sink was taken out of the configuration")
_UNADDRESSED: Final = "request"


@dataclass(frozen=True, slots=True)
class Removal:
    """What becomes of the deliveries that still wait for such a sink.

    Attributes:
        to: The sink that sends them instead; None: they are dead.
    """

    to: SinkFacts | None = None

    def takes(self, channel: str, target: Target) -> bool:
        """Whether the other sink can send a message of this channel to this target."""
        if self.to is None or self.to.channel != channel:
            return False
        if self.to.channel is Channel.PUSH:
            platforms = self.to.by_platform
            return not platforms or (target.platform or UNKNOWN_PLATFORM) in platforms
        kinds = (target.kind, "any", _UNADDRESSED if not target.address else "")
        return self.to.address_kind in kinds
