"""One compiled piece of template text: a body, a text, a field of front matter, an expression."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from types import CodeType, TracebackType
from typing import Any

from jinja2 import Template, TemplateError, UndefinedError, meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.parser import Parser
from jinja2.runtime import Context

from router.problems import Problems, did_you_mean
from router.templating import escaping, guard
from router.templating.bounded import kind
from router.templating.codes import RenderError
from router.templating.environment import (
    BUILT_IN,
    JSON_TEXT,
    JSON_VALUE,
    Environment,
    Environments,
)
from router.templating.guard import Guarding, Uses
from router.templating.rendering import Rendering
from router.templating.snippets import Snippet

MAX_SOURCE = 512 * 1024
_RESULT = "result"
_QUOTED = re.compile(r'"(\w+)"')
_FAILURES: Mapping[type[Exception], str] = {
    RecursionError: "the template calls itself without end",
    ZeroDivisionError: "division by zero",
    OverflowError: "a number is too big",
    TypeError: "an operation or filter got a value of a kind it can't use",
    ValueError: "an operation or filter got a value it can't use",
}


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Compiled template text.

    Attributes:
        names: Names it reads that it does not set itself.
        uses: What it reads of them.
        is_native: It has a value of its own type (:meth:`evaluate`), not a text.
    """

    snippet: Snippet
    template: Template | None
    constant: str
    names: frozenset[str]
    uses: Uses
    is_native: bool = False

    def render(self, rendering: Rendering, extra: Mapping[str, Any] | None = None) -> str:
        """The text; ``extra`` names stand beside those of the message.

        Raises:
            RenderError: with the place in the file.
        """
        if self.template is None:
            return self.constant
        return "".join(self.chunks(rendering, extra))

    def chunks(self, rendering: Rendering, extra: Mapping[str, Any] | None = None) -> list[str]:
        """The text, as it is written bit by bit: fixed text and values apart.

        Raises:
            RenderError: with the place in the file.
        """
        if self.template is None:
            return [self.constant]
        limit = rendering.meter.output
        chunks: list[str] = []
        size = 0
        try:
            for chunk in self.template.root_render_func(self._context(rendering, extra)):
                size += len(chunk)
                if size > limit:
                    raise rendering.meter.too_long()
                chunks.append(chunk)
        except Exception as error:
            raise self._failure(error, self.template) from error
        return chunks

    def fixed_texts(self) -> frozenset[str]:
        """The bits of it that are the same in every rendering."""
        if self.template is None:
            return frozenset((self.constant,))
        return frozenset(_texts_of(self.template.root_render_func.__code__))

    def evaluate(self, rendering: Rendering) -> Any:
        """The value of an expression, of its own type.

        Raises:
            RenderError: with the place in the file.
        """
        assert self.template is not None
        try:
            context = self._context(rendering, None)
            for _ in self.template.root_render_func(context):
                pass
            return _settled(context.vars[_RESULT])
        except Exception as error:
            raise self._failure(error, self.template) from error

    def _context(self, rendering: Rendering, extra: Mapping[str, Any] | None) -> Context:
        assert self.template is not None
        names = {**rendering.context, **extra} if extra else rendering.context
        return self.template.new_context(names, shared=True)

    def _failure(self, error: Exception, template: Template) -> RenderError:
        if isinstance(error, RenderError) and error.position:
            return error
        code, text = _explain(error)
        line = _template_line(error.__traceback__, template)
        name = _QUOTED.search(text) if code == "T160" else None
        needle = rf"\b{name[1]}\b" if name else r"\{[{%].*"
        return RenderError(code, text, self.snippet.position(line, needle))


def _texts_of(code: CodeType) -> Iterator[str]:
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, CodeType):
            yield from _texts_of(constant)


def _explain(error: Exception) -> tuple[str, str]:
    match error:
        case RenderError():
            return error.code, error.text
        case UndefinedError():
            return "T160", error.message or "a value does not exist"
        case SecurityError():
            return "T170", "something that templates may not do"
        case RecursionError():
            return "T165", _FAILURES[RecursionError]
        case _:
            pass
    for cls, text in _FAILURES.items():
        if isinstance(error, cls):
            return "T164", text
    return "T164", f"a filter failed ({type(error).__name__})"


def _template_line(traceback: TracebackType | None, template: Template) -> int:
    line = 1
    while traceback:
        if traceback.tb_frame.f_code.co_filename == template.filename:
            line = template.get_corresponding_lineno(traceback.tb_lineno)
        traceback = traceback.tb_next
    return line


