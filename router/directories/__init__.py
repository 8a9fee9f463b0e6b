"""Where recipients' profiles come from. One file a kind; a file's name is its ``type:``.

Installed plugins add kinds by entry points of the group ``router.directories``.
"""

from router.directories._contract import DirectoryConfig, DirectoryType, mistake_in
from router.directories._people import PeopleError, Placed, read_placed
from router.kinds import Kinds, Plugins
from router.recipients import Directory, Found, Recipient, Unavailable, Unknown

KINDS = Kinds("router.directories", "DIRECTORY", Plugins("router.directories", mistake_in))
"""The installed directory kinds."""

__all__ = [
    "KINDS",
    "Directory",
    "DirectoryConfig",
    "DirectoryType",
    "Found",
    "PeopleError",
    "Placed",
    "Recipient",
    "Unavailable",
    "Unknown",
    "read_placed",
]
