"""What a YAML parser's complaint means to the one who wrote the file."""

from __future__ import annotations

import re

import yaml
from yaml.composer import ComposerError
from yaml.reader import ReaderError

from router.problems import Position, Problem, Source

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\']|\'\')*\'|(?:(?<=\s)|^)#.*$')
_EXPRESSION = re.compile(r"\{\{.*?\}\}")
_VARIABLE = re.compile(r"\$\{[^}]*\}")
_COLUMN_ONE = re.compile(r"\s*")

_LONGEST_LINE = 2000
"""Longer lines are not searched for what is missing in them."""

_MEANINGS = (
    ("mapping values are not allowed", 'text with ": " in it needs quotes'),
    ("could not find expected ':'", 'expected "key: value"'),
    ("did not find expected '-' indicator", "expected another list item, with - in line"),
    ("did not find expected ',' or '}'", "expected , or } to go on with the { } before"),
    ("did not find expected ',' or ']'", "expected , or ] to go on with the [ ] before"),
    ("found unexpected end of stream", "a quote is opened and never closed"),
    ("found unexpected document indicator", "a quote is opened and never closed"),
    ("maximum nesting depth", "nested too deep"),
    ("did not find expected node content", "expected a value"),
    ("did not find expected alphabetic or numeric", "text that starts with * or & needs quotes"),
    ("found unknown escape character", r"unknown \ escape; write \\ or use single quotes"),
    ("while scanning a directive", "text that starts with % needs quotes"),
    ("found duplicate anchor", "this anchor is defined twice"),
    ("block sequence entries are not allowed", "a list starts on a line of its own"),
    ("wrong indentation", "indentation does not fit the lines above"),
    ("did not find expected key", "this does not fit the lines above: indentation or quotes"),
)


def explain_syntax_error(error: yaml.YAMLError, source: Source) -> Problem:
    """The problem for an error that libyaml gave, at the place where it can be mended."""
    if isinstance(error, ReaderError):
        at = _place_of_index(source, error.position)
        return Problem("Y001", f"a control character (U+{ord(_char(error)):04X}) in the file", at)
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Problem("Y001", "not valid YAML", Position(source, 1, 1))
    at = _place(source, error.problem_mark)
    context = _place(source, error.context_mark) if error.context_mark else at
    complaint = f"{error.problem or ''} {error.context or ''}"
    if isinstance(error, ComposerError):
        return _composer_problem(complaint, at)
    for line in dict.fromkeys((at.line, context.line)):
        if problem := _unquoted(source, line):
            return problem
    if _starts_with_tab(source, at.line):
        return Problem("Y003", "indent with spaces, not tabs", Position(source, at.line, 1))
    if "document start" in complaint:
        return Problem("Y004", "one file holds one document; remove this or the ... before", at)
    if "cannot start any token" in complaint:
        return Problem("Y001", f"text that starts with {_at(at)} needs quotes", at)
    for words, meaning in _MEANINGS:
        if words in complaint:
            code = "Y014" if "nesting" in words else "Y001"
            place = context if "never closed" in meaning else at
            related = ((context, "it starts here"),) if "go on" in meaning else ()
            return Problem(code, meaning, place, related=related)
    return Problem("Y001", f"not valid YAML: {complaint.strip()}", at)


def _composer_problem(complaint: str, at: Position) -> Problem:
    if "another document" in complaint:
        return Problem("Y004", "one file holds one document; remove this ---", at)
    name = _rest(at)[1:]
    return Problem(
        "Y010",
        f'no anchor "&{name}" stands above; text that starts with * needs quotes',
        at,
    )


def _unquoted(source: Source, line: int) -> Problem | None:
    """``{{ }}`` or ``${ }`` outside of quotes in a line that can't be read."""
    if not 1 <= line <= len(source.lines):
        return None
    text = source.lines[line - 1]
    if len(text) > _LONGEST_LINE:
        return None
    bare = _QUOTED.sub(lambda m: " " * len(m[0]), text)
    if found := _EXPRESSION.search(bare):
        at = Position(source, line, found.start() + 1, len(found[0]))
        start = _value_start(bare, found.start())
        whole = text[start:].strip()
        quote = "'" if '"' in whole else '"'
        return Problem("Y007", f"{{{{ }}}} needs quotes; write {quote}{whole}{quote}", at)
    if found := _VARIABLE.search(bare):
        at = Position(source, line, found.start() + 1, len(found[0]))
        where = f'inside {{ }} and [ ] a variable needs quotes; write "{found[0]}"'
        return Problem("Y008", where, at)
    return None


def _value_start(bare: str, expression: int) -> int:
    before = bare[:expression]
    colon = before.rfind(": ")
    dash = re.match(r"\s*- ", before)
    return colon + 2 if colon >= 0 else dash.end() if dash else expression


def _starts_with_tab(source: Source, line: int) -> bool:
    if not 1 <= line <= len(source.lines):
        return False
    indent = _COLUMN_ONE.match(source.lines[line - 1])
    return indent is not None and "\t" in indent[0]


def _place(source: Source, mark: yaml.Mark) -> Position:
    at = _place_of_index(source, mark.index)
    return Position(source, at.line, at.column, len(_rest(at)) or 1)


def _place_of_index(source: Source, index: int) -> Position:
    for number, line in enumerate(source.lines, 1):
        if index <= len(line):
            return Position(source, number, index + 1)
        index -= len(line) + 1
    last = len(source.lines)
    return Position(source, last, len(source.lines[-1]) + 1)


def _rest(at: Position) -> str:
    """The word at a place."""
    if at.line > len(at.source.lines):
        return ""
    found = re.match(r"[^\s,\]}]+", at.source.lines[at.line - 1][at.column - 1 :])
    return found[0] if found else ""


def _at(at: Position) -> str:
    return _rest(at)[:1] or "this character"


def _char(error: ReaderError) -> str:
    return error.character if isinstance(error.character, str) else chr(error.character)
