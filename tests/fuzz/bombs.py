"""Inputs that are too large to store, or known by name: what each target must survive.

Names are of attacks, so that a failing one says what was not survived.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.fuzz.parts import join

_ABOUT = b"locales: {required: [en], default: en}\n"
_ROUTER = b"""\
include: [routes.yaml]
sources: {main: {type: stdin}}
ledger: {type: memory}
sinks: {mail: {type: console, channel: email}}
"""


@dataclass(frozen=True, slots=True)
class Bomb:
    """One input.

    Attributes:
        target: Which target reads it.
        megabytes: That may be held while it is read.
        is_long: Only in the long form; its memory is that of the process.
        seconds: Of processor time.
    """

    target: str
    make: Callable[[], bytes]
    megabytes: int = 64
    is_long: bool = False
    seconds: float = 5.0


def _record(value: bytes, headers: bytes = b"") -> Callable[[], bytes]:
    return lambda: join({"headers": headers, "value": value})


def _body(text: str) -> Callable[[], bytes]:
    layout = f"---\ntitle: T\n---\n{text}\n"
    return lambda: join({"template.yaml": _ABOUT, "push.txt": layout.encode()})


def _text(text: str) -> Callable[[], bytes]:
    return lambda: text.encode()


def _laughs() -> bytes:
    """Nine levels of ten aliases each."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    return "\n".join(lines).encode()


def _merges() -> bytes:
    lines = ["a0: &a0 {x: 1}"]
    for n in range(1, 60):
        aliases = ", ".join([f"*a{n - 1}"] * 10)
        lines.append(f"a{n}: &a{n} {{<<: [{aliases}], y{n}: 1}}")
    return "\n".join(lines).encode()


def _routes(count: int) -> Callable[[], bytes]:
    def make() -> bytes:
        rest = "recipient: {id: data.u}, template: note, deliver: [mail]"
        written = (
            f"  r{n}: {{match: {{type: t.{n}, data.a: {{gt: {n}}}}}, {rest}}}" for n in range(count)
        )
        routes = "\n".join(["routes:", *written])
        return join(
            {
                "config/router.yaml": _ROUTER,
                "config/routes.yaml": routes.encode(),
                "templates/note/template.yaml": _ABOUT,
                "templates/note/email.txt": b"---\nsubject: S\n---\nHello\n",
            }
        )

    return make


