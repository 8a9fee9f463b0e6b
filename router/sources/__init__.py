"""Where records come from. One file a kind; a file's name is its ``type:``."""

from router.kinds import Kinds
from router.sources._contract import (
    CommitFailed,
    Listener,
    Source,
    SourceConfig,
    SourceType,
    Unmatched,
)

KINDS = Kinds("router.sources", "SOURCE")
"""The installed source kinds."""

__all__ = [
    "KINDS",
    "CommitFailed",
    "Listener",
    "Source",
    "SourceConfig",
    "SourceType",
    "Unmatched",
]
