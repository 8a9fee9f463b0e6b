"""``router explain``: why an event matches each route, or why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import anyio
import click

from router.authoring.explanation import (
    Explained,
    explain_routes,
    explanation_to_dict,
    needed_leaves,
)
from router.authoring.inputs import Given, with_recipients
from router.authoring.rehearsal import Rehearsal, rehearse_events
from router.cli.events import choose_source, event_options, opened_directory, read_given
from router.cli.output import (
    FOUND_PROBLEMS,
    USAGE,
    config_options,
    fail,
    output_option,
    print_json,
    read_project,
)
from router.cli.rehearsal_text import dead_line, digest_lines, dim, event_line, route_lines
from router.config import Project
from router.events import Event, Poison
from router.problems import did_you_mean
from router.routing import Trace, actual_text


@click.command("explain")
@click.argument("event", type=click.Path(allow_dash=True))
@config_options
@event_options
@click.option("--route", metavar="NAME", help="Explain this route alone.")
@click.option(
    "--near",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    metavar="N",
    help="Show routes in full that are at most N predicates away; others take a line each.",
)
@click.option("--all", "show_all", is_flag=True, help="Show every route in full.")
@click.option("--no-content", is_flag=True, help="Leave messages out.")
@output_option
def command(
    event: str,
    config: str,
    environment: str | None,
    source: str | None,
    as_topic: str | None,
    people: str | None,
    moment: str | None,
    route: str | None,
    near: int,
    show_all: bool,
    no_content: bool,
    output: str,
) -> None:
    """Show for each route which predicates EVENT meets, with the values found.

    EVENT is a file with one event (JSON on one line), a template's sample (YAML), or - for
    standard input. Routes that match come first, with what they would do; then those that come
    close.

    \b
    Examples:
      router explain templates/payment-failed/samples/first.yaml
      router explain event.json --route payment-failed
      kcat -C -t payments -c 1 | router explain - --all
      router explain event.json --output json
    """
    project, _ = read_project(config, environment, read_secrets=False)
    if route is not None and route not in project.routes:
        hint = did_you_mean(route, list(project.routes), "Routes")
        raise fail(f'there is no route "{route}".{hint}', USAGE)
    given = _only(read_given(event, choose_source(project, source)[1], as_topic, moment), event)
    if isinstance(given.event, Poison):
        raise fail(f"{given.label}: no event: {given.event.reason}", FOUND_PROBLEMS)
    explained = explain_routes(project, given.event, route)
    rehearsal = anyio.run(_rehearse, project, given, people)
    if output == "json":
        print_json(explanation_to_dict(explained, rehearsal, with_content=not no_content))
        return
    near_ones = [
        one for one in explained if one.is_matched or show_all or route or one.is_near(near)
    ]
    far_ones = [one for one in explained if one not in near_ones]
    for line in _lines(given.event, near_ones, rehearsal, with_content=not no_content):
        click.echo(line)
    for line in _far(far_ones):
        click.echo(line)


def _only(given: Sequence[Given], file: str) -> Given:
    if len(given) > 1:
        raise fail(f"{file} has {len(given)} events; explain takes one, dry-run takes many", USAGE)
    return given[0]


async def _rehearse(project: Project, given: Given, people: str | None) -> Rehearsal:
    async with opened_directory(project, people) as directory:
        known = with_recipients(directory, [given])
        return await rehearse_events(project.rules(), [(given.event, given.moment)], known)


def _lines(
    event: Event, explained: Sequence[Explained], rehearsal: Rehearsal, *, with_content: bool
) -> Iterator[str]:
    [told] = rehearsal.told
    yield event_line(event, told)
    if told.dead is not None:
        yield dead_line(told.dead)
    plans = {plan.route.id: plan for plan in told.routes}
    for one in explained:
        yield ""
        yield _headline(one)
        yield from _trace(one.trace, "  ")
        if one.route.id in plans:
            yield f"  {dim('then')}"
            plan = plans[one.route.id]
            # The first line names the route, which stands above.
            yield from list(route_lines(plan, with_content=with_content, as_html=False))[1:]
        for digest in rehearsal.digests:
            if digest.route.id == one.route.id:
                told_of = digest_lines(digest, with_content=with_content, as_html=False)
                yield from (f"  {line}" for line in told_of)


def _far(explained: Sequence[Explained]) -> Iterator[str]:
    if not explained:
        return
    yield ""
    yield dim(f"further away ({len(explained)}; in full with --all):")
    width = max(len(one.route.id) for one in explained)
    for one in explained:
        yield dim(f"  {one.route.id:{width}}  {one.trace.away} away: {needed_leaves(one)}")


def _headline(one: Explained) -> str:
    at = one.route.at
    name = click.style(one.route.id, fg="blue", bold=True)
    if one.is_matched:
        verdict = click.style("matches", fg="green", bold=True)
    elif one.trace.held:
        verdict = click.style("is switched off (mode: off)", fg="yellow", bold=True)
    else:
        verdict = click.style(f"{_predicates(one.trace.away)} away", fg="yellow", bold=True)
    return f"{name}  {verdict}  {dim(f'{at.file}:{at.line}')}"


def _predicates(count: int) -> str:
    return f"{count} predicate{'s' * (count != 1)}"


def _trace(trace: Trace, indent: str) -> Iterator[str]:
    if trace.kind == "all":
        for child in trace.children:
            yield from _trace(child, indent)
        return
    mark = click.style("✓", fg="green") if trace.held else click.style("✗", fg="red")
    place = dim(f"{trace.at.file}:{trace.at.line}")
    match trace.kind:
        case "any" | "not":
            words = {"any": "any of", "not": "not"}
            yield f"{indent}{mark} {words[trace.kind]}  {place}"
        case "element":
            yield f"{indent}{mark} element {trace.text}"
        case _:
            actual = actual_text(trace)
            yield f"{indent}{mark} {trace.text}  {dim('is')} {actual}  {place}"
    for child in trace.children:
        yield from _trace(child, indent + "  ")
