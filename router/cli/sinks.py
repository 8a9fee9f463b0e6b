"""``router sinks``: the installed sink types and their options, and a test message through one."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import click
import orjson

from router.authoring.options import Option, options_of, summary_of
from router.authoring.sink_test import (
    TEXT,
    Call,
    NotTestable,
    SinkTest,
    load_for_test,
    message_for,
    send_test,
    target_of,
)
from router.cli.output import (
    ENVIRONMENT,
    FOUND_PROBLEMS,
    USAGE,
    config_options,
    fail,
    now,
    output_option,
    print_json,
    read_project,
    usable,
)
from router.clock import SystemClock
from router.config import Project
from router.kinds import Plugin, UnknownKind
from router.planning import SinkFacts
from router.problems import did_you_mean
from router.sinks import KINDS, SinkConfig

_SHARED = frozenset(SinkConfig.model_fields) - {"type"}


class _Sinks(click.Group):
    """Lists where no subcommand is named: ``router sinks``, ``router sinks smtp``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("sinks", cls=_Sinks)
def command() -> None:
    """List the installed sink types and their options, or test a sink of a configuration.

    \b
    Examples:
      router sinks                                  # every type, plugins' included
      router sinks smtp                             # the options of one
      router sinks configured                       # those of a configuration, tenants' own too
      router sinks test mail --to me@acme.example   # does it work?
    """


@command.command("list")
@click.argument("kind", required=False, metavar="[TYPE]")
@output_option
def list_command(kind: str | None, output: str) -> None:
    """List sink types, or one type's options.

    It is what `router sinks` does by itself: "list" may be left out.

    \b
    Examples:
      router sinks
      router sinks smtp
      router sinks http --output json
    """
    if kind is not None:
        _show(_installed(kind), output)
        return
    plugins = KINDS.plugins.installed() if KINDS.plugins else []
    found = [_Installed(name, _load(name)) for name in KINDS.names()]
    found += [_of_plugin(plugin) for plugin in plugins if not KINDS.is_built_in(plugin.name)]
    if output == "json":
        print_json({"sinks": [one.as_dict() for one in found]})
        return
    width = max(len(one.name) for one in found)
    for one in found:
        click.echo(f"{click.style(f'{one.name:{width}}', bold=True)}  {one.line()}")
    click.echo("\nOptions of one: router sinks TYPE")


@command.command("configured")
@config_options
@output_option
def configured_command(config: str, environment: str | None, output: str) -> None:
    """List the sinks of a configuration, and those that tenants have to themselves.

    \b
    Examples:
      router sinks configured -e prod
      router sinks configured --output json | jq -r '.sinks[] | select(.tenant).name'
    """
    project, _ = read_project(config, environment, read_secrets=False)
    found = [_configured(project, facts) for facts in project.sink_facts.values()]
    if output == "json":
        print_json({"sinks": found})
        return
    width, kinds = (max((len(one[key]) for one in found), default=0) for key in ("name", "type"))
    for one in found:
        name = click.style(f"{one['name']:{width}}", bold=True)
        whose = f"  tenant {one['tenant']}" if one["tenant"] else ""
        click.echo(f"{name}  {one['type']:{kinds}}  {one['channel']}{whose}")


def _configured(project: Project, facts: SinkFacts) -> dict[str, Any]:
    owners = (t.name for t in project.tenants.named.values() if facts.name in t.sinks.values())
    return {
        "name": facts.name,
        "type": facts.type,
        "channel": str(facts.channel),
        "real": facts.is_real,
        "tenant": next(owners, None),
    }


@command.command("test")
@click.argument("name")
@click.option(
    "--to",
    metavar="ADDRESS",
    help="Where to: an address of the sink's kind, a person's id, or an http sink's path.",
)
@click.option("--message", default=TEXT, show_default=True, metavar="TEXT", help="What to say.")
@click.option(
    "--body", metavar="JSON", help='What a request sink sends instead of {"text": …} or an event.'
)
@click.option(
    "--method", default="POST", show_default=True, metavar="METHOD", help="An http sink's method."
)
@click.option(
    "--platform",
    type=click.Choice(["android", "ios", "web"]),
    help="What the device of a push sink is.",
)
@click.option("--yes", is_flag=True, help="Don't ask before sending in production.")
@config_options
@output_option
def test_command(
    name: str,
    to: str | None,
    message: str,
    body: str | None,
    method: str,
    platform: str | None,
    yes: bool,
    config: str,
    environment: str | None,
    output: str,
) -> None:
    """Send one test message through a sink.

    It is marked as a test, and the provider's answer is told in words.

    It is sent once and for real, to the address that you give: routes, policies and divert have no
    part in it, and nothing of it is kept. Other sinks' secrets need not be set. Exit code: 0
    delivered, 1 not, 3 the provider can't be reached.

    \b
    Examples:
      router sinks test mail --to me@acme.example
      router sinks test ops-telegram --to 100500 -e prod
      router sinks test crm --to /notes --body '{"text": "hello"}'
    """
    project = usable(load_for_test(config, environment, name))
    sink = _sink_of(project, name)
    call = Call(method.upper(), (to or "") if sink.type == "http" else "", _json(body))
    try:
        target = target_of(sink, to, platform)
    except NotTestable as error:
        raise fail(str(error), USAGE) from None
    if project.production and not yes:
        where = f" to {target.address}" if target.address else ""
        click.confirm(f"This is production. Send a test through {name}{where}?", abort=True)
    made = message_for(sink, message, to, call, now())
    try:
        tested: SinkTest = anyio.run(send_test, project, sink, target, made, SystemClock())
    except OSError as error:
        raise fail(f'sink "{name}" can\'t be opened: {error}', ENVIRONMENT) from None
    if output == "json":
        print_json(tested.as_dict())
    else:
        where = f" → {target.address}" if target.address else ""
        line = f"{name} ({sink.type}){where}: {tested.in_words()}"
        click.secho(line, fg="green" if tested.is_delivered else "red")
    if not tested.is_delivered:
        raise click.exceptions.Exit(FOUND_PROBLEMS if tested.was_reached else ENVIRONMENT)


