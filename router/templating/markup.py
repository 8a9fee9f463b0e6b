"""The neutral markup of chat messages: ``b i u s code pre a[href] blockquote``, well nested."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

from router.templating.codes import RenderError
from router.templating.names import is_dangerous

TAGS = ("a", "b", "blockquote", "code", "i", "pre", "s", "u")
TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9:-]*)((?:[^<>\"']|\"[^\"]*\"|'[^']*')*)>|<")
_HREF = re.compile(r"\s+href\s*=\s*(?:\"([^\"]*)\"|'([^']*)')\s*", re.IGNORECASE)
_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_CHAT_LINK = re.compile(r"(?:https?://|mailto:|tel:|tg://)[^\s]+", re.IGNORECASE)
_URL_ATTRIBUTE = re.compile(
    r"\b(?:href|src|action|background)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE
)
_FREE_ADDRESS = re.compile(
    r"\b(?:href|src|action|background)\s*=\s*[\"']\s*(?:\{%|\{\{(?!-?\s*link\())", re.IGNORECASE
)
_INLINE_IMAGE = re.compile(r"data:image/(?:png|jpe?g|gif|webp);", re.IGNORECASE)


def unknown_tags(source: str) -> Iterator[tuple[int, str]]:
    """Offset and name of each tag in a layout's source that chat messages can't have."""
    fixed = _JINJA.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), source)
    for match in TAG.finditer(fixed):
        name = match[2]
        if name and name not in TAGS:
            yield match.start(), name


def check_chat(html: str) -> None:
    """Raises:
    RenderError: a tag is unknown, badly nested, not closed, or has wrong attributes.
    """
    open_tags: list[str] = []
    for match in TAG.finditer(html):
        closing, name, attributes = match[1], match[2], match[3]
        if name is None:
            raise RenderError("T140", 'a "<" that is no tag; write &lt;')
        if name not in TAGS:
            raise RenderError("T140", f"<{name}> is none of {', '.join(TAGS)}")
        if closing:
            if not open_tags or open_tags.pop() != name:
                raise RenderError("T140", f"</{name}> closes nothing that is open")
            continue
        _check_attributes(name, attributes)
        open_tags.append(name)
    if open_tags:
        raise RenderError("T140", f"<{open_tags[-1]}> is not closed")


def _check_attributes(name: str, attributes: str) -> None:
    if name != "a":
        if attributes.strip():
            raise RenderError("T140", f"<{name}> takes no attributes")
        return
    href = _HREF.fullmatch(attributes)
    if href is None:
        raise RenderError("T140", '<a> takes href="…" and nothing else')
    check_chat_link(unescape(href[1] or href[2] or ""))


def check_chat_link(address: str) -> None:
    """Raises:
    RenderError: not an address a chat can open.
    """
    if not _CHAT_LINK.fullmatch(address):
        raise RenderError("T168", "chats link to https, http, mailto, tel and tg addresses only")


def check_addresses(html: str) -> None:
    """Raises:
    RenderError: an attribute of a mail holds an address that a browser could run.
    """
    for double, single in _URL_ATTRIBUTE.findall(html):
        address = unescape(double or single)
        if is_dangerous(address) and not _INLINE_IMAGE.match(address):
            raise RenderError("T168", "an address is one that a browser could run, as javascript:")


def has_free_addresses(source: str) -> bool:
    """Whether a value decides an address's scheme: one not made by ``link()`` starts it."""
    return bool(_FREE_ADDRESS.search(source))


def visible_length(html: str) -> int:
    """UTF-16 code units that a reader of the chat sees: what messengers count."""
    return utf16_units(unescape(TAG.sub("", html)))


def utf16_units(text: str) -> int:
    """How long a text is in UTF-16 code units: an emoji is two or more."""
    return len(text) + sum(char > "\uffff" for char in text)
