"""``router completion``: the script that completes commands in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    Examples:
      router completion bash > ~/.local/share/bash-completion/completions/router
      router completion zsh > "${fpath[1]}/_router"
      router completion fish > ~/.config/fish/completions/router.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    root = ctx.find_root()
    name = "router"
    click.echo(found(root.command, {}, name, "_ROUTER_COMPLETE").source())
