"""The reference pages that are written from the code: ``python -m router.authoring.reference``."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import cleandoc
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from router import directories, ledger, sinks, sources
from router.authoring.codes import CODES as LINT
from router.authoring.meanings import meanings
from router.authoring.options import Option, options_of, summary_of
from router.cli import main as router_command
from router.config.defaults import CATEGORY_KEYS, DEFAULT_KEYS
from router.config.sections import SETTINGS
from router.kinds import Kinds
from router.messages import Channel
from router.sinks import SinkConfig
from router.sources import SourceConfig

_NOTE = "<!-- Written by `make docs` from the code. Don't edit it here. -->\n"
_FAMILIES: Mapping[str, str] = {
    "Y": "YAML",
    "E": "Files, variables, environments",
    "S": "Sections of router.yaml",
    "R": "Routes and conditions",
    "T": "Templates",
}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


_PLAIN: tuple[Option, ...] = (
    Option("production", "true or false", "false", False, "This environment reaches real people."),
    Option(
        "include",
        "list of paths",
        None,
        False,
        "Route files, relative to router.yaml; `*` stands for any name.",
        "[routes/*.yaml]",
    ),
    Option(
        "templates",
        "path",
        "../templates",
        False,
        "The templates' folder, relative to router.yaml.",
    ),
    Option(
        "categories",
        "mapping",
        None,
        False,
        f"What notifications are about, by name: {_listed(CATEGORY_KEYS)}.",
    ),
    Option(
        "defaults",
        "mapping",
        None,
        False,
        f"What holds where a route says nothing: {_listed(DEFAULT_KEYS)}.",
    ),
    Option(
        "divert",
        "mapping",
        None,
        False,
        "Where messages go instead, by channel"
        f" ({', '.join(f'`{channel}`' for channel in Channel)}): an address, or `suppress`.",
        "{email: qa@acme.example, push: suppress}",
    ),
    Option(
        "brand",
        "mapping",
        None,
        False,
        "What templates read as `brand`, by name: text, numbers, true or false.",
        "{name: Acme, support: help@acme.example}",
    ),
    Option(
        "tenants",
        "mapping",
        None,
        False,
        "Whom the router sends for: `by` is where an event names its tenant, `default` whose it is"
        " where it names none, `include` the tenants' files; in an overlay, `named` changes single"
        " tenants.",
        "{by: data.tenant, include: [tenants/*.yaml]}",
    ),
    Option(
        "removed",
        "mapping",
        None,
        False,
        "What becomes of deliveries that still wait for sinks which were taken out, by name:"
        " `dead_letter`, or `{move: SINK}`. Without an entry they stay parked; see"
        " [Change a running router](../how-to/reload.md#take-a-sink-out).",
        "{old-mail: {move: mail}, pager: dead_letter}",
    ),
)


# Problems --------------------------------------------------------------------------------------


def problems_page() -> str:
    """Every code of a problem, with its meaning."""
    found = meanings()
    lines = [
        "# Problems",
        "",
        _NOTE,
        "Each message of `router check` has a code. Errors refuse a configuration; a daemon that"
        " runs keeps the one before. Codes marked *warning* are valid and hardly meant;"
        " `router check --strict` fails for them.",
        "",
    ]
    for letter, family in _FAMILIES.items():
        lines += [f"## {family}", ""]
        for code in sorted(code for code in found if code[0] == letter):
            lines += [f"### {code}", "", *_meaning(code, found[code]), ""]
    return "\n".join(lines)


def _meaning(code: str, text: str) -> list[str]:
    sentence = text[0].upper() + text[1:].rstrip(".") + "."
    return [f"{sentence} *Warning.*" if code in LINT else sentence]


# Configuration ---------------------------------------------------------------------------------


def configuration_page() -> str:
    """Every option of ``router.yaml``, from the models that validate it."""
    lines = [
        "# Configuration",
        "",
        _NOTE,
        "Every option of `router.yaml` and its overlays. How files, variables and overlays work,"
        " and what stands in route files, is in [the configuration language](language.md).",
        "",
        "Durations are written as `250ms`, `10m` or `1h30m`, sizes as `64KiB` or `1MiB`, rates as"
        " `30/s` or `1000/min`, secrets as `!env NAME`, `!file path` or `!secret text`. Paths"
        " start at the folder of `router.yaml`.",
        "",
        *_contents(),
        "## Top level",
        "",
        *_table(_PLAIN),
        "",
    ]
    for title, kinds, base, text in _COMPONENTS:
        lines += _components(title, kinds, base, text)
    for name, model in SETTINGS.items():
        lines += [f"## {name}", "", summary_of(model), "", *_table(options_of(model)), ""]
    return "\n".join(lines)


_COMPONENTS: tuple[tuple[str, Kinds, type[BaseModel] | None, str], ...] = (
    ("sources", sources.KINDS, SourceConfig, "Where events come from, by name."),
    ("ledger", ledger.KINDS, None, "The durable record of deliveries."),
    ("directory", directories.KINDS, None, "Where recipients' profiles come from."),
    ("sinks", sinks.KINDS, SinkConfig, "Where messages go, by name."),
)


def _contents() -> Iterator[str]:
    yield "- [Top level](#top-level)"
    for title, kinds, _, _ in _COMPONENTS:
        inner = ", ".join(f"[`{name}`](#{title}-{name})" for name in kinds.names())
        yield f"- [{title}](#{title}): {inner}"
    for name in SETTINGS:
        yield f"- [{name}](#{name})"
    yield ""


def _components(title: str, kinds: Kinds, base: type[BaseModel] | None, text: str) -> Iterator[str]:
    yield from (f"## {title}", "", f"{text} `type` chooses the kind.", "")
    shared: dict[str, Option] = {}
    if base is not None:
        options = options_of(base, but=frozenset({"type"}))
        shared = {option.name: option for option in options}
        yield from (f"Every one of the {title} has:", "", *_table(options), "")
    for name in kinds.names():
        model: type[BaseModel] = kinds.load(name).config
        own = [
            option
            for option in options_of(model, but=frozenset({"type"}))
            if shared.get(option.name) != option
        ]
        yield from (f"### {title}: {name}", "", summary_of(model), "")
        if own:
            yield from (*_table(own), "")


# Sinks -----------------------------------------------------------------------------------------

_MARKED = re.compile(
    r"(?P<start><!-- options: (?P<kind>[\w ]+) -->\n).*?(?P<end><!-- end of options -->)", re.DOTALL
)
EVERY_SINK = "every sink"


def with_options(page: str) -> str:
    """A page that people wrote, with the tables between its marks as the models are now.

    ``<!-- options: KIND -->`` and ``<!-- end of options -->`` stand around the options of one type
    of sink, or, with the kind ``every sink``, around those that all have.
    """
    return _MARKED.sub(lambda m: f"{m['start']}{_options_table(m['kind'])}{m['end']}", page)


def _options_table(kind: str) -> str:
    shared = options_of(SinkConfig, but=frozenset({"type"}))
    if kind == EVERY_SINK:
        options = shared
    else:
        found = options_of(sinks.KINDS.load(kind).config, but=frozenset({"type"}))
        options = [option for option in found if option not in shared]
    return "\n".join(["", *_table(options), "", ""])


def _table(options: Any) -> Iterator[str]:
    yield "| option | type | default | what |"
    yield "|---|---|---|---|"
    for option in options:
        default = "compulsory" if option.is_required else _code(option.default)
        what = option.description
        if option.example is not None:
            what += f" For example {_code(option.example)}."
        cells = (_code(option.name), option.type, default, what)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _code(text: str | None) -> str:
    return f"`{text}`" if text else ""


# Commands --------------------------------------------------------------------------------------


def cli_page() -> str:
    """Every command, as its ``--help`` tells it."""
    lines = [
        "# Commands",
        "",
        _NOTE,
        "Exit codes: 0 fine, 1 problems found, 2 wrong usage, 3 something can't be reached, 78"
        " `router run` with an invalid configuration. Text goes to a terminal in colour, and plain"
        " into pipes; `--output json` is for programs and stable.",
        "",
    ]
    root = click.Context(router_command, info_name="router")
    names = router_command.list_commands(root)
    lines += [f"- [`router {name}`](#router-{name})" for name in names] + [""]
    for name in names:
        command = router_command.get_command(root, name)
        assert command is not None
        lines += _command(command, f"router {name}", root)
    return "\n".join(lines)


def _command(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=name.rpartition(" ")[2], parent=parent)
    text, examples = _help_of(command)
    yield from (f"## {name}", "", text, "")
    usage = " ".join(command.collect_usage_pieces(context))
    yield from ("```", f"{name} {usage}".rstrip(), "```", "")
    rows = [
        record
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option)
        and "--help" not in parameter.opts
        and (record := parameter.get_help_record(context)) is not None
    ]
    if rows:
        yield from ("| option | what |", "|---|---|")
        for option, about in rows:
            yield f"| `{option}` | {about} |".replace("|json", "\\|json")
        yield ""
    if examples:
        yield from ("```sh", *examples, "```", "")
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from _command(found, f"{name} {child}", context)


def _help_of(command: click.Command) -> tuple[str, list[str]]:
    """Paragraphs, and the lines of examples below ``Examples:``."""
    lines = cleandoc(command.help or "").splitlines()
    start = next((n for n, line in enumerate(lines) if line.strip() == "\b"), len(lines))
    examples = [line.removeprefix("  ") for line in lines[start + 2 :]]
    paragraphs = "\n".join(lines[:start]).strip().split("\n\n")
    return "\n\n".join(" ".join(p.split()) for p in paragraphs), examples


# Files -----------------------------------------------------------------------------------------

PAGES: Mapping[str, Callable[[], str]] = {
    "problems.md": problems_page,
    "configuration.md": configuration_page,
    "cli.md": cli_page,
}
"""Page to what writes it."""


def write(docs: Path) -> None:
    """Writes every page of the reference, and the tables in the pages about sinks."""
    folder = docs / "reference"
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page().rstrip("\n") + "\n", "utf-8")
    for path in (docs / "sinks").glob("*.md"):
        path.write_text(with_options(path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