def _settled(value: Any) -> Any:
    if hasattr(value, "_fail_with_undefined_error"):
        str(value)
    if hasattr(value, "__next__"):
        value = list(value)
    if value is not None and kind(value) == "something else" and not isinstance(value, range):
        raise RenderError("T163", "an expression gave something that is not data")
    return list(value) if isinstance(value, range) else value


_UNCLOSED = re.compile(r"innermost block that needs to be closed is '(\w+)'")


@dataclass(frozen=True, slots=True)
class _Compiler:
    snippet: Snippet
    env: Environment
    problems: Problems

    def complain(self, code: str, line: int, needle: str | None, message: str) -> None:
        self.problems.error(code, message, self.snippet.position(line, needle))

    def parse(self, read: Callable[[], nodes.Template]) -> nodes.Template | None:
        """The tree, or None after a complaint."""
        if len(self.snippet.text) > MAX_SOURCE:
            self.complain("T120", 1, None, f"longer than {MAX_SOURCE} characters")
            return None
        try:
            return read()
        except TemplateError as error:
            line = getattr(error, "lineno", 1)
            message = error.message or "not a template"
            if unclosed := _UNCLOSED.search(message):
                tag = unclosed[1]
                message = f"{{% {tag} %}} is never closed; write {{% end{tag} %}}"
                self.complain("T120", self._opened_at(tag), rf"\{{%[-+]?\s*{tag}\b.*", message)
                return None
            token = re.search(r"unexpected '(.+?)'|tag '(\w+)'|near '(.+?)'", message)
            quoted = next((t for t in token.groups() if t), None) if token else None
            self.complain("T120", line, re.escape(quoted) if quoted else r"\{[{%#].*", message)
        except (RecursionError, ValueError, MemoryError):
            self.complain("T120", 1, None, "nested too deep, or a number with too many digits")
        return None

    def _opened_at(self, tag: str) -> int:
        """The line of the last block of this kind that nothing closes."""
        opened = [1]
        for number, line in enumerate(self.snippet.text.split("\n"), 1):
            for found in re.finditer(rf"\{{%[-+]?\s*(end)?{tag}\b", line):
                if found[1] is None:
                    opened.append(number)
                elif len(opened) > 1:
                    opened.pop()
        return opened[-1]

    def compile(
        self, tree: nodes.Template, language: escaping.Language | None = None
    ) -> Piece | None:
        """The compiled piece, or None after complaints."""
        visit = _write_as_json if language is escaping.JSON else None
        return self.make(tree) if self.check(tree, language, visit) else None

    def check(
        self,
        tree: nodes.Template,
        language: escaping.Language | None,
        visit: escaping.Visit | None = None,
    ) -> bool:
        """Whether the tree is one that may be compiled; it complains if not."""
        tree.set_environment(self.env)
        before = len(self.problems.found)
        try:
            is_json = language is escaping.JSON
            if guard.check(tree, self.env, self.complain, json=is_json) and language:
                escaping.Walker(language, self._complain_line, visit).check(tree)
        except RecursionError:
            self.complain("T120", 1, None, "nested too deep")
        return len(self.problems.found) == before

    def make(self, tree: nodes.Template) -> Piece | None:
        """The piece of a tree that was checked, or None after a complaint."""
        try:
            return self._make(tree)
        except RecursionError:
            self.complain("T120", 1, None, "nested too deep")
            return None

    def _make(self, tree: nodes.Template) -> Piece:
        names = frozenset(meta.find_undeclared_variables(tree))
        guarding = Guarding()
        tree = guarding.visit(tree)
        tree.set_environment(self.env)
        start = self.snippet.start
        name = f"<template {start.file}:{start.line}:{start.column}>"
        code = self.env.compile(tree, name, name)
        template = Template.from_code(self.env, code, {}, None)
        return Piece(self.snippet, template, "", names, guarding.uses)

    def _complain_line(self, code: str, line: int, message: str) -> None:
        self.complain(code, line, r"\{[{%].*", message)


def _write_as_json(value: nodes.Expr, state: str) -> nodes.Expr:
    if isinstance(value, nodes.Filter) and value.name == "tojson" and value.node:
        value = value.node
    name = JSON_TEXT if state == "inside" else JSON_VALUE
    return nodes.Filter(value, name, [], [], None, None, lineno=value.lineno)