def _sink_of(project: Project, name: str) -> SinkFacts:
    facts = project.sink_facts.get(name)
    if facts is None:
        hint = did_you_mean(name, list(project.sink_facts), "Sinks")
        raise fail(f'there is no sink "{name}".{hint}', USAGE)
    return facts


def _json(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        return orjson.dumps(orjson.loads(text))
    except orjson.JSONDecodeError as error:
        raise fail(f"--body is not JSON: {error}", USAGE) from None


# Types -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Installed:
    """A type, what it exports, and whose it is; a broken plugin's has an error instead."""

    name: str
    found: Any = None
    plugin: Plugin | None = None
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        about: dict[str, Any] = {"plugin": self.plugin.distribution if self.plugin else None}
        if self.error is not None:
            return {"type": self.name, **about, "error": self.error}
        return {**_as_dict(self.name, self.found), **about}

    def line(self) -> str:
        if self.error is not None:
            return click.style(f"can't be used: {self.error}", fg="red")
        owner = f" ({self.plugin.distribution})" if self.plugin else ""
        return f"{summary_of(self.found.config)}{click.style(owner, dim=True)}"


def _of_plugin(plugin: Plugin) -> _Installed:
    try:
        return _Installed(plugin.name, KINDS.load(plugin.name), plugin)
    except ImportError as error:
        return _Installed(plugin.name, None, plugin, str(error))


def _installed(name: str) -> _Installed:
    plugins = KINDS.plugins.installed() if KINDS.plugins else []
    owner = None if KINDS.is_built_in(name) else next((p for p in plugins if p.name == name), None)
    return _Installed(name, _load(name), owner)


def _load(name: str) -> Any:
    try:
        return KINDS.load(name)
    except UnknownKind:
        hint = did_you_mean(name, KINDS.all_names(), "Types")
        raise fail(f'there is no sink type "{name}".{hint}', USAGE) from None
    except ImportError as error:
        raise fail(f'sink type "{name}" can\'t be used: {error}', ENVIRONMENT) from None


def _show(one: _Installed, output: str) -> None:
    if output == "json":
        print_json(one.as_dict())
        return
    for line in _lines(one):
        click.echo(line)


def _as_dict(name: str, found: Any) -> dict[str, Any]:
    return {
        "type": name,
        "description": summary_of(found.config),
        "options": [option.as_dict() for option in options_of(found.config, but=_TYPE)],
    }


_TYPE = frozenset({"type"})


def _lines(one: _Installed) -> Iterator[str]:
    yield f"{click.style(one.name, bold=True)}  {one.line()}"
    options = options_of(one.found.config, but=_TYPE)
    own = [option for option in options if option.name.split(".")[0] not in _SHARED]
    shared = [option for option in options if option not in own]
    for title, group in (("Its own options", own), ("Options of every sink", shared)):
        if group:
            yield ""
            yield click.style(title, underline=True)
            for option in group:
                yield from _option(option)


def _option(option: Option) -> Iterator[str]:
    default = f"default {option.default}" if option.default is not None else ""
    about = ", ".join(part for part in (option.type, default) if part)
    needed = click.style("  compulsory", fg="red") if option.is_required else ""
    name = click.style(option.name, fg="cyan", bold=True)
    yield f"  {name}  {click.style(about.replace('`', ''), dim=True)}{needed}"
    text = option.description.replace("`", "")
    yield from textwrap.wrap(text, 92, initial_indent="      ", subsequent_indent="      ")
    if option.example:
        key = option.name.rpartition(".")[2]
        yield click.style(f"      for example {key}: {option.example}", dim=True)
