"""Mail as bytes: a small MIME serialiser for the one shape of mail that this product sends.

The standard library's ``EmailMessage`` takes about a millisecond for a two-part mail and folds
long machine-read headers such as ``List-Unsubscribe`` into encoded words, which breaks one-click
unsubscription. This one writes text and HTML alternatives with a fixed set of headers, refuses
every control character, and never folds what machines read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from email.utils import formatdate

from router.messages import EmailMessage

_MAX_LINE = 998
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~ ]*")
_ADDRESS = re.compile(r'[^\s\x00-\x20\x7f<>()\[\]\\,;:"@]+@[^\s\x00-\x20\x7f<>()\[\]\\,;:"@]+')
_MAILBOX = re.compile(r"(?:(?P<name>[^<>]*?)\s*<(?P<angle>[^<>\s]+)>|(?P<bare>[^<>\s]+))")
_LOCALE = re.compile(r"[A-Za-z0-9]{1,8}([-_][A-Za-z0-9]{1,8})*")
_URL = re.compile(r"(https?|mailto):[!-;=?-~]+")
_WORD_BYTES = 45


class UnsafeMail(ValueError):
    """The mail can't be written as it is; ``code`` says what is wrong with it."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Heading:
    """What a mail says beside its message.

    Attributes:
        sender: The ``From`` header's value, from :func:`mailbox`.
        recipient: A wire address, from :func:`wire_address`.
        message_id: With its angle brackets, the same for all attempts.
        date: Seconds since the epoch.
    """

    sender: str
    recipient: str
    message_id: str
    date: float
    is_test: bool = False


def wire_address(address: str) -> str:
    """An address as SMTP takes it: its domain in ASCII (RFC 5891), its local part as it is.

    Raises:
        UnsafeMail: it is not an address.
    """
    if not _ADDRESS.fullmatch(address):
        raise UnsafeMail("address_invalid", "not an e-mail address")
    local, _, domain = address.rpartition("@")
    if not domain.isascii():
        try:
            domain = domain.encode("idna").decode("ascii")
        except UnicodeError:
            raise UnsafeMail("address_invalid", "the domain is not a valid name") from None
    if len(local.encode()) > 64 or len(domain) > 253 or ".." in domain or domain[0] == ".":
        raise UnsafeMail("address_invalid", "too long, or not a domain")
    return f"{local}@{domain}"


def parse_mailbox(text: str) -> tuple[str, str]:
    """Display name (may be empty) and wire address of ``Name <address>`` or ``address``.

    Raises:
        UnsafeMail: it is not exactly one address with at most a name.
    """
    match = _MAILBOX.fullmatch(text.strip())
    if match is None or _CONTROL.search(text):
        raise UnsafeMail("address_invalid", "not one address with at most a name")
    name = match["name"] or ""
    if len(name) >= 2 and name[0] == name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    return name, wire_address(match["angle"] or match["bare"])


def mailbox(name: str, address: str) -> str:
    """A header value ``name <address>``, the name quoted or encoded as it needs."""
    _refuse_control("from", name)
    if not name:
        return f"<{address}>"
    if not name.isascii():
        return f"{_encoded_words(name)} <{address}>"
    if _ATOMS.fullmatch(name) and "=?" not in name:
        return f"{name} <{address}>"
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{address}>'


def message_id(key: bytes, domain: str) -> str:
    """A ``Message-ID`` that is the same for all attempts of a delivery."""
    return f"<{key.hex()}@{domain}>"


def serialise(message: EmailMessage, heading: Heading, *, eight_bit: bool) -> bytes:
    """The mail with CRLF line ends, not dot-stuffed.

    Args:
        eight_bit: The server takes 8-bit bodies; else they are encoded.

    Raises:
        UnsafeMail: a header would break, or be too long for a line.
    """
    lines = _headers(message, heading)
    text = _part("plain", message.text, eight_bit=eight_bit)
    if message.html is None:
        return b"\r\n".join((*lines, text))
    html = _part("html", message.html, eight_bit=eight_bit)
    boundary = b"=_" + hashlib.sha256(heading.message_id.encode()).hexdigest()[:32].encode()
    mark = b"--" + boundary
    lines.append(b'Content-Type: multipart/alternative; boundary="' + boundary + b'"')
    return b"\r\n".join((*lines, b"", mark, text, mark, html, mark + b"--", b""))


