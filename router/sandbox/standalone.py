"""A sandbox that people start by hand: fixed ports, and a list of what stands where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import anyio

from router.sandbox.box import DEFAULT_PORTS, Sandbox, SandboxSettings, sandbox
from router.sandbox.variables import write_variables

VARIABLES = "env"
"""The file with variables, in the sandbox's folder."""


async def run_sandbox(
    say: Callable[[str], None],
    ports: Mapping[str, int] = DEFAULT_PORTS,
    folder: Path | None = None,
) -> None:
    """Runs until cancelled; ``say`` gets each line for the terminal.

    Args:
        folder: Where keys, certificates and a file of environment variables are put; by default
            there are none of these, and the others go with the sandbox.

    Raises:
        OSError: a port is taken, or the folder can't be written.
        CryptographyMissing: the ``demo`` extra is not installed.
    """
    async with sandbox(SandboxSettings(ports=ports, folder=folder)) as box:
        for line in describe(box):
            say(line)
        if folder is not None:
            write_variables(box, folder / VARIABLES)
            say(f"variables of config/env/dev.yaml: {folder / VARIABLES}")
        await anyio.sleep_forever()


def describe(box: Sandbox) -> list[str]:
    """What an operator needs to point a configuration at the sandbox."""
    names = max(map(len, box.addresses))
    lines = [f"{name:{names}}  {address}" for name, address in box.addresses.items()]
    return [
        *lines,
        f"inbox page: {box.addresses['control']}/",
        f"authority to trust: {box.ca_file}",
        *(f"{name}: {value}" for name, value in box.credentials.items()),
    ]
