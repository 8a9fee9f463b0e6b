"""``router check``: every mistake at once."""

from __future__ import annotations

import click

from router.authoring.check import Report, check_project
from router.cli.output import FOUND_PROBLEMS, print_json, show_problem
from router.problems import Severity


@click.command("check")
@click.option(
    "-c",
    "--config",
    default="config/router.yaml",
    show_default=True,
    type=click.Path(),
    help="router.yaml, or the folder that holds it.",
)
@click.option(
    "-e",
    "--env",
    "environment",
    metavar="NAME",
    help="Check this environment alone, with its secrets.",
)
@click.option("--strict", is_flag=True, help="Warnings count: exit 1 for them too.")
@click.option("--offline", is_flag=True, help="Variables that are not set are no problem.")
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["text", "json", "github", "sarif"]),
    default="text",
    show_default=True,
    help="Text for people, JSON for programs, annotations for GitHub, SARIF for code scanning.",
)
def command(config: str, environment: str | None, strict: bool, offline: bool, form: str) -> None:
    """Find every mistake in configuration and templates, in every environment.

    Beyond errors it warns of what was hardly meant: routes that can't match, sinks that nothing
    uses, templates that read what no sample has. Every sample is rendered in every required
    locale. Secrets are read only with -e.

    \b
    Examples:
      router check                      # what a commit hook runs
      router check --strict             # what CI runs: no warnings either
      router check -e prod              # before a deployment, with its secrets
      router check --format github      # findings beside the lines of a pull request
    """
    report = check_project(config, environment, offline=offline)
    _PRINT[form](report)
    if report.has_failed(strict=strict):
        raise click.exceptions.Exit(FOUND_PROBLEMS)


def _text(report: Report) -> None:
    everywhere = len(report.environments)
    for problem, names in report.problems:
        show_problem(problem)
        if len(names) < everywhere:
            click.echo(f"      in {', '.join(names)}", err=True)
    if report.problems:
        click.echo(err=True)
    width = max(len(checked.name) for checked in report.environments)
    for checked in report.environments:
        errors, warnings = (checked.count(s) for s in (Severity.ERROR, Severity.WARNING))
        colour = "red" if errors else "yellow" if warnings else "green"
        click.echo(f"{checked.name:{width}}  ", nl=False)
        click.secho(_counts(errors, warnings), fg=colour)
    if census := report.census():
        click.echo(census)


def _counts(errors: int, warnings: int) -> str:
    parts = [
        f"{number} {noun}{'s' * (number != 1)}"
        for number, noun in ((errors, "error"), (warnings, "warning"))
        if number
    ]
    return ", ".join(parts) or "fine"


def _json(report: Report) -> None:
    from router.authoring.report_formats import report_to_dict

    print_json(report_to_dict(report))


def _github(report: Report) -> None:
    from router.authoring.report_formats import report_to_github

    click.echo(report_to_github(report))


def _sarif(report: Report) -> None:
    from router.authoring.meanings import meanings
    from router.authoring.report_formats import report_to_sarif

    print_json(report_to_sarif(report, meanings()))


_PRINT = {"text": _text, "json": _json, "github": _github, "sarif": _sarif}
