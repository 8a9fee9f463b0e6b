"""Who receives: recipients, their addresses, the directory interface. Pure."""

from router.recipients.model import Device, Directory, Found, Recipient, Unavailable, Unknown

__all__ = ["Device", "Directory", "Found", "Recipient", "Unavailable", "Unknown"]
