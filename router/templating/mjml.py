"""MJML to HTML, once, when the template is loaded.

Template expressions pass through: in text and quoted attributes as they are; a loop or condition
around sections stands in ``<mj-raw>``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace

from router.problems import Problems
from router.templating.snippets import Snippet


def compile_mjml(body: Snippet, problems: Problems) -> Snippet | None:
    """The HTML of an MJML layout; places in it are those of the MJML file's start."""
    try:
        convert: Callable[..., str] = importlib.import_module("mjml").mjml2html
    except ImportError:
        problems.error(
            "T141", "MJML needs an extra: install router[mjml], or write email.html", body.start
        )
        return None
    try:
        html = convert(body.text, disable_comments=False, include_loader=_no_includes)
    except Exception as error:
        problems.error("T141", f"not MJML: {str(error).splitlines()[0][:200]}", body.start)
        return None
    return replace(body, text=html, starts=(body.starts[0],))


def _no_includes(path: str) -> str:
    raise ValueError("mj-include is not available in templates")
