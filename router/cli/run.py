"""``router run``: the daemon."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from typing import Any

import anyio
import click
from anyio.abc import TaskStatus

from router import __version__
from router.cli.output import BAD_CONFIG, config_options, fail, show_problems
from router.config import Loaded, load_project
from router.daemon import Daemon, Options
from router.ledger import LedgerDown
from router.problems import ConfigError
from router.telemetry import Metrics, Redactor, people_hash, secrets_in, setup_logs

log = logging.getLogger("router.daemon")


@click.command("run")
@config_options
@click.option(
    "--accept-new-ledger",
    is_flag=True,
    help="Go on with a ledger that is not the one the group's offsets belong to.",
)
@click.option("--no-watch", is_flag=True, help="Don't reload by itself when files change.")
@click.option("--watch-every", type=float, default=5.0, hidden=True)
@click.option("--fault-point", envvar="ROUTER_FAULT_POINT", hidden=True)
def command(
    config: str,
    environment: str | None,
    accept_new_ledger: bool,
    no_watch: bool,
    watch_every: float,
    fault_point: str | None,
) -> None:
    """Run the daemon until SIGTERM; SIGHUP reloads.

    \b
    Examples:
      router run -c config/router.yaml -e prod
      router run --no-watch          # reload only by SIGHUP or POST /-/reload
    """
    loaded = load_project(config, environment)
    if loaded.project is None:
        show_problems(loaded.problems)
        raise click.exceptions.Exit(BAD_CONFIG)
    options = Options(accept_new_ledger, None if no_watch else watch_every, fault_point)
    people = people_hash(loaded.project.logs.hash_key)
    redactor = Redactor(secrets_in(loaded.project), people=people)
    metrics = Metrics(__version__)
    logs = setup_logs(loaded.project.logs, redactor=redactor, metrics=metrics, version=__version__)
    for problem in loaded.problems:
        log.warning("%s", problem.headline())

    def load_again() -> Loaded:
        again = load_project(config, environment)
        if again.project is not None:
            redactor.learn(secrets_in(again.project))
        return again

    daemon = Daemon(loaded.project, load_again, options=options, metrics=metrics)
    try:
        run_loop(run_until_signal, daemon)
    except* ConfigError as group:
        for error in leaves(group):
            show_problems(error.problems)
        raise click.exceptions.Exit(BAD_CONFIG) from None
    except* LedgerDown as group:
        raise fail(f"the ledger can't be used: {leaves(group)[0]}") from None
    finally:
        logs.close()


def run_loop(main: Callable[..., Any], *args: Any) -> Any:
    """An event loop, uvloop's where it is installed."""
    return anyio.run(main, *args, backend_options={"use_uvloop": _has_uvloop()})


def _has_uvloop() -> bool:
    try:
        import uvloop as _  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError:
        return False
    return True


def leaves(group: BaseExceptionGroup[Any]) -> list[Any]:
    """The exceptions of a group, and of groups within it."""
    found: list[Any] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


async def run_until_signal(daemon: Daemon) -> None:
    """Runs a daemon; SIGTERM and SIGINT stop it, SIGHUP reloads."""
    async with anyio.create_task_group() as tasks:
        await tasks.start(_obey_signals, daemon)
        await daemon.run()
        tasks.cancel_scope.cancel()


async def _obey_signals(daemon: Daemon, *, task_status: TaskStatus[None]) -> None:
    wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    with anyio.open_signal_receiver(*wanted) as signals:
        task_status.started()
        async for number in signals:
            if number == signal.SIGHUP:
                await daemon.reload()
            else:
                daemon.stop()
