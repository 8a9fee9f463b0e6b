"""``router sandbox``: provider look-alikes and their inbox."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

import anyio
import click

from router.cli.output import fail
from router.cli.signals import stop_on_signal
from router.sandbox import DEFAULT_PORTS, CryptographyMissing, run_sandbox


@click.command("sandbox")
@click.option(
    "--files",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var/sandbox"),
    show_default=True,
    help="Where its authority, its keys for pushes and the file of variables are put.",
)
@click.option("--free-ports", is_flag=True, help="Listen on free ports instead of the usual ones.")
def command(files: Path, free_ports: bool) -> None:
    """Run look-alikes of the providers on this machine, until Ctrl-C.

    They speak the providers' wire protocols and keep what they are sent: the inbox page shows it.
    The shipped config/env/dev.yaml points at them; the variables that it reads are put into a file.

    \b
    Examples:
      router sandbox                                   # in one terminal
      . var/sandbox/env && router run -e dev           # in another, with a Kafka of yours
      router sinks test bot -e dev --to 100001001      # or without one
    """
    try:
        anyio.run(_run, files, {} if free_ports else DEFAULT_PORTS)
    except CryptographyMissing as error:
        raise fail(str(error)) from None
    except OSError as error:
        hint = "; --free-ports takes others" if error.errno == errno.EADDRINUSE else ""
        raise fail(f"the sandbox can't start: {error.strerror or error}{hint}") from None


async def _run(files: Path, ports: Mapping[str, int]) -> None:
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop_on_signal, tasks.cancel_scope)
        try:
            await run_sandbox(click.echo, ports, files)
        except (CryptographyMissing, OSError) as error:
            failure = error
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    click.echo()
