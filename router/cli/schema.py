"""``router schema``: the JSON Schemas that editors complete and check with."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from router.authoring.schema import FILES, KINDS, Kind, schema, schema_text
from router.cli.output import print_json, write_files


@click.command("schema")
@click.argument("kind", required=False, type=click.Choice(KINDS), default="router")
@click.option(
    "--write",
    "folder",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Write the schemas of all kinds of files into DIR.",
)
def command(kind: str, folder: str | None) -> None:
    """Print the JSON Schema of a kind of file: by default that of router.yaml.

    With --write, DIR gets one file a kind, under the names that the first lines of configuration
    files point at (# yaml-language-server: $schema=../schema/router.json).

    \b
    Examples:
      router schema routes
      router schema --write schema
    """
    if folder is None:
        print_json(schema(cast("Kind", kind)))
        return
    target = Path(folder)
    write_files(target, {name: schema_text(of).encode() for of, name in FILES.items()})
    click.echo(f"{len(FILES)} schemas in {target}/")
