"""``router dead-letters``: list, show and replay."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

import anyio
import click

from router.authoring.dead_letters import (
    Found,
    Outgoing,
    Skipped,
    Wanted,
    find_dead_letter,
    found_to_dict,
    moment_text,
    place_of,
    read_dead_letters,
    replay_connection,
    replay_of,
    route_names,
)
from router.authoring.ledger_replay import NotReplayed, rows_of, write_rows
from router.cli.clusters import read_project_with
from router.cli.output import (
    ENVIRONMENT,
    FOUND_PROBLEMS,
    USAGE,
    config_options,
    fail,
    now,
    output_option,
    print_json,
)
from router.cli.rehearsal_text import dim
from router.clock import SystemClock
from router.config import Project
from router.kafka.errors import KafkaUnavailable, PublishFailed
from router.publishing import dead_letter_connection
from router.values import Rate, parse_duration

F = TypeVar("F", bound=Callable[..., Any])

_BATCH = 100
_Replayed: TypeAlias = tuple[str, list[Found], list[tuple[Found, Skipped]]]
"""Through what, which ones, and which could not be."""


def _filters(command: F) -> F:
    for option in (
        click.option("--until", metavar="AGE", help="Older than 2h, 3d …, or a time."),
        click.option(
            "--since", metavar="AGE", help="Of the last 2h, 3d …, or since 2026-11-24T10:00:00Z."
        ),
        click.option("--tenant", metavar="NAME", help="Of this tenant."),
        click.option("--reason", metavar="CODE", help="With this reason, such as render_failed."),
        click.option("--sink", metavar="NAME", help="Of this sink."),
        click.option("--route", metavar="NAME", help="Of this route."),
    ):
        command = option(command)
    return command


@click.group("dead-letters")
def command() -> None:
    """List, show and replay dead letters: what could not be settled otherwise.

    They are read from the dead-letter topic, or from the file of a project without Kafka.

    \b
    Examples:
      router dead-letters list -e prod --since 1d --reason render_failed
      router dead-letters show router.dead-letters/0/4711 -e prod
      router dead-letters replay -e prod --route payment-failed --since 2h --dry-run
      router dead-letters replay -e prod --route payment-failed --since 2h --rate 50/s
    """


@command.command("list")
@config_options
@_filters
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="The newest so many."
)
@output_option
def list_command(
    config: str,
    environment: str | None,
    route: str | None,
    sink: str | None,
    reason: str | None,
    tenant: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    output: str,
) -> None:
    """List dead letters, the newest last.

    \b
    Examples:
      router dead-letters list
      router dead-letters list --sink mail --since 2h
      router dead-letters list --output json | jq -r '.dead_letters[].reason.code' | sort | uniq -c
    """
    project = read_project_with(config, environment, dead_letter_connection)
    wanted = _wanted(route, sink, reason, tenant, since, until)
    newest: deque[Found] = deque(maxlen=limit)
    count = 0
    for found in _run(project, _read, project, wanted):
        newest.append(found)
        count += 1
    if output == "json":
        letters = [found_to_dict(found, with_original=False) for found in newest]
        print_json({"dead_letters": letters, "total": count})
        return
    for found in newest:
        click.echo(_line(found))
    left = f" ({count - limit} older ones left out: --limit)" if count > limit else ""
    click.echo(f"{count} dead letter{'s' * (count != 1)} in {place_of(project)}{left}")


@command.command("show")
@click.argument("id")
@config_options
@output_option
def show_command(id: str, config: str, environment: str | None, output: str) -> None:
    """Show one dead letter: the facts, and the original.

    ID is topic/partition/offset, or the line's number in a file, as list shows it.

    \b
    Examples:
      router dead-letters show router.dead-letters/0/4711
      router dead-letters show 3 --output json | jq .original.value
    """
    project = read_project_with(config, environment, dead_letter_connection)
    try:
        found = _run(project, find_dead_letter, project, id)
    except ValueError as error:
        raise fail(f'"{id}" is no id of a dead letter: {error}', USAGE) from None
    if found is None:
        raise fail(f"there is no dead letter {id} in {place_of(project)}", FOUND_PROBLEMS)
    shown = found_to_dict(found, with_original=True)
    if output == "json":
        print_json(shown)
        return
    original = shown.pop("original")
    value, headers = original.pop("value"), original.pop("headers")
    reason = shown.pop("reason")
    facts = shown | {"reason": f"{reason['code']}: {reason['text']}".removesuffix(": ")}
    facts |= {f"original {name}": text for name, text in original.items()}
    facts |= {f"header {name}": text for name, text in headers}
    for name, text in facts.items():
        if text is not None:
            click.echo(f"{click.style(f'{name:>20}', fg='cyan')}  {text}")
    click.echo()
    if isinstance(value, str):
        click.echo(value)
    else:
        print_json(value)


@command.command("replay")
@config_options
@_filters
@click.option("--all", "take_all", is_flag=True, help="All of them; needed where no filter is.")
@click.option("--dry-run", is_flag=True, help="Only show which.")
@click.option("--rate", default="50/s", show_default=True, help="So many at most.")
@output_option
def replay_command(
    config: str,
    environment: str | None,
    route: str | None,
    sink: str | None,
    reason: str | None,
    tenant: str | None,
    since: str | None,
    until: str | None,
    take_all: bool,
    dry_run: bool,
    rate: str,
    output: str,
) -> None:
    """Have dead letters tried again, with today's configuration and templates.

    A dead delivery is tried again alone: whatever the event sent elsewhere is not sent twice. An
    event that died for a route goes to that route alone. They go through the router's replay topic,
    which the running daemon reads. Without Kafka they go into the ledger: a running daemon takes
    them out of a shared one; a SQLite ledger is written while none runs, and the next one sends.

    \b
    Examples:
      router dead-letters replay --reason render_failed --since 1d --dry-run
      router dead-letters replay --sink crm --rate 10/s
      router dead-letters replay --all
    """
    wanted = _wanted(route, sink, reason, tenant, since, until)
    if wanted.is_everything and not take_all:
        raise click.UsageError(
            "say which: --route, --sink, --reason, --tenant, --since or --until; or --all"
        )
    pace = _rate(rate)
    project = read_project_with(config, environment, replay_connection)
    found = list(_run(project, _read, project, wanted))
    replay = _into_ledger if replay_connection(project) is None else _through_topic
    names, ready, skipped = replay(project, found, pace, dry_run, output != "json")
    if output == "json":
        print_json(
            {
                "replayed": [] if dry_run else [one.id for one in ready],
                "would_replay": [one.id for one in ready] if dry_run else [],
                "skipped": [{"id": one.id, "why": out.why} for one, out in skipped],
            }
        )
    else:
        _sum_up(ready, skipped, dry_run, names)
    if skipped:
        raise click.exceptions.Exit(FOUND_PROBLEMS)


def _through_topic(
    project: Project, found: Sequence[Found], pace: Rate, dry_run: bool, with_progress: bool
) -> _Replayed:
    names = route_names(project)
    outcome = [(one, replay_of(one.letter, names)) for one in found]
    ready = [(one, out) for one, out in outcome if not isinstance(out, Skipped)]
    skipped = [(one, out) for one, out in outcome if isinstance(out, Skipped)]
    if not dry_run and ready:
        anyio.run(_publish, project, [out for _, out in ready], pace, with_progress)
    return project.dead_letters.replay_topic, [one for one, _ in ready], skipped


def _into_ledger(
    project: Project, found: Sequence[Found], pace: Rate, dry_run: bool, _: bool
) -> _Replayed:
    outcome = rows_of(project, found, now())
    ready = [(one, out) for one, out in outcome if not isinstance(out, Skipped)]
    skipped = [(one, out) for one, out in outcome if isinstance(out, Skipped)]
    if not dry_run and ready:
        # A rate for a ledger is a later time for each: the daemon takes them when they are due.
        rows = [
            replace(row, due=now() + number / pace.per_second)
            for number, row in enumerate(row for _, rows in ready for row in rows)
        ]
        try:
            new = anyio.run(write_rows, project, rows, SystemClock())
        except NotReplayed as error:
            raise fail(str(error), ENVIRONMENT) from None
        again = Skipped("it was replayed before; had it died again, that would be a later letter")
        skipped += [(one, again) for one, out in ready if new.isdisjoint(r.key for r in out)]
        ready = [(one, out) for one, out in ready if not new.isdisjoint(r.key for r in out)]
    return "the ledger", [one for one, _ in ready], skipped


def _sum_up(
    ready: Sequence[Found], skipped: Sequence[tuple[Found, Skipped]], dry_run: bool, where: str
) -> None:
    if dry_run:
        for one in ready:
            click.echo(_line(one))
    for one, out in skipped:
        click.secho(f"{one.id} can't be replayed: {out.why}", fg="yellow", err=True)
    count = f"{len(ready)} dead letter{'s' * (len(ready) != 1)}"
    click.echo(f"{count} would go to {where}" if dry_run else f"{count} replayed through {where}")


async def _publish(
    project: Project, batch: Sequence[Outgoing], pace: Rate, with_progress: bool
) -> None:
    from router.kafka.producer import producer

    connection = replay_connection(project)
    assert connection is not None
    clock = SystemClock()
    started = clock.monotonic()
    size = max(1, min(_BATCH, int(pace.per_second)))
    topic = project.dead_letters.replay_topic
    hidden = not with_progress or not sys.stderr.isatty()
    sent = 0
    with click.progressbar(
        length=len(batch), label="replaying", file=sys.stderr, hidden=hidden
    ) as bar:
        async with producer(connection) as opened:
            for first in range(0, len(batch), size):
                await clock.sleep(max(0.0, started + first / pace.per_second - clock.monotonic()))
                part = batch[first : first + size]
                try:
                    await opened.publish(topic, part)
                except PublishFailed as error:
                    done = f"{sent} were replayed, the next {len(part)} may have been"
                    raise fail(f"{topic}: {error}; {done}", ENVIRONMENT) from None
                sent += len(part)
                bar.update(len(part))


async def _read(project: Project, wanted: Wanted) -> list[Found]:
    return [found async for found in read_dead_letters(project, wanted)]


def _run(project: Project, what: Callable[..., Any], *args: Any) -> Any:
    """Runs it, with what can go wrong about the place in plain words."""
    try:
        return anyio.run(what, *args)
    except (KafkaUnavailable, OSError) as error:
        raise fail(f"{place_of(project)} can't be read: {error}", ENVIRONMENT) from None


def _line(found: Found) -> str:
    letter = found.letter
    route = "/".join(part for part in (letter.route, letter.step) if part) or "(event)"
    reason = click.style(letter.reason.code, fg="red")
    sink = f" → {letter.sink}" if letter.sink else ""
    whose = f"  {dim(f'tenant {letter.tenant}')}" if letter.tenant else ""
    moment = moment_text(letter.at)
    return f"{click.style(found.id, bold=True)}  {dim(moment)}  {reason}  {route}{sink}{whose}"


def _wanted(
    route: str | None,
    sink: str | None,
    reason: str | None,
    tenant: str | None,
    since: str | None,
    until: str | None,
) -> Wanted:
    moments = _moment(since, "--since"), _moment(until, "--until")
    return Wanted(route, sink, reason, tenant, *moments)


def _moment(text: str | None, option: str) -> float | None:
    """A time, or how long ago it was."""
    if text is None:
        return None
    try:
        return now() - parse_duration(text)
    except ValueError:
        pass
    from router.sources.kafka import parse_start

    try:
        moment = parse_start(text)
    except ValueError:
        moment = None
    if moment is None:
        message = "write an age as 2h, or a time as 2026-11-24T10:00:00Z"
        raise click.BadParameter(message, param_hint=option)
    return moment


def _rate(text: str) -> Rate:
    try:
        return Rate.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--rate") from None
