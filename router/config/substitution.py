"""Variables and secrets: what stands in for ``${NAME}``, ``!env``, ``!file`` and ``!secret``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from router.config.scalars import Raw, read_plain
from router.nodes import Entry, Node
from router.problems import Position, Problems
from router.values import Secret

_PLACE = re.compile(r"\$\$|\$\{([^}]*)\}|\$\{")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Variables:
    """Where values from outside of the files come from.

    Attributes:
        environ: Environment variables.
        root: Where relative paths of ``!file`` start.
        read_secrets: False leaves secrets unknown, and needs none of their variables.
        offline: Variables that are not set stay as they are written, without a problem.
    """

    environ: Mapping[str, str]
    root: Path
    read_secrets: bool = True
    offline: bool = False


def resolve(node: Node, variables: Variables, problems: Problems, *, typed: bool) -> Node:
    """The same tree with every variable and secret in place.

    Args:
        typed: An unquoted scalar is typed again by what stands in for its variables. False where
            a field's own type decides how the text reads.
    """
    match node.value:
        case Raw() as raw:
            return Node(_scalar(raw, node.at, variables, problems, typed), node.at, node.is_new)
        case tuple() as items:
            resolved = tuple(resolve(item, variables, problems, typed=typed) for item in items)
            same = all(a is b for a, b in zip(items, resolved, strict=True))
            return node if same else Node(resolved, node.at, node.is_new)
        case Mapping() as entries:
            changed: dict[str, Entry] = {}
            for key, entry in entries.items():
                value = resolve(entry.node, variables, problems, typed=typed)
                if value is not entry.node:
                    changed[key] = Entry(entry.key_at, value)
            return Node({**entries, **changed}, node.at, node.is_new) if changed else node
        case _:
            return node


def _scalar(
    raw: Raw, at: Position, variables: Variables, problems: Problems, typed: bool
) -> str | int | float | bool | Secret | None:
    if raw.tag == "!include":
        return raw
    if raw.tag:
        if raw.tag == "!env" and not _NAME.fullmatch(raw):
            name = raw.strip("${}").partition(":-")[0]
            hint = f"; write !env {name}" if _NAME.fullmatch(name) else ""
            problems.error("E002", f'"{raw}" is no variable\'s name{hint}', at)
            return Secret(None)
        if not variables.read_secrets:
            return Secret(None)
        return Secret(_secret(raw, at, variables, problems))
    text = _substitute(raw, at, variables, problems)
    if text is None:
        return raw
    return read_plain(text) if typed and raw.is_plain else text


def _secret(raw: Raw, at: Position, variables: Variables, problems: Problems) -> str | None:
    text = str(raw)
    match raw.tag:
        case "!env":
            if text in variables.environ:
                return variables.environ[text]
            _not_set(text, "set it,", at, variables, problems)
            return None
        case "!file":
            name = _substitute(raw, at, variables, problems)
            return None if name is None else _read_secret(name, at, variables, problems)
        case _:
            return _substitute(raw, at, variables, problems)


def _read_secret(name: str, at: Position, variables: Variables, problems: Problems) -> str | None:
    try:
        text = (variables.root / name).read_text("utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        if not variables.offline:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            problems.error("E003", f"can't read the secret's file \"{name}\": {why}", at)
        return None
    return text.removesuffix("\n").removesuffix("\r")


def _substitute(raw: Raw, at: Position, variables: Variables, problems: Problems) -> str | None:
    """The text with its variables in place; None if one is not known."""
    parts: list[str] = []
    end, is_known = 0, True
    text = str(raw)
    for place in _PLACE.finditer(text):
        parts.append(text[end : place.start()])
        end = place.end()
        if place[0] == "$$":
            parts.append("$")
            continue
        variable = _VARIABLE.fullmatch(place[1]) if place[1] is not None else None
        if variable is None:
            shown = place[0] if place[1] is not None else "${"
            problems.error(
                "E002", f'"{shown}" is not a variable; write ${{NAME}}, or $${{ for the text', at
            )
            is_known = False
        elif variable[1] in variables.environ or variable[2] is not None:
            parts.append(variables.environ.get(variable[1], variable[2]))
        else:
            way_out = "set it," if raw.tag else f"set it, write ${{{variable[1]}:-default}},"
            _not_set(variable[1], way_out, at, variables, problems)
            is_known = False
    parts.append(text[end:])
    return "".join(parts) if is_known else None


def _not_set(
    name: str, way_out: str, at: Position, variables: Variables, problems: Problems
) -> None:
    if not variables.offline:
        message = f"environment variable {name} is not set; {way_out} or check with --offline"
        problems.error("E001", message, at)
