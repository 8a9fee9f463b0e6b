"""``router dry-run``: what events would send, and to whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import anyio
import click

from router.authoring.inputs import Given, at_time, with_recipients
from router.authoring.rehearsal import Rehearsal, rehearse_events
from router.authoring.rehearsal_report import rehearsals_to_dict, summary_of
from router.authoring.rehearsed import DigestRehearsal
from router.authoring.silences import read_silences
from router.cli.clusters import read_project_with
from router.cli.events import (
    choose_source,
    event_options,
    opened_directory,
    parse_moment,
    read_given,
    read_input,
)
from router.cli.output import (
    ENVIRONMENT,
    FOUND_PROBLEMS,
    USAGE,
    config_options,
    fail,
    output_option,
    print_json,
    read_project,
)
from router.cli.rehearsal_text import digest_lines, dim, event_lines, summary_lines
from router.config import Project
from router.events import decode
from router.planning.silences import Silence
from router.sources.kafka import KafkaSourceConfig


@click.command("dry-run")
@click.argument("events", required=False, type=click.Path(allow_dash=True))
@config_options
@event_options
@click.option("--topic", metavar="TOPIC", help="Read a topic of the source instead of a file.")
@click.option(
    "--max", "most", type=click.IntRange(1), default=20, show_default=True, help="With --topic."
)
@click.option(
    "--from",
    "start",
    type=click.Choice(["earliest", "now"]),
    default="earliest",
    show_default=True,
    help="With --topic: its oldest records, or those that come from now on.",
)
@click.option(
    "--wait",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="With --from now: how long to wait for records.",
)
@click.option(
    "--silences",
    type=click.Path(allow_dash=True),
    metavar="FILE",
    help="Silences in force, as router silence list --output json writes them.",
)
@click.option("--no-content", is_flag=True, help="Leave messages out.")
@click.option("--html", is_flag=True, help="Show the HTML of mails instead of their text.")
@output_option
def command(
    events: str | None,
    config: str,
    environment: str | None,
    source: str | None,
    as_topic: str | None,
    people: str | None,
    moment: str | None,
    topic: str | None,
    most: int,
    start: str,
    wait: float,
    silences: str | None,
    no_content: bool,
    html: bool,
    output: str,
) -> None:
    """Show what EVENTS would send, and to whom. Sends nothing, commits nothing.

    EVENTS is a file with one event a line (JSON), a template's sample (YAML), a file of dead
    letters, or - for standard input. With --topic, records are read from the configured Kafka
    source, outside its consumer group.

    Events are tried one after the other, each at its own time: what limits, digests and the like
    remember of one counts for the next. Digests are told of when they close, also after the last
    event. Nothing is known of what was sent before.

    Each delivery is shown with what would become of it: NOW, HOLD until a time, DIGEST, IF its
    primary fails, SUPPRESSED, CANCELLED or EXCLUDED by a rule, DEAD, or WAITS for the directory.
    Exits with 1 if something would be dead.

    \b
    Examples:
      router dry-run events.jsonl
      router dry-run templates/payment-failed/samples/first.yaml --html
      tail -1 events.jsonl | router dry-run - --no-content
      router dry-run --topic payments --from now --max 5 -e prod
      router dry-run events.jsonl --output json | jq .summary
      router silence list -e prod -o json | router dry-run events.jsonl --silences -
    """
    if (events is None) == (topic is None):
        raise click.UsageError("give a file of events (or - for standard input), or --topic")
    if topic is None:
        assert events is not None
        project, _ = read_project(config, environment, read_secrets=False)
        given = read_given(events, choose_source(project, source)[1], as_topic, moment)
    else:
        project = read_project_with(config, environment, lambda found: _kafka(found, source))
        at = parse_moment(moment)
        given = at_time(anyio.run(_peek, _kafka(project, source), topic, most, start, wait), at)
    rehearsal = anyio.run(_rehearse, project, given, people, _silences(silences, events))
    told, digests = rehearsal.told, rehearsal.digests
    summary = summary_of(told, digests)
    if output == "json":
        print_json(rehearsals_to_dict(given, told, digests, with_content=not no_content))
    else:
        shown = {"with_content": not no_content, "as_html": html}
        for group in _in_time(given, rehearsal, **shown):
            click.echo("\n".join([*group, ""]))
        for line in summary_lines(summary):
            click.echo(line)
        click.secho("Nothing was sent", bold=True)
    if summary.has_failures:
        raise click.exceptions.Exit(FOUND_PROBLEMS)


def _in_time(
    given: Sequence[Given], rehearsal: Rehearsal, *, with_content: bool, as_html: bool
) -> Iterator[Iterator[str]]:
    """Events and digests, each where its time is."""
    closed: dict[int, list[DigestRehearsal]] = {}
    for digest in rehearsal.digests:
        closed.setdefault(digest.after, []).append(digest)
    for number, (one, told) in enumerate(zip(given, rehearsal.told, strict=True), 1):
        yield event_lines(one, told, with_content=with_content, as_html=as_html)
        for digest in closed.get(number, ()):
            yield digest_lines(digest, with_content=with_content, as_html=as_html)


def _silences(file: str | None, events: str | None) -> list[Silence]:
    if file is None:
        return []
    if file == events == "-":
        raise click.UsageError("standard input holds the events or the silences, not both")
    try:
        return read_silences(read_input(file).decode("utf-8-sig", "replace"))
    except ValueError as error:
        raise fail(f"{file}: {error}", USAGE) from None


async def _rehearse(
    project: Project, given: list[Given], people: str | None, silences: list[Silence]
) -> Rehearsal:
    rules = project.rules()
    async with opened_directory(project, people) as directory:
        known = with_recipients(directory, given)
        events = [(one.event, one.moment) for one in given]
        return await rehearse_events(rules, events, known, silences)


def _kafka(project: Project, name: str | None) -> KafkaSourceConfig:
    """The Kafka source to read from: the one named, or the first."""
    if name is not None:
        chosen = choose_source(project, name)[1]
        if isinstance(chosen, KafkaSourceConfig):
            return chosen
        raise fail(f'source "{name}" is no Kafka source', USAGE)
    for config in project.sources.values():
        if isinstance(config, KafkaSourceConfig):
            return config
    raise fail("there is no Kafka source to read a topic from", USAGE)


async def _peek(
    source: KafkaSourceConfig, topic: str, most: int, start: str, wait: float
) -> list[Given]:
    from router.kafka.errors import KafkaUnavailable
    from router.kafka.peek import opened_topic

    given: list[Given] = []
    try:
        async with opened_topic(source, topic) as opened:
            if not opened.exists:
                raise fail(f"there is no topic {topic}", ENVIRONMENT)
            click.echo(dim(f"reading {topic} …"), err=True)
            stream = opened.stored() if start == "earliest" else opened.coming(wait)
            async for record in stream:
                label = f"{record.topic}/{record.partition}/{record.offset}"
                given.append(Given(label, decode(record, source.decode)))
                if len(given) >= most:
                    break
    except KafkaUnavailable as error:
        raise fail(f"{topic} can't be read: {error}", ENVIRONMENT) from None
    return given
