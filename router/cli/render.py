"""``router render``: a template's samples, rendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import click

from router.authoring.rendered import (
    Rendered,
    files_of,
    general_brand,
    render_cases,
    rendered_to_dict,
    sample_views,
)
from router.cli.output import (
    FOUND_PROBLEMS,
    USAGE,
    config_options,
    fail,
    output_option,
    print_json,
    read_project,
    write_files,
)
from router.cli.rehearsal_text import dim, message_lines
from router.problems import did_you_mean
from router.templating import RenderError, Template, View

T = TypeVar("T")


@click.command("render")
@click.argument("template")
@config_options
@click.option("--sample", "samples", multiple=True, metavar="NAME", help="This sample alone.")
@click.option(
    "--locale",
    "locales",
    multiple=True,
    metavar="TAG",
    help="In this locale; by default in every required one.",
)
@click.option(
    "--channel", "channels", multiple=True, metavar="NAME", help="email, chat, push or webhook."
)
@click.option("--tenant", metavar="NAME", help="As this tenant's people get it.")
@click.option("--html", is_flag=True, help="Show the HTML of mails instead of their text.")
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Write files instead: DIR/TEMPLATE/SAMPLE.LOCALE.CHANNEL.html (txt, json).",
)
@output_option
def command(
    template: str,
    config: str,
    environment: str | None,
    samples: tuple[str, ...],
    locales: tuple[str, ...],
    channels: tuple[str, ...],
    tenant: str | None,
    html: bool,
    out: str | None,
    output: str,
) -> None:
    """Render TEMPLATE for its samples, in every channel and locale.

    TEMPLATE is a template's name or its folder. Exits with 1 if some case does not render.

    \b
    Examples:
      router render payment-failed
      router render templates/payment-failed --sample first --locale ru --channel email --html
      router render payment-failed --tenant acme
      router render payment-failed --out preview && open preview/payment-failed/first.ru.email.html
    """
    project, _ = read_project(config, environment, read_secrets=False)
    name = Path(template).name if template not in project.templates else template
    chosen = _pick([name], project.templates, "template")[name]
    brand = general_brand(project.tenants)
    if tenant is not None:
        brand = _pick([tenant], project.tenants.named, "tenant")[tenant].brand
        chosen = chosen.of_tenant(tenant)
    views: Mapping[str, View] = sample_views(chosen, brand)
    if samples:
        views = _pick(samples, views, "sample")
    if not views:
        raise fail(f'template "{name}" has neither samples nor examples', FOUND_PROBLEMS)
    made = chosen.layouts if not channels else _pick(channels, chosen.layouts, "channel")
    asked: Sequence[str] = locales or chosen.locales.required
    cases = list(render_cases(chosen, views, asked, made, tenant or ""))
    if output == "json":
        print_json({"cases": [rendered_to_dict(case) for case in cases]})
    elif out is None:
        _show(chosen, cases, html)
    if out is not None:
        _write(Path(out) / name / (f"@{tenant}" if tenant else ""), cases)
    if any(case.failed for case in cases):
        raise click.exceptions.Exit(FOUND_PROBLEMS)


def _pick(names: Sequence[str], known: Mapping[str, T], noun: str) -> dict[str, T]:
    for name in names:
        if name not in known:
            hint = did_you_mean(name, list(known), f"{noun.title()}s")
            raise fail(f'there is no {noun} "{name}".{hint}', USAGE)
    return {name: known[name] for name in names}


def _show(template: Template, cases: Sequence[Rendered], html: bool) -> None:
    notes = {sample.name: sample.note for sample in template.samples}
    for case in cases:
        borrowed = f" (words of {case.found})" if case.found != case.locale else ""
        whose = f" · {case.tenant}" if case.tenant else ""
        title = f"{case.sample} · {case.channel} · {case.locale}{borrowed}{whose}"
        note = notes.get(case.sample, "")
        click.echo(f"{click.style(title, bold=True)}  {dim(note)}".rstrip())
        if isinstance(case.result, RenderError):
            click.secho(f"  {case.result}", fg="red")
        else:
            for line in message_lines(case.result, as_html=html):
                click.echo(f"  {line}".rstrip())
        click.echo()


def _write(folder: Path, cases: Sequence[Rendered]) -> None:
    files: dict[str, bytes] = {}
    for case in cases:
        if isinstance(case.result, RenderError):
            place = f"{case.sample}, {case.channel}, {case.locale}"
            click.secho(f"{place}: {case.result}", fg="red", err=True)
        files |= files_of(case)
    write_files(folder, files)
    click.echo(f"{len(files)} files in {folder}/", err=True)
