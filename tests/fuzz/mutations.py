"""Inputs made of those of a corpus: bytes flipped, pieces moved, structure blown up."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

MAX_SIZE: Final = 64 * 1024
"""What is made is no longer than this; larger inputs have names, see ``bombs``."""

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_QUOTED = re.compile(rb'"[^"\n]*"|\'[^\'\n]*\'')
_NUMBERS = (
    b"0", b"-1", b"1e999", b"-0.0", b"NaN", b"Infinity", b"0x10", b"1_000", b".5", b"9" * 400,
    b"18446744073709551616", b"-9223372036854775809", b"1e-400", b"99999999999999999999s", b"0/0",
)  # fmt: skip
_TEXTS = (
    "", " ", "\x00", "\x1b[31m", "\r\n", "\u2028", "\u202e", "\ufeff", "\ufffd", "\U0001f600" * 9,
    "é", "e\u0301" * 30, "ﷺ" * 40, "İıſK", "١٢٣", "../../etc/passwd", "%s%n%(a)d",
    "{{ x }}", "${HOME}",
    "<b>", "]]>", "a" * 5000,
    "__class__", "constructor", "(a+)+$", "(?P<a>.*)*", "&a [*a]", "!!python/object:os.system",
)  # fmt: skip
_BROKEN = (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x00", b"\x80" * 9)
_BRACKETS = ((b"[", b"]"), (b"{a: ", b"}"), (b'{"a":', b"}"), (b"(", b")"), (b"{{", b"}}"))
_LINES = (
    b"<<: *a", b"a: &a [*a, *a]", b"---", b"...", b"%YAML 9.9", b"\t", b"- - - -",
    b"? ", b"? [a]: b",
    b"x: !include x.yaml", b"x: !env HOME", b"x: !file /etc/passwd", b"x: !!binary aGk=",
    b"x: |9", b"x: >-",
    b"{% for a in range(99999) %}{% endfor %}", b"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    b"{{ 'a' * 999999999 }}", b"{{ data.__class__ }}", b"{{ 9 ** 9 ** 9 }}", b"{%", b"{#", b"{{",
    b'{"a": 1, "a": 2}', b"[" * 300, b"null", b"a: " * 200,
)  # fmt: skip


def mutated(random: Random, seeds: Sequence[bytes]) -> bytes:
    """An input near one of the seeds."""
    content = random.choice(seeds)
    for _ in range(random.choice((1, 1, 2, 3, 6))):
        content = random.choice(_MUTATIONS)(random, content, seeds)[:MAX_SIZE]
    return content


def _span(random: Random, content: bytes) -> tuple[int, int]:
    start = random.randrange(len(content) + 1)
    return start, min(len(content), start + random.choice((0, 1, 2, 8, 40, 400)))


def _flip(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    start, _ = _span(random, content)
    return content[:start] + bytes([random.randrange(256)]) + content[start + 1 :]


def _cut(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _span(random, content)
    return content[:start] + content[end:]


def _truncate(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _repeat(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _span(random, content)
    return content[:start] + content[start:end] * random.choice((2, 3, 50)) + content[end:]


def _splice(random: Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    start, end = _span(random, content)
    other = random.choice(seeds)
    other_start, other_end = _span(random, other)
    return content[:start] + other[other_start:other_end] + content[end:]


def _swap_lines(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    lines = content.split(b"\n")
    one, two = random.randrange(len(lines)), random.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]
    return b"\n".join(lines)


def _repeat_line(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    """Duplicate keys, list items, headers."""
    lines = content.split(b"\n")
    lines.insert(random.randrange(len(lines)), random.choice(lines))
    return b"\n".join(lines)


def _indent(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    lines = content.split(b"\n")
    at = random.randrange(len(lines))
    lines[at] = random.choice((b" ", b"  ", b"\t", b"- ")) + lines[at]
    return b"\n".join(lines)


def _insert_line(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    lines = content.split(b"\n")
    at = random.randrange(len(lines))
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip(b" "))]
    lines.insert(at, indent + random.choice(_LINES))
    return b"\n".join(lines)


def _nest(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _span(random, content)
    opening, closing = random.choice(_BRACKETS)
    depth = random.choice((1, 5, 90, 101, 1200))
    return content[:start] + opening * depth + content[start:end] + closing * depth + content[end:]


def _number(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    return _replaced(random, content, _NUMBER, random.choice(_NUMBERS))


def _text(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    text = random.choice(_TEXTS).encode()
    return _replaced(random, content, _QUOTED, b'"' + text + b'"')


def _odd(random: Random, content: bytes, _: Sequence[bytes]) -> bytes:
    start, _ = _span(random, content)
    odd = random.choice([*(t.encode() for t in _TEXTS), *_BROKEN])
    return content[:start] + odd + content[start:]


def _replaced(
    random: Random, content: bytes, pattern: re.Pattern[bytes], replacement: bytes
) -> bytes:
    found = list(pattern.finditer(content))
    if not found:
        return content
    one = random.choice(found)
    return content[: one.start()] + replacement + content[one.end() :]


_Mutation = Callable[[Random, bytes, Sequence[bytes]], bytes]
_MUTATIONS: Final[Sequence[_Mutation]] = (
    _flip, _cut, _truncate, _repeat, _splice, _splice, _swap_lines, _repeat_line, _indent,
    _insert_line, _insert_line, _nest, _number, _text, _odd,
)  # fmt: skip
