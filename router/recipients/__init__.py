"""Who receives: recipients, their addresses, the directory interface. Pure."""

from router.recipients.addresses import UNREACHABLE, is_address, targets, why_unreachable
from router.recipients.endpoints import endpoint_id, is_allowed, read_endpoints, wants
from router.recipients.merging import merge, read_devices
from router.recipients.model import (
    Device,
    Directory,
    Endpoint,
    Found,
    Recipient,
    Unavailable,
    Unknown,
)

__all__ = [
    "UNREACHABLE",
    "Device",
    "Directory",
    "Endpoint",
    "Found",
    "Recipient",
    "Unavailable",
    "Unknown",
    "endpoint_id",
    "is_address",
    "is_allowed",
    "merge",
    "read_devices",
    "read_endpoints",
    "targets",
    "wants",
    "why_unreachable",
]
