"""``router silence``: keep things from being sent for a while."""

from __future__ import annotations

import getpass
import secrets
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

import anyio
import click

from router.authoring.silences import NotReached, SilenceStore, opened_silences, read_match
from router.cli.output import (
    ENVIRONMENT,
    USAGE,
    config_options,
    fail,
    now,
    output_option,
    print_json,
    read_project,
)
from router.cli.rehearsal_text import dim
from router.clock import SystemClock
from router.planning.silences import Silence, silence_of, silence_to_dict, why_refused
from router.problems import did_you_mean
from router.values import format_duration, parse_duration

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def _where(command: F) -> F:
    return config_options(
        click.option(
            "--admin",
            metavar="URL",
            help="Ask the daemon whose admin server this is; by default one on this machine, or"
            " the ledger itself where it is shared.",
        )(command)
    )


@click.group("silence")
def command() -> None:
    """Keep deliveries from being sent for a while: list, add, expire.

    What is silenced is suppressed, not kept for later. All replicas obey within seconds, and a
    silence ends by itself.

    \b
    Examples:
      router silence add --route payment-failed --for 2h --comment "the bank is down"
      router silence list
      router silence expire 5f0c11aa
    """


@command.command("add")
@click.option("--match", "match", metavar="YAML", help="Of events like this: 'type: order.paid'.")
@click.option("--route", metavar="NAME", help="Of this route.")
@click.option("--category", metavar="NAME", help="Of this category.")
@click.option("--sink", metavar="NAME", help="Through this sink.")
@click.option("--recipient", metavar="ID", help="To this person.")
@click.option("--for", "duration", metavar="DURATION", help="For so long: 30m, 2h, 1d.")
@click.option("--until", metavar="TIME", help="Until then: 2026-11-24T10:00:00Z.")
@click.option("--comment", required=True, metavar="TEXT", help="Why.")
@click.option("--author", metavar="NAME", help="Who; by default your login.")
@click.option("--dry-run", is_flag=True, help="Only check it and show it.")
@_where
@output_option
def add_command(
    match: str | None,
    route: str | None,
    category: str | None,
    sink: str | None,
    recipient: str | None,
    duration: str | None,
    until: str | None,
    comment: str,
    author: str | None,
    dry_run: bool,
    admin: str | None,
    config: str,
    environment: str | None,
    output: str,
) -> None:
    """Silence what meets all that is given, from now on. Categories with bypass: [silences] pass.

    \b
    Examples:
      router silence add --match 'type: payment.failed' --for 2h --comment "the bank is down"
      router silence add --sink mail --until 2026-11-24T18:00:00Z --comment "moving the relay"
      router silence add --match 'data.plan: trial' --category billing --for 1d --comment "audit"
      router silence add --sink mail --for 1h --comment "?" --dry-run -o json |
        router dry-run events.jsonl --silences -
    """
    project, _ = read_project(config, environment, read_secrets=False)
    for label, name, known in (
        ("Routes", route, project.routes),
        ("Categories", category, project.categories),
        ("Sinks", sink, project.sink_facts),
    ):
        if name is not None and name not in known:
            raise fail(f'there is no "{name}".{did_you_mean(name, list(known), label)}', USAGE)
    silence = silence_of(
        {
            "id": secrets.token_hex(4),
            "match": _match(match),
            "route": route,
            "category": category,
            "sink": sink,
            "recipient": recipient,
            "until": _end(duration, until),
            "author": author or getpass.getuser(),
            "comment": comment,
            "created": now(),
        }
    )
    if problem := why_refused(silence, now()):
        raise fail(problem, USAGE)
    added = silence
    if not dry_run:
        added = _with_store(config, environment, admin, lambda store: store.add(silence))
    if output == "json":
        print_json(silence_to_dict(added))
    else:
        click.echo(_line(added))


@command.command("list")
@_where
@output_option
def list_command(admin: str | None, config: str, environment: str | None, output: str) -> None:
    """List the silences that have not ended."""
    found = _with_store(config, environment, admin, lambda store: store.active())
    if output == "json":
        print_json({"silences": [silence_to_dict(silence) for silence in found]})
        return
    for silence in found:
        click.echo(_line(silence))
    if not found:
        click.echo("nothing is silenced")


@command.command("expire")
@click.argument("id")
@_where
def expire_command(id: str, admin: str | None, config: str, environment: str | None) -> None:
    """End the silence ID now."""

    async def expire(store: SilenceStore) -> bool:
        silence = next((one for one in await store.active() if one.id == id), None)
        if silence is not None:
            await store.expire(silence)
        return silence is not None

    if not _with_store(config, environment, admin, expire):
        raise fail(f"there is no silence {id}, or it has ended", USAGE)
    click.echo(f"{id} has ended")


def _with_store(
    config: str,
    environment: str | None,
    admin: str | None,
    work: Callable[[SilenceStore], Awaitable[T]],
) -> T:
    project, _ = read_project(config, environment)

    async def run() -> T:
        async with opened_silences(project, SystemClock(), admin) as store:
            return await work(store)

    try:
        return anyio.run(run)
    except NotReached as error:
        raise fail(str(error), ENVIRONMENT) from None


def _match(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return read_match(text)
    except ValueError as error:
        raise fail(f"--match: {error}", USAGE) from None


def _end(duration: str | None, until: str | None) -> float:
    if (duration is None) == (until is None):
        raise click.UsageError("say how long: --for or --until")
    try:
        if duration is not None:
            return now() + parse_duration(duration)
        time = datetime.fromisoformat(until or "")
        if time.tzinfo is None:
            raise ValueError("write a time with its zone, as 2026-11-24T10:00:00Z")
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return time.timestamp()


def _line(silence: Silence) -> str:
    end = datetime.fromtimestamp(silence.until, UTC)
    left = format_duration(max(0, round(silence.until - now())))
    head = f"{click.style(silence.id, bold=True)}  {', '.join(_conditions(silence))}"
    when = f"until {end:%Y-%m-%dT%H:%M:%SZ} ({left})"
    return f"{head}  {when}  {dim(f'{silence.author}: {silence.comment}')}"


def _conditions(silence: Silence) -> Iterator[str]:
    if silence.condition is not None:
        yield silence.condition.describe()
    for name in ("route", "category", "sink", "channel", "recipient"):
        if value := getattr(silence, name):
            yield f"{name} {value}"
