"""Results as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos.running import Result

_COLUMNS = ("fault", "events", "loss", "repeats", "recovery", "identity")
_WIDTHS = (32, 8, 6, 9, 10, 8)


def header() -> str:
    """The columns' names."""
    return _line(_COLUMNS)


def line(result: Result) -> str:
    """One result in a line, and what else is worth telling below it."""
    if result.skipped:
        return f"{result.name:<{_WIDTHS[0]}}skipped: {result.skipped}"
    report = result.report
    if report is None:
        return _line((result.name, "", "", "", "", "FAILED"))
    recovery = "" if report.recovery_s is None else f"{report.recovery_s:.1f} s"
    cells = (
        result.name,
        str(report.events),
        str(report.books.lost),
        str(report.books.repeats),
        recovery,
        "ok" if result.is_good else "FAILED",
    )
    details = [f"    {name}: {text}" for name, text in report.details.items()]
    return "\n".join([_line(cells), *details])


def failures(results: Sequence[Result]) -> str:
    """What was not as promised."""
    bad = [result for result in results if not result.is_good]
    return "\n".join(f"\n{result.name}: {result.fault}\n{result.failure}" for result in bad)


def _line(cells: Sequence[str]) -> str:
    return "".join(f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()
