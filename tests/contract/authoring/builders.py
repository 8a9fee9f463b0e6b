"""Small projects on disk, of which a test changes the one part that matters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

ROUTER = """\
    include: [routes.yaml]
    sources:
      main: {type: stdin}
    ledger: {type: sqlite, path: ledger.db}
    directory: {type: file, path: people.yaml}
    sinks:
      mail: {type: console, channel: email}
    categories:
      orders: {description: Orders}
    """
ROUTES = """\
    defaults: {category: orders}
    routes:
      paid:
        match: {type: order.paid}
        recipient: {id: data.user}
        template: note
        deliver: [mail]
    """
TEMPLATE = """\
    locales: {required: [en], default: en}
    variables:
      total: {type: integer}
    """
SAMPLE = """\
    event: {type: order.paid, data: {user: u1, total: 5, tags: [new], size: "42"}}
    recipient: {id: u1, email: a@example.com}
    """
LAYOUT = "---\nsubject: Thanks\n---\nTotal {{ total }}\n"
PEOPLE = "u1: {name: Ann, email: ann@example.com, locale: en}\n"


def write_project(
    folder: Path,
    *,
    router: str = ROUTER,
    routes: str = ROUTES,
    template: str = TEMPLATE,
    layout: str = LAYOUT,
    samples: Mapping[str, str] | None = None,
    overlays: Mapping[str, str] | None = None,
    more: Mapping[str, str] | None = None,
) -> Path:
    """A project that is clean as it is; returns the folder of ``router.yaml``.

    Args:
        overlays: By name; one named dev is there in any case.
        more: Further files, by path below the project.
    """
    files = {
        "config/router.yaml": dedent(router),
        "config/routes.yaml": dedent(routes),
        "config/people.yaml": PEOPLE,
        "config/env/dev.yaml": "logs: {level: debug}\n",
        "templates/note/template.yaml": dedent(template),
        "templates/note/email.txt": layout,
    }
    for name, text in ({"first": SAMPLE} if samples is None else samples).items():
        files[f"templates/note/samples/{name}.yaml"] = dedent(text)
    for name, text in (overlays or {}).items():
        files[f"config/env/{name}.yaml"] = dedent(text)
    for path, text in (files | dict(more or {})).items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, "utf-8")
    return folder / "config"


def replaced(text: str, *changes: tuple[str, str]) -> str:
    """The text with each old part replaced; every one has to be there."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text
