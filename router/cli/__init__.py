"""The command line: one thin module a command, read only when it is called."""

from __future__ import annotations

import gc
import importlib
from typing import Any, Final

import click

from router import __version__
from router.problems import ConfigError, did_you_mean

_COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("demo", "See it work: broker, providers and daemon on this machine."),
    "init": ("init", "Start a project of your own, which runs without Kafka."),
    "check": ("check", "Find every mistake in configuration and templates."),
    "dry-run": ("dry_run", "Show what events would send, and to whom; sends nothing."),
    "explain": ("explain", "Show why an event matches each route, or why not."),
    "render": ("render", "Render a template for its samples."),
    "run": ("run", "Run the daemon."),
    "sinks": ("sinks", "List sink types and their options; test a configured sink."),
    "dead-letters": ("dead_letters", "List, show and replay dead letters."),
    "silence": ("silence", "Keep things from being sent for a while."),
    "sandbox": ("sandbox", "Run provider look-alikes and their inbox."),
    "schema": ("schema", "Print the JSON Schema that editors use."),
    "completion": ("completion", "Print shell completion."),
}


class Commands(click.Group):
    """Imports a command's module when it is needed, and shows configuration errors plainly."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        # What an import makes, lives on: the cycle collector would only look at it again and again.
        gc.disable()
        try:
            module = importlib.import_module(f"router.cli.{_COMMANDS[cmd_name][0]}")
        finally:
            gc.enable()
        return module.command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            hint = did_you_mean(name, list(_COMMANDS), "Commands")
            ctx.fail(f'there is no command "{name}".{hint}')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            from router.cli.output import show_problems

            show_problems(error.problems)
            ctx.exit(78 if ctx.invoked_subcommand == "run" else 1)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with `router demo`, or with `router init my-project`.",
)
@click.version_option(__version__, prog_name="router")
def main() -> None:
    """Routes Kafka events to people and analytics by declarative YAML, each message once."""
