"""Reading a mail as a receiving server and a person's mail program do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from router.messages import Channel
from router.sandbox.record import Received

_BARE_END = re.compile(rb"(?<!\r)\n|\r(?!\n)")
_MAX_LINE = 998


def why_malformed(content: bytes, takes_8bit: bool, has_utf8: bool) -> str | None:
    """The reply of a strict server to content it can't take, or None.

    RFC 5321 sections 2.3.8 and 4.5.3.1.6, RFC 5322 section 3.6, RFC 6532.
    """
    head, _, _ = content.partition(b"\r\n\r\n")
    if _BARE_END.search(content):
        return "550 5.5.2 bare CR or LF"
    if any(len(line) > _MAX_LINE for line in content.split(b"\r\n")):
        return "554 5.6.0 line longer than 998 octets"
    if not takes_8bit and not content.isascii():
        return "554 5.6.1 8-bit content not supported"
    if not head.isascii() and not has_utf8:
        return "550 5.6.7 header fields need SMTPUTF8"
    names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")]
    for name in (b"from", b"date"):
        if names.count(name) != 1:
            return f"550 5.6.0 message needs one {name.decode().title()} field"
    return None


def parse_mail(content: bytes, recipient: str, wire: Mapping[str, str]) -> Received:
    """What the owner of the mailbox sees, with the mail's identity."""
    mail = message_from_bytes(content, policy=default)
    text, html = _body(mail, "plain"), _body(mail, "html")
    details = dict(wire)
    for name in ("From", "To", "Reply-To", "Date", "List-Unsubscribe", "List-Unsubscribe-Post"):
        if mail[name] is not None:
            details[name] = str(mail[name])
    attachments = [
        part.get_filename() or part.get_content_type() for part in mail.iter_attachments()
    ]
    if attachments:
        details["attachments"] = ", ".join(attachments)
    defects = [type(defect).__name__ for part in mail.walk() for defect in part.defects]
    if defects:
        details["defects"] = ", ".join(defects)
    message_id = mail["Message-ID"]
    return Received(
        provider="smtp",
        channel=Channel.EMAIL,
        recipient=recipient,
        title=str(mail["Subject"] or ""),
        text=text or "",
        html=html,
        key=str(message_id).strip() if message_id is not None else None,
        raw=content,
        details=details,
    )


def _body(mail: EmailMessage, kind: str) -> str | None:
    part = mail.get_body((kind,))
    if part is None:
        return None
    content = part.get_content()
    return content.replace("\r\n", "\n") if isinstance(content, str) else None
