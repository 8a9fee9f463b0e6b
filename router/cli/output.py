"""What commands share: printing problems, reading a project, exit codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import orjson

from router.clock import SystemClock
from router.config import Loaded, Project, load_project
from router.problems import Problem, Severity

FOUND_PROBLEMS: Final = 1
USAGE: Final = 2
ENVIRONMENT: Final = 3
BAD_CONFIG: Final = 78

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow"}

F = TypeVar("F", bound=Callable[..., Any])


def config_options(command: F) -> F:
    """``--config`` and ``--env``, the same for every command."""
    command = click.option(
        "-e",
        "--env",
        "environment",
        metavar="NAME",
        help="Overlay env/NAME.yaml to put over the configuration.",
    )(command)
    return click.option(
        "-c",
        "--config",
        "config",
        default="config/router.yaml",
        show_default=True,
        type=click.Path(),
        help="router.yaml, or the folder that holds it.",
    )(command)


def output_option(command: F) -> F:
    """``--output json`` for programs."""
    return click.option(
        "-o",
        "--output",
        "output",
        type=click.Choice(["text", "json"]),
        default="text",
        help="Text for people, JSON for programs.",
    )(command)


def show_problems(problems: Iterable[Problem]) -> None:
    """Every problem with its excerpt, on standard error."""
    for problem in problems:
        show_problem(problem)


def show_problem(problem: Problem) -> None:
    """A problem with its excerpt, on standard error."""
    head, *rest = problem.render().split("\n")
    click.secho(head, fg=_COLOURS[problem.severity], bold=True, err=True)
    for line in rest:
        click.echo(line, err=True)


def read_project(config: str, environment: str | None, **options: Any) -> tuple[Project, Loaded]:
    """The project; with errors they are shown and the command ends with 1."""
    loaded = load_project(config, environment, **options)
    return usable(loaded), loaded


def usable(loaded: Loaded) -> Project:
    """The project that was read; with errors they are shown and the command ends with 1."""
    if loaded.project is None:
        show_problems(loaded.problems)
        count = sum(p.severity is Severity.ERROR for p in loaded.problems)
        click.secho(f"{count} error{'s' * (count != 1)}", err=True, bold=True)
        raise click.exceptions.Exit(FOUND_PROBLEMS)
    return loaded.project


def print_json(value: Any) -> None:
    """Stable, readable JSON on standard output."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def now() -> float:
    """Seconds since the epoch."""
    return SystemClock().now()


def write_files(folder: Path, files: Mapping[Any, bytes]) -> None:
    """Writes files by their paths within a folder; what can't be written ends the command."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    except OSError as error:
        raise fail(f"can't write {error.filename}: {error.strerror}") from None


def fail(message: str, code: int = ENVIRONMENT) -> click.exceptions.Exit:
    """Prints one line on standard error; ``raise fail(...)``."""
    click.secho(message, fg="red", err=True)
    return click.exceptions.Exit(code)
