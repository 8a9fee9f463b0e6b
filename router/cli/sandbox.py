"""``router sandbox``: provider look-alikes and their inbox."""

from __future__ import annotations

from pathlib import Path

import anyio
import click

from router.cli.output import fail
from router.cli.signals import stop_on_signal
from router.sandbox import CryptographyMissing, run_sandbox


@click.command("sandbox")
@click.option(
    "--files",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var/sandbox"),
    show_default=True,
    help="Where its certificate authority and its keys for pushes are put.",
)
def command(files: Path) -> None:
    """Run look-alikes of the providers on this machine, until Ctrl-C.

    They speak the providers' wire protocols and keep what they are sent: the inbox page shows it.
    The shipped config/env/dev.yaml points at them.

    \b
    Examples:
      router sandbox                  # in one terminal
      router run -e dev               # in another
    """
    try:
        anyio.run(_run, files)
    except CryptographyMissing as error:
        raise fail(str(error)) from None
    except OSError as error:
        raise fail(f"the sandbox can't start: {error.strerror or error}") from None


async def _run(files: Path) -> None:
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop_on_signal, tasks.cancel_scope)
        try:
            await run_sandbox(click.echo, folder=files)
        except (CryptographyMissing, OSError) as error:
            failure = error
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    click.echo()