def _headers(message: EmailMessage, heading: Heading) -> list[bytes]:
    fields = [
        ("From", heading.sender),
        ("To", f"<{heading.recipient}>"),
        ("Subject", _subject(message.subject, is_test=heading.is_test)),
        ("Date", formatdate(heading.date)),
        ("Message-ID", heading.message_id),
        ("MIME-Version", "1.0"),
        ("Auto-Submitted", "auto-generated"),
    ]
    if message.reply_to is not None:
        fields.append(("Reply-To", f"<{wire_address(message.reply_to)}>"))
    if message.locale is not None:
        if not _LOCALE.fullmatch(message.locale):
            raise UnsafeMail("header_unsafe", "the locale is not a language tag")
        fields.append(("Content-Language", message.locale.replace("_", "-")))
    if message.unsubscribe_url is not None:
        if not _URL.fullmatch(message.unsubscribe_url):
            raise UnsafeMail("header_unsafe", "unsubscribe_url is not a URL in ASCII")
        fields.append(("List-Unsubscribe", f"<{message.unsubscribe_url}>"))
        if message.unsubscribe_url.startswith("https:"):
            fields.append(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
    if heading.is_test:
        fields.append(("X-Router-Test", "true"))
    lines = [f"{name}: {value}".encode() for name, value in fields]
    if any(len(part) > _MAX_LINE for line in lines for part in line.split(b"\r\n ")):
        raise UnsafeMail("header_too_long", "a header is longer than a line may be")
    return lines


def _subject(subject: str, *, is_test: bool) -> str:
    _refuse_control("subject", subject)
    text = f"[test] {subject}" if is_test else subject
    if text.isascii() and len(text) <= 900 and "=?" not in text and text == text.strip():
        return text
    return _encoded_words(text)


def _encoded_words(text: str) -> str:
    """RFC 2047 ``B`` words of at most 75 characters, split between characters, folded."""
    words: list[str] = []
    chunk = b""
    for character in text:
        encoded = character.encode("utf-8", "replace")
        if len(chunk) + len(encoded) > _WORD_BYTES:
            words.append(_word(chunk))
            chunk = b""
        chunk += encoded
    words.append(_word(chunk))
    return "\r\n ".join(words)


def _word(chunk: bytes) -> str:
    return f"=?utf-8?B?{base64.b64encode(chunk).decode()}?="


def _part(subtype: str, text: str, *, eight_bit: bool) -> bytes:
    body = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
    data = body.encode("utf-8", "replace")
    encoding, encoded = _transfer(data, eight_bit=eight_bit)
    head = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: {encoding}'
    return head.encode() + b"\r\n\r\n" + encoded


def _transfer(data: bytes, *, eight_bit: bool) -> tuple[str, bytes]:
    is_ascii = data.isascii()
    if (is_ascii or eight_bit) and b"\0" not in data and _longest_line(data) <= _MAX_LINE:
        return ("7bit" if is_ascii else "8bit"), data
    if is_ascii or len(data) < 1.5 * len(data.decode("utf-8")):
        return "quoted-printable", _quoted(data)
    lines = (data[start : start + 57] for start in range(0, len(data), 57))
    return "base64", b"\r\n".join(base64.b64encode(line) for line in lines)


def _quoted(data: bytes) -> bytes:
    """RFC 2045 section 6.7. The library breaks lines as it finds the first one broken, and with a
    bare LF, which RFC 5321 section 2.3.8 forbids, where there is none: so it gets LF throughout."""
    quoted = binascii.b2a_qp(data.replace(b"\r\n", b"\n"), quotetabs=False, istext=True)
    return quoted.replace(b"\n", b"\r\n")


def _longest_line(data: bytes) -> int:
    return max(map(len, data.split(b"\r\n")))


def _refuse_control(name: str, value: str) -> None:
    if _CONTROL.search(value):
        raise UnsafeMail("header_unsafe", f"the {name} has a line break or control character")
