"""A look-alike of a mail server."""

from router.sandbox.smtp.mailboxes import SmtpSettings
from router.sandbox.smtp.server import MailServer

__all__ = ["MailServer", "SmtpSettings"]