def compile_text(
    snippet: Snippet,
    problems: Problems,
    language: escaping.Language | None = None,
    environments: Environments = BUILT_IN,
) -> Piece | None:
    """A piece that renders to text; None if it has errors, which are in ``problems``.

    Args:
        language: HTML escapes values, JSON serialises them, None writes them as they are.
    """
    if language is escaping.HTML:
        draft = draft_html(snippet, problems, environments)
        return draft.compile() if draft else None
    env = environments.text
    if language is None and not re.search(r"\{[{%#]", snippet.text):
        return Piece(snippet, None, snippet.text, frozenset(), Uses())
    compiler = _Compiler(snippet, env, problems)
    tree = compiler.parse(lambda: env.parse(snippet.text))
    return compiler.compile(tree, language) if tree else None


@dataclass(frozen=True, slots=True)
class Draft:
    """HTML that was read and checked and is not compiled yet: its fixed text may be changed."""

    tree: nodes.Template
    _compiler: _Compiler

    def compile(self) -> Piece | None:
        """The piece, or None after a complaint."""
        return self._compiler.make(self.tree)


def draft_html(
    snippet: Snippet,
    problems: Problems,
    environments: Environments = BUILT_IN,
    visit: escaping.Visit | None = None,
) -> Draft | None:
    """HTML, checked; None if it has errors, which are in ``problems``.

    Args:
        visit: See :class:`router.templating.escaping.Walker`.
    """
    compiler = _Compiler(snippet, environments.html, problems)
    tree = compiler.parse(lambda: environments.html.parse(snippet.text))
    if tree is None or not compiler.check(tree, escaping.HTML, visit):
        return None
    return Draft(tree, compiler)


def compile_native(
    snippet: Snippet,
    problems: Problems,
    environments: Environments = BUILT_IN,
    *,
    bare: bool = False,
) -> Piece | None:
    """A piece whose value keeps its type: ``{{ expr }}``, or ``expr`` if ``bare``.

    Text around the one expression makes it a piece that renders to text instead.
    """
    env = environments.text
    compiler = _Compiler(snippet, env, problems)
    tree = compiler.parse(lambda: _bare(env, snippet.text) if bare else env.parse(snippet.text))
    if tree is None:
        return None
    only = tree.body[0] if len(tree.body) == 1 else None
    if isinstance(only, nodes.Output) and len(only.nodes) == 1:
        tree = _assigning(only.nodes[0])
    piece = compiler.compile(tree)
    is_native = bool(tree.body) and isinstance(tree.body[0], nodes.Assign)
    return replace(piece, is_native=is_native) if piece else None


def _bare(env: Environment, text: str) -> nodes.Template:
    parser = Parser(env, text, state="variable")
    expression = parser.parse_expression()
    if not parser.stream.eos:
        parser.fail(f"unexpected '{parser.stream.current.value}'", parser.stream.current.lineno)
    return _assigning(expression)


def _assigning(expression: nodes.Expr) -> nodes.Template:
    target = nodes.Name(_RESULT, "store", lineno=expression.lineno)
    assignment = nodes.Assign(target, expression, lineno=expression.lineno)
    return nodes.Template([assignment], lineno=1)


def check_names(
    piece: Piece,
    known: Collection[str],
    fields: Mapping[str, Collection[str]],
    problems: Problems,
    label: str = "Names",
) -> None:
    """Complains about names the piece reads that don't exist, and about unknown fields.

    Args:
        fields: For names whose fields are known: which they have.
    """
    lines = piece.snippet.text.split("\n")
    for name in sorted(piece.names - set(known)):
        pattern = rf"(?<![\w.\"']){re.escape(name)}\b(?!\s*=[^=])"
        line = next((n for n, text in enumerate(lines, 1) if re.search(pattern, text)), 1)
        problems.error(
            "T121",
            f'unknown name "{name}".{did_you_mean(name, sorted(known), label)}',
            piece.snippet.position(line, pattern),
        )
    for name, attribute, line in piece.uses.fields:
        if name in piece.names and name in fields and attribute not in fields[name]:
            guess = did_you_mean(attribute, sorted(fields[name]), "Fields")
            problems.error(
                "T122",
                f'{name} has no field "{attribute}".{guess}',
                piece.snippet.position(line, rf"\b{name}\.{attribute}\b"),
            )
