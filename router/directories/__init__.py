"""Where recipients' profiles come from. One file a kind; a file's name is its ``type:``."""

from router.directories._contract import DirectoryConfig, DirectoryType
from router.kinds import Kinds
from router.recipients import Directory, Found, Recipient, Unavailable, Unknown

KINDS = Kinds("router.directories", "DIRECTORY")
"""The installed directory kinds."""

__all__ = [
    "KINDS",
    "Directory",
    "DirectoryConfig",
    "DirectoryType",
    "Found",
    "Recipient",
    "Unavailable",
    "Unknown",
]
