"""``router sinks``: the installed sink types and their options."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import click

from router.authoring.options import Option, options_of, summary_of
from router.cli.output import USAGE, fail, output_option, print_json
from router.kinds import UnknownKind
from router.problems import did_you_mean
from router.sinks import KINDS, SinkConfig

_SHARED = frozenset(SinkConfig.model_fields) - {"type"}


@click.command("sinks")
@click.argument("kind", required=False, metavar="[TYPE]")
@output_option
def command(kind: str | None, output: str) -> None:
    """List the installed sink types, or the options of TYPE.

    \b
    Examples:
      router sinks
      router sinks smtp
      router sinks http --output json
    """
    if kind is None:
        kinds = {name: _load(name) for name in KINDS.names()}
        if output == "json":
            print_json({"sinks": [_as_dict(name, found) for name, found in kinds.items()]})
            return
        width = max(map(len, kinds))
        for name, found in kinds.items():
            click.echo(f"{click.style(f'{name:{width}}', bold=True)}  {summary_of(found.config)}")
        click.echo("\nOptions of one: router sinks TYPE")
        return
    found = _load(kind)
    if output == "json":
        print_json(_as_dict(kind, found))
        return
    for line in _lines(kind, found):
        click.echo(line)


def _load(name: str) -> Any:
    try:
        return KINDS.load(name)
    except UnknownKind:
        hint = did_you_mean(name, KINDS.names(), "Types")
        raise fail(f'there is no sink type "{name}".{hint}', USAGE) from None


def _as_dict(name: str, found: Any) -> dict[str, Any]:
    return {
        "type": name,
        "description": summary_of(found.config),
        "options": [option.as_dict() for option in options_of(found.config, but=_TYPE)],
    }


_TYPE = frozenset({"type"})


def _lines(name: str, found: Any) -> Iterator[str]:
    yield f"{click.style(name, bold=True)}  {summary_of(found.config)}"
    options = options_of(found.config, but=_TYPE)
    own = [option for option in options if option.name.split(".")[0] not in _SHARED]
    shared = [option for option in options if option not in own]
    for title, group in (("Its own options", own), ("Options of every sink", shared)):
        if group:
            yield ""
            yield click.style(title, underline=True)
            for option in group:
                yield from _option(option)


def _option(option: Option) -> Iterator[str]:
    default = f"default {option.default}" if option.default is not None else ""
    about = ", ".join(part for part in (option.type, default) if part)
    needed = click.style("  compulsory", fg="red") if option.is_required else ""
    name = click.style(option.name, fg="cyan", bold=True)
    yield f"  {name}  {click.style(about.replace('`', ''), dim=True)}{needed}"
    text = option.description.replace("`", "")
    yield from textwrap.wrap(text, 92, initial_indent="      ", subsequent_indent="      ")
    if option.example:
        key = option.name.rpartition(".")[2]
        yield click.style(f"      for example {key}: {option.example}", dim=True)
