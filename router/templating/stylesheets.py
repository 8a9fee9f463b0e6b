"""A mail's style sheet, put into its elements when the template is loaded.

What an element looks like depends on the element and on those around it. Where conditions and
loops hold whole elements, that is the same for every mail, so it is found out once, on the
template's fixed text. Style sheets that ask for more (the first row, what comes after a
heading) are left to be inlined in each mail.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from css_inline import CSSInliner, InlineError
from jinja2 import nodes

from router.templating.fixed_text import (
    BLOCK,
    Element,
    FixedText,
    Unsure,
    read_elements,
)

_SELECTORS = re.compile(r"[\w\s.,#>*-]+")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_SHEET = re.compile(r"<style[^>]*>(.*?)</style\s*>", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<[a-z](?:[^<>\"']|\"[^\"]*\"|'[^']*')*>", re.IGNORECASE)
_NUMBER = re.compile(r"\sdata-element=\"(\d+)\"")
_STYLE = re.compile(r"\sstyle=\"([^\"]*)\"")

INLINER = CSSInliner(load_remote_stylesheets=False, keep_at_rules=True)


@dataclass(frozen=True, slots=True)
class _Edit:
    """``text`` in the place of ``start`` to ``end``."""

    start: int
    end: int
    text: str


def inline_styles(body: Sequence[nodes.Node], content: Sequence[nodes.Node] = ()) -> bool:
    """Changes the fixed text of a mail's HTML to what it is with its styles inlined.

    Args:
        body: Of the HTML, or of its frame.
        content: Of what stands in the frame.

    Returns:
        False if that has to be done in each mail; nothing is changed then.
    """
    fixed = FixedText(content)
    try:
        fixed.read(body)
        text = "".join(fixed.parts)
        edits = list(_edits(text, *read_elements(text)))
    except (Unsure, InlineError):
        return False
    for edit in sorted(edits, key=lambda one: one.start, reverse=True):
        is_within = edit.start if edit.start < edit.end else edit.start - 1
        index = bisect_right(fixed.starts, is_within) - 1
        node, at = fixed.data[index], fixed.starts[index]
        node.data = node.data[: edit.start - at] + edit.text + node.data[edit.end - at :]
    return True


def _edits(
    text: str, elements: Sequence[Element], sheets: Sequence[tuple[int, int]]
) -> Iterator[_Edit]:
    css = [text[start:end] for start, end in sheets]
    if not all(_SELECTORS.fullmatch(one) for one in _selectors("".join(_contents(css)))):
        raise Unsure
    done = INLINER.inline(_numbered(text, elements))
    styles = _styles(done)
    if styles.keys() != set(range(len(elements))):
        raise Unsure
    kept = " ".join(one.strip() for one in _contents([done])).strip()
    for number, (start, end) in enumerate(sheets):
        yield _Edit(start, end, f"<style>{kept}</style>" if kept and not number else "")
    for number, element in enumerate(elements):
        if style := styles[number]:
            yield _styled(element, style)


def _styled(element: Element, style: str) -> _Edit:
    if element.style is None:
        return _Edit(element.end, element.end, f' style="{style}"')
    start, end = element.style
    if element.is_styled_by_value:
        return _Edit(start + 1, start + 1, f"{style.rstrip(';')};")
    return _Edit(start, end, f'"{style}"')


def _contents(sheets: Sequence[str]) -> Iterator[str]:
    return (match[1] for sheet in sheets for match in _SHEET.finditer(sheet))


def _selectors(css: str) -> Iterator[str]:
    """What stands before each rule; at-rules are kept as they are."""
    depth, prelude, is_at_rule = 0, "", False
    for char in _COMMENT.sub("", css):
        if char == "{":
            if not depth:
                is_at_rule = prelude.lstrip().startswith("@")
                if not is_at_rule:
                    yield prelude
                prelude = ""
            depth += 1
        elif char == "}":
            depth -= 1
        elif not depth:
            prelude = "" if char == ";" else prelude + char


def _numbered(text: str, elements: Sequence[Element]) -> str:
    """The text as HTML that tells its elements apart."""
    parts: list[str] = []
    at = 0
    for number, element in enumerate(elements):
        if element.style and element.is_styled_by_value:
            parts.append(text[at : element.style[0]] + '""')
            at = element.style[1]
        parts.append(f'{text[at : element.end]} data-element="{number}"')
        at = element.end
    return BLOCK.sub("", "".join(parts) + text[at:])


def _styles(html: str) -> dict[int, str]:
    """The style of each element, by its number."""
    found: dict[int, str] = {}
    for tag in _TAG.findall(html):
        if number := _NUMBER.search(tag):
            style = _STYLE.search(tag)
            found[int(number[1])] = style[1] if style else ""
    return found
