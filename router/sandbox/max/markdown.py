"""``format: markdown`` in MAX's flavour; what has no end stays as it is written.

There is no way to escape a mark: none is documented. Note that ``__x__`` is bold.
Source: "Max flavored Markdown" of the Bot API's schema.
"""

from __future__ import annotations

import re

from router.sandbox.max.markup import Formatted, Output, is_link

_MARKS = {
    "**": "strong",
    "__": "strong",
    "~~": "strikethrough",
    "++": "underline",
    "^^": "highlighted",
    "*": "emphasized",
    "_": "emphasized",
}
_LINK = re.compile(r"\[([^\[\]\n]+)\]\(([^()\s]+)\)")
_CODE = re.compile(r"(```|`)(.+?)\1", re.DOTALL)
_HEADING = re.compile(r"#{1,6} +([^\n]+)")


def parse_markdown(source: str) -> Formatted:
    """The formatted text."""
    output = Output()
    _parse(source, output)
    return output.formatted()


def _parse(source: str, output: Output) -> None:
    at = 0
    while at < len(source):
        at = _piece(source, at, output)


def _piece(source: str, at: int, output: Output) -> int:
    """Writes what stands here, and tells where the next piece begins."""
    start = output.units
    is_line_start = at == 0 or source[at - 1] == "\n"
    if is_line_start and (match := _HEADING.match(source, at)):
        _parse(match[1], output)
        output.close("heading", start)
        return match.end()
    if match := _CODE.match(source, at):
        output.add(match[2].replace("\n", " "))
        output.close("monospaced", start)
        return match.end()
    if (match := _LINK.match(source, at)) and is_link(match[2]):
        _parse(match[1], output)
        output.close("link", start, match[2])
        return match.end()
    for mark, kind in _MARKS.items():
        if source.startswith(mark, at):
            end = source.find(mark, at + len(mark))
            if end > at + len(mark):
                _parse(source[at + len(mark) : end], output)
                output.close(kind, start)
                return end + len(mark)
    output.add(source[at])
    return at + 1
