"""What can be wrong with a template: codes at load, and the error of a rendering."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from router.problems import Position

CODES: Mapping[str, str] = MappingProxyType(
    {
        "T101": "template.yaml is missing, or a part of it is not what it has to be",
        "T102": "unknown key in template.yaml or a sample",
        "T103": "a file in the template's folder has a name that means nothing",
        "T104": "not a locale",
        "T105": "unknown variable type, or an example that does not fit its type",
        "T106": "the template has no layout",
        "T107": "a tenant's folder overrides nothing: no such tenant, or nothing of that kind",
        "T108": "a value of the brand that does not exist",
        "T110": "not a `key: text` line, or a key that can't be one",
        "T111": "a key stands twice in one file",
        "T112": "front matter is not closed, or has a field its layout does not know",
        "T113": "a field the layout needs is missing",
        "T114": "a button is not written `Text -> url`",
        "T115": "a frame that does not exist, or not as the layout needs it",
        "T116": "a frame has no place for the content of a mail, or a wrong one",
        "T117": "a layout in a frame is a whole document itself",
        "T120": "template syntax",
        "T121": "unknown name in a template",
        "T122": "unknown field of a known name",
        "T123": "unknown filter or test",
        "T124": "something that templates may not use",
        "T125": "a text key that does not exist",
        "T126": "a text is used with the wrong arguments",
        "T127": "a value stands where escaping can't protect it",
        "T128": "tags or quotes are opened in one branch only",
        "T130": "a required locale has no texts, or lacks one",
        "T131": "a plural form is missing",
        "T132": "a text that nothing uses, or that the default locale does not have",
        "T140": "markup that chat messages can't have",
        "T141": "MJML can't be compiled",
        "T150": "a sample or example does not render",
        "T151": "the template has neither samples nor examples",
        "T160": "a value that was read does not exist",
        "T161": "a variable is missing",
        "T162": "a variable has the wrong type",
        "T163": "a value can't be shown as it is",
        "T164": "an operation or filter got a value it can't use",
        "T165": "a limit of rendering was reached",
        "T166": "the message is longer than its channel allows",
        "T167": "the result is not a valid message",
        "T168": "an address of a kind that messages may not link to",
        "T169": "the template has no such layout",
        "T170": "something that templates may not do",
    }
)
"""Code to its meaning; T160 and up come from rendering."""


class RenderError(Exception):
    """A message could not be rendered.

    Attributes:
        code: One of :data:`CODES`.
        text: One line for operators; never holds a value of the event or the recipient.
        position: Where in the template, if known.
    """

    def __init__(self, code: str, text: str, position: Position | None = None) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text
        self.position = position

    def __str__(self) -> str:
        place = f"{self.position}: " if self.position else ""
        return f"{place}{self.code}: {self.text}"
