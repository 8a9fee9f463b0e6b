"""Who receives: recipients, their addresses, the directory interface. Pure."""

from router.recipients.addresses import UNREACHABLE, is_address, targets, why_unreachable
from router.recipients.merging import merge, read_devices
from router.recipients.model import Device, Directory, Found, Recipient, Unavailable, Unknown

__all__ = [
    "UNREACHABLE",
    "Device",
    "Directory",
    "Found",
    "Recipient",
    "Unavailable",
    "Unknown",
    "is_address",
    "merge",
    "read_devices",
    "targets",
    "why_unreachable",
]
