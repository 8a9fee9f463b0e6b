"""Requests as HTTP/1.1 has them on the wire (RFC 9112)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from yarl import URL

from router.messages import Reason
from router.transport.checks import check_head
from router.transport.dialing import Place, basic
from router.transport.model import HttpRequest, NotSent

_ABOUT_CONNECTION: Final = frozenset(
    {
        "connection",
        "content-length",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that are the client's own business."""

_WITHOUT_CONTENT: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Target:
    """What one URL means for every request to it.

    Attributes:
        place: Where its connections lead.
        line: What follows the method in the request's first line.
        own: Header lines by their names in lower case, each of which a request may replace.
        proxy_line: Credentials for a proxy that is told the request; empty for none.
    """

    place: Place
    line: str
    own: dict[str, str]
    proxy_line: str = ""


def target_of(url: URL, proxy: URL | None) -> Target:
    """How a URL that was checked is asked for, through the proxy if there is one."""
    is_secure = url.scheme == "https"
    place = Place(url.raw_host or "", url.port or (443 if is_secure else 80), is_secure)
    authority = url.host_port_subcomponent or ""
    path = url.raw_path_qs or "/"
    own = {
        "host": f"Host: {authority}",
        "user-agent": "User-Agent: router",
        "accept": "Accept: */*",
    }
    if url.user is not None:
        own["authorization"] = f"Authorization: {basic(url.user, url.password or '')}"
    if proxy is None or is_secure:
        return Target(place, f" {path} HTTP/1.1", own)
    line = f" http://{authority}{path} HTTP/1.1"
    if proxy.user is None:
        return Target(place, line, own)
    credentials = basic(proxy.user, proxy.password or "")
    return Target(place, line, own, f"Proxy-Authorization: {credentials}")


def request_bytes(request: HttpRequest, target: Target) -> bytes:
    """The whole request.

    Raises:
        NotSent: it can't be put on the wire as it is.
    """
    check_head(request)
    own = target.own
    lines = [request.method + target.line]
    for name, value in request.headers.items():
        lower = name.lower()
        if lower in _ABOUT_CONNECTION:
            continue
        if lower in own:
            own = {kept: line for kept, line in own.items() if kept != lower}
        lines.append(f"{name}: {value}")
    lines += own.values()
    if target.proxy_line:
        lines.append(target.proxy_line)
    body = request.body
    if body is not None or request.method not in _WITHOUT_CONTENT:
        lines.append(f"Content-Length: {len(body or b'')}")
    try:
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    except UnicodeEncodeError:
        raise NotSent(Reason("invalid_request", "characters that can't be encoded")) from None
    return head + body if body else head
