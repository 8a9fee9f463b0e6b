"""What holds for whatever a target gives back."""

from __future__ import annotations

from collections.abc import Iterable

from router.problems import Position, Problem


def check_problems(problems: Iterable[Problem]) -> None:
    """Each can be printed, in one line, and points into the file that it names."""
    for problem in problems:
        problem.render().encode()
        assert problem.message, problem
        assert len(problem.headline().splitlines()) == 1, problem.message
        assert problem.render().count("\n") == len(problem.related) + (_excerpt_lines(problem)), (
            problem
        )
        for at in (problem.at, *(at for at, _ in problem.related)):
            if at is not None:
                check_position(at)


def _excerpt_lines(problem: Problem) -> int:
    return 2 if problem.at is not None and problem.at.excerpt() else 0


def check_position(at: Position) -> None:
    lines = at.source.lines
    assert at.line >= 1
    assert at.column >= 1
    assert at.length >= 1
    if lines:
        assert at.line <= len(lines), (at, len(lines))
        assert at.column <= len(lines[at.line - 1]) + 1, at