BOMBS: Mapping[str, Bomb] = {
    # Events
    "event of 10 MB": Bomb("record", _record(b'{"type":"t","a":"' + b"x" * 10**7 + b'"}')),
    "event of 10 MB of brackets": Bomb("record", _record(b"[" * 10**7)),
    "event of 1 MB of numbers": Bomb(
        "record", _record(b'{"type":"t","a":[' + b"1," * 500_000 + b"1]}"), 160
    ),
    "1,000 levels of lists": Bomb("record", _record(b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}")),
    "1,000 levels of mappings": Bomb("record", _record(b'{"a":' * 1000 + b"1" + b"}" * 1000)),
    "1,000 levels in base64": Bomb(
        "record",
        _record(
            b'{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"'
            + base64.b64encode(b"[" * 1000 + b"]" * 1000)
            + b'"}',
            b"content-type: application/cloudevents+json\n",
        ),
    ),
    "invalid UTF-8": Bomb("record", _record(b'{"type":"t\xff\xc3\x28"}')),
    "lone surrogates": Bomb("record", _record(b'{"type":"\\ud800","id":"\\udfff","a":"\\u0000"}')),
    "NaN": Bomb("record", _record(b'{"type":"t","time":NaN,"a":[Infinity,-Infinity]}')),
    "huge integers": Bomb("record", _record(b'{"type":"t","id":' + b"9" * 5000 + b"}")),
    "huge exponents": Bomb("record", _record(b'{"type":"t","time":1e400,"a":1e-400}')),
    "tombstone": Bomb("record", lambda: join({"headers": b"", "key": b"k"})),
    "duplicate keys": Bomb("record", _record(b'{"type":"t","type":"u","id":1,"id":2}')),
    "10,000 headers": Bomb("record", _record(b'{"type":"t"}', b"ce_type: t\n" * 10_000)),
    "batch of CloudEvents": Bomb(
        "record", _record(b"[{}]", b"content-type: application/cloudevents-batch+json\n")
    ),
    "one line of 10 MB": Bomb("lines", lambda: b'{"type":"t","a":"' + b"x" * 10**7, 160),
    # Documents
    "billion laughs": Bomb("document", _laughs),
    "merges of merges": Bomb("document", _merges),
    "alias of itself": Bomb("document", _text("a: &a [*a, {b: *a}]\n<<: *a\n")),
    "10,000 levels of lists": Bomb("document", _text("[" * 10_000)),
    "10,000 levels of mappings": Bomb("document", _text("{a: " * 10_000)),
    "5,000 levels of indentation": Bomb(
        "document", lambda: b"".join(b" " * n + b"a:\n" for n in range(5_000)), 200
    ),
    "key of 1 MB": Bomb("document", lambda: b"a" * 10**6 + b": 1\n"),
    "1 MB of unclosed braces": Bomb("document", lambda: b"a: {{ " * 170_000, 200),
    "25 kB of unclosed quotes": Bomb("document", lambda: b"a: '\n" * 5_000, 200),
    "1 MB of comments": Bomb("document", lambda: b"# {{ ${\n" * 120_000 + b"a: b: c", 200),
    "people: billion laughs": Bomb("people", _laughs, 200),
    "people: merges of merges": Bomb("people", _merges, 200),
    "people: 5,000 levels": Bomb("people", _text('{"a":' * 5_000)),
    "people: flow of 5,000 levels": Bomb("people", _text("[" * 5_000)),
    # Conditions
    "expression that backtracks": Bomb(
        "condition", _text("data.long: {regex: '^(y+)+$'}\ndata.name: {regex: '(.*)*(.*)*x'}\n")
    ),
    "pattern that explodes": Bomb(
        "condition", _text("data.long: {regex: '((y{1,90}){1,90}){1,90}'}")
    ),
    "1,000 stars": Bomb("condition", _text(f"data.long: '{'*y' * 1000}'\n")),
    "1,000 levels of conditions": Bomb("condition", _text("not: {" * 1000)),
    "99 levels of conditions": Bomb("condition", _text("not: {" * 45 + "type: t" + "}" * 45)),
    # Templates
    "range without end": Bomb("template", _body("{% for x in range(10**12) %}{{ x }}{% endfor %}")),
    "loops in loops": Bomb(
        "template",
        _body("{% for a in data.items %}" * 6 + "x" + "{% endfor %}" * 6),
    ),
    "macro that calls itself": Bomb(
        "template", _body("{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(1) }}")
    ),
    "loop that calls itself": Bomb(
        "template",
        _body("{% for x in data.xs recursive %}{{ loop([1, 2, 3]) }}{% endfor %}"),
    ),
    "text that doubles": Bomb(
        "template",
        _body(
            "{% set n = namespace(x='x') %}{% for a in range(64) %}"
            "{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}"
        ),
    ),
    "list that doubles": Bomb(
        "template",
        _body(
            "{% set n = namespace(x=[1]) %}{% for a in range(64) %}"
            "{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x|tojson }}"
        ),
    ),
    "text times a billion": Bomb("template", _body("{{ 'x' * 10**9 }}{{ 10**9 * [1] }}")),
    "power of powers": Bomb("template", _body("{{ 9 ** 9 ** 9 ** 9 }}")),
    "wide formats": Bomb(
        "template", _body("{{ '%0999999999d'|format(1) }}{{ '%*d' % (9**9, 1) }}")
    ),
    "wide centre": Bomb("template", _body("{{ 'x'|center(10**9) }}{{ 'x'|indent(10**9) }}")),
    "replacement that explodes": Bomb(
        "template", _body("{{ data.long|replace('y', data.long)|replace('y', data.long) }}")
    ),
    "join that explodes": Bomb(
        "template", _body("{{ data.items|map(attribute='a')|join(data.long) }}")
    ),
    "way to the interpreter": Bomb(
        "template",
        _body(
            "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ data['__class__'] }}"
            "{{ ''|attr('__class__') }}{{ '%s'.format.__self__ }}{{ cycler.__init__.__globals__ }}"
        ),
    ),
    "2,000 parentheses": Bomb("template", _body("{{ " + "(" * 2000 + "1" + ")" * 2000 + " }}")),
    "2,000 filters": Bomb("template", _body("{{ data.a" + "|upper" * 2000 + " }}")),
    "2,000 operands": Bomb("template", _body("{{ 1" + " + 1" * 2000 + " }}")),
    "500 loops inside one another": Bomb(
        "template", _body("{% if 1 %}" * 500 + "x" + "{% endif %}" * 500)
    ),
    "front matter that is a bomb": Bomb(
        "template",
        lambda: join({"template.yaml": _ABOUT, "push.txt": b"---\n" + _laughs() + b"\n---\nx\n"}),
    ),
    "expression: 2,000 parentheses": Bomb(
        "expression", _text('"{{ ' + "(" * 2000 + "1" + ")" * 2000 + ' }}"')
    ),
    "markup: 30,000 open tags": Bomb("markup", lambda: b"<b>" * 30_000, 200),
    "markup: 100,000 starts of tags": Bomb("markup", lambda: b"<" * 100_000, 200),
    "markup: open quotes": Bomb("markup", lambda: b'<a href="' * 10_000, 200),
    "markup: open comments": Bomb("markup", lambda: b"<!--" * 20_000, 200),
    # Projects
    "1,000 routes": Bomb("project", _routes(1_000), 200, seconds=30),
    "100,000 routes": Bomb("project", _routes(100_000), 4_000, is_long=True, seconds=600),
}
