"""``router init``: a project of one's own."""

from __future__ import annotations

from pathlib import Path

import click

from router.authoring.starting import scaffold
from router.cli.output import USAGE, fail, write_files


@click.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False))
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
def command(folder: str, force: bool) -> None:
    """Start a project in DIR: it runs as it is, without Kafka, and sends to the terminal.

    It has one route, one template in two languages with samples, environments dev, stage and
    prod, and the files that editors, commit hooks and CI need.

    \b
    Examples:
      router init my-project
      router init . --force
    """
    target = Path(folder)
    if target.exists() and any(target.iterdir()) and not force:
        raise fail(f"{folder} is not empty; write into it with --force", USAGE)
    content = scaffold()
    write_files(target, content)
    click.echo(f"{len(content)} files in {target}/\n")
    click.secho("Next:", bold=True)
    if target.resolve() != Path.cwd():
        click.echo(f"  cd {folder}")
    for line, about in (
        ("router check --strict", "every mistake at once"),
        ("router dry-run events.jsonl", "what these events would send, and to whom"),
        ("router run -e dev", "sends it, to this terminal"),
    ):
        click.echo(f"  {line:30}{click.style('# ' + about, dim=True)}")
