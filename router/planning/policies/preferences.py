"""What people want to hear of, and how. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from router.messages import Channel, Reason

OPTED_OUT: Final = Reason("opted_out", "the recipient does not want it")


def has_opted_out(preferences: Mapping[str, bool], category: str, channel: Channel) -> bool:
    """Whether a person wants nothing of a category on a channel.

    What is said of ``category/channel`` goes before what is said of the category; who says
    nothing wants it.
    """
    wanted = preferences.get(f"{category}/{channel}", preferences.get(category))
    return wanted is False
