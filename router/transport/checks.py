"""What both clients look at before anything leaves: the request, its address, and whom to trust."""

from __future__ import annotations

import re
import ssl
from functools import lru_cache

from yarl import URL

from router.messages import Reason
from router.transport.guard import is_public, literal
from router.transport.model import HttpOptions, HttpRequest, NotSent
from router.transport.trust import own_context, trusting

ADDRESS_REFUSED = Reason("address_refused", "the host's address is not public")

_UNSAFE_URL = re.compile(r"[\x00-\x20\x7f]")
_UNSAFE_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")


def check_head(request: HttpRequest) -> None:
    """Looks at the method and the headers.

    Raises:
        NotSent: they can't be put on the wire as they are.
    """
    if _is_token(request.method):
        for name, value in request.headers.items():
            if not _is_token(name) or not (value.isprintable() or _is_safe(value)):
                break
        else:
            return
    raise NotSent(Reason("invalid_request", "characters that no method or header may have"))


def checked_url(text: str, options: HttpOptions) -> URL:
    """A request's URL.

    Raises:
        NotSent: it can't be put on the wire as it is, or its host is an address (which no
            resolver gets to see) that the options refuse.
    """
    if _UNSAFE_URL.search(text):
        raise NotSent(Reason("invalid_request", "control characters or spaces in the URL"))
    try:
        url = URL(text, encoded=text.isascii())
        host = url.host
    except ValueError:
        host = url = None
    if url is None or not host or url.scheme not in ("http", "https"):
        raise NotSent(Reason("invalid_request", "not an http or https URL"))
    if options.public_only:
        _refuse_inside_literal(host, normalised(options.allow_hosts))
    return url


@lru_cache(1024)
def _is_token(name: str) -> bool:
    """Whether it can be a method or a header's name (RFC 9110 §5.6.2)."""
    return _TOKEN.fullmatch(name) is not None


def _is_safe(value: str) -> bool:
    return not _UNSAFE_HEADER.search(value) and value.encode("utf-8", "ignore").decode() == value


def normalised(hosts: frozenset[str]) -> frozenset[str]:
    """Host names as they are compared."""
    return frozenset(host.rstrip(".").lower() for host in hosts)


def tls_context(options: HttpOptions, protocol: str) -> ssl.SSLContext:
    """Whom to trust, and what to show who asks for a certificate.

    Args:
        protocol: What is spoken (ALPN).

    Raises:
        OSError: a file can't be read, or does not hold what it should.
    """
    if options.verify and options.cert_file is None:
        return trusting(options.ca_file, protocol)
    context = own_context(options.ca_file if options.verify else None, protocol)
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.cert_file is not None:
        password = options.key_password.reveal() if options.key_password is not None else ""
        try:
            context.load_cert_chain(options.cert_file, options.key_file, lambda: password)
        except OSError as error:
            raise OSError(
                f"client certificate {options.cert_file}: {error.strerror or error}"
            ) from error
    return context


def os_text(error: OSError) -> str:
    """What went wrong below HTTP, in words that quote nothing."""
    match error:
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionResetError() | ConnectionAbortedError():
            return "connection reset"
        case _:
            return type(error).__name__


def _refuse_inside_literal(host: str, allowed: frozenset[str]) -> None:
    address = literal(host)
    if address is not None and host.lower() not in allowed and not is_public(address):
        raise NotSent(ADDRESS_REFUSED)
