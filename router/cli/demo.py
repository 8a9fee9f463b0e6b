"""``router demo``: see it work."""

from __future__ import annotations

from random import Random

import anyio
import click

from router.cli.output import (
    BAD_CONFIG,
    FOUND_PROBLEMS,
    config_options,
    fail,
    output_option,
    print_json,
    show_problems,
)
from router.cli.run import leaves, run_loop
from router.cli.signals import stop_on_signal
from router.config.settings import LogSettings
from router.demo import (
    NoKafkaSource,
    Running,
    Summary,
    Whom,
    keep_publishing,
    run_once,
    running_demo,
)
from router.problems import ConfigError
from router.sandbox import BrokerMissing, CryptographyMissing, Received, StartFailed
from router.sandbox.contents import headline
from router.telemetry import setup_logs

_COLOURS = {
    "analytics": "blue",
    "chat": "green",
    "email": "cyan",
    "push": "magenta",
    "request": "yellow",
}


@click.command("demo")
@config_options
@click.option("--once", is_flag=True, help="Publish every sample once, sum up, and end.")
@output_option
def command(config: str, environment: str | None, once: bool, output: str) -> None:
    """See it work: an embedded broker, look-alikes of every provider, the daemon on your
    configuration, and the sample events of your templates. Nothing leaves this machine.

    \b
    Examples:
      router demo                       # live, until Ctrl-C
      router demo --once                # every sample once; exit 0 only if all arrived
      router demo --once --output json
    """
    logs = setup_logs(LogSettings(format="console", level="error"))
    try:
        fine = run_loop(_demo, config, environment or "dev", once, output)
    except* ConfigError as group:
        for error in leaves(group):
            show_problems(error.problems)
        raise click.exceptions.Exit(BAD_CONFIG) from None
    except* (BrokerMissing, CryptographyMissing, NoKafkaSource, StartFailed) as group:
        raise fail(str(leaves(group)[0])) from None
    finally:
        logs.close()
    if not fine:
        raise click.exceptions.Exit(FOUND_PROBLEMS)


async def _demo(config: str, environment: str, once: bool, output: str) -> bool:
    summary: Summary | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop_on_signal, tasks.cancel_scope)
        async with running_demo(config, environment) as demo:
            quiet = output == "json"
            if not quiet:
                _greet(demo)
                tasks.start_soon(_show, demo)
            if once:
                summary = await run_once(demo)
            else:
                await keep_publishing(demo, Random())
        tasks.cancel_scope.cancel()
    if summary is None:
        return True
    if output == "json":
        print_json(summary.as_dict())
    else:
        _sum_up(summary)
    return summary.is_fine


def _greet(demo: Running) -> None:
    project = demo.project
    click.secho(
        f"{len(project.routes)} routes, {len(project.sinks)} sinks, "
        f"{len(project.templates)} templates; everything on this machine",
        bold=True,
    )
    click.echo(f"  admin   http://{demo.daemon.admin_address}/")
    click.echo(f"  inbox   {demo.box.addresses['control']}/")
    click.echo("  Ctrl-C ends all of it\n")


async def _show(demo: Running) -> None:
    with demo.box.record.follow() as feed:
        async for entry in feed:
            _show_one(entry, demo.people.get(entry.recipient, Whom("", entry.recipient)))


def _show_one(entry: Received, whom: Whom) -> None:
    """What arrived, where, for whom, and what it says."""
    channel = click.style(f"{entry.channel:>9}", fg=_COLOURS.get(entry.channel), bold=True)
    provider = click.style(f"{entry.provider:<11}", dim=True)
    name = click.style(f"{whom.name:<8.8}", bold=True)
    address = click.style(f"{whom.address:<29.29}", dim=True)
    click.echo(f"{channel}  {provider} {name} {address}  {headline(entry)[:56]}")


def _sum_up(summary: Summary) -> None:
    click.echo()
    for name in ("events", "planned", "delivered", "scheduled", "suppressed", "dead", "repeats"):
        click.echo(f"{name:>12}  {getattr(summary, name)}")
    if summary.missing:
        click.secho(f"{summary.missing} delivered keys never reached a provider", fg="red")
    verdict = "all arrived" if summary.is_fine else "not everything arrived"
    click.secho(f"\n{verdict}", fg="green" if summary.is_fine else "red", bold=True)
