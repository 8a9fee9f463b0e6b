"""Microseconds of CPU per rendered message.

Run: ``python benchmarks/render.py``. The mail has a list of items, five filters and a style sheet,
which is inlined when the template is loaded; with a rule that only each mail can settle (the first
cell of a row), it is inlined in each.
"""

from __future__ import annotations

import time

from router.events import Event, Record
from router.nodes import Entry, Node
from router.problems import Position, Problems, Source
from router.recipients import Recipient
from router.templating import Template, TemplateFile, View, compile_value, load_template

NOW = 1_780_000_000.0
STYLE = "<style>body { font: 14px sans-serif } td { padding: 4px } .total { color: #333 }</style>"
EMAIL = """---
subject: {{ t.subject }} {{ data.order }}
preheader: {{ t.hello }}
---
<html><head><title>Order</title>STYLE</head><body>
<h1>{{ t.hello }}</h1>
<p>Thank you for order <b>{{ data.order }}</b> of {{ data.placed|date }}.</p>
<table>
{% for line in data.lines %}
<tr><td>{{ loop.index }}</td><td>{{ line.name|title }}</td><td>{{ line.quantity }}</td>
<td>{{ line.price }}</td></tr>
{% endfor %}
</table>
{% if data.lines|length > 3 %}<p class="total">{{ data.lines|length }} lines</p>{% endif %}
<p><a href="{{ link("https://shop.example/orders", data.order) }}">Open the order</a></p>
<p>Write to support@shop.example if anything is wrong.</p>
</body></html>
"""
EACH = STYLE.replace("</style>", "td:first-child { color: #666 }</style>")
CHAT = """---
buttons: Open -> {{ link("https://shop.example/orders", data.order) }}
---
<b>{{ t.hello }}</b>
Order {{ data.order }}: {{ data.lines|length }} lines.
"""
WEBHOOK = '{"order": {{ data.order }}, "customer": {{ data.name }}}'
TEXTS = "subject: Your order\nhello: Hello, {{ data.name }}\n"


def _file(path: str, text: str, node: Node | None = None) -> TemplateFile:
    return TemplateFile(Source.of(path, text), text, node)


def _template(style: str) -> Template:
    source = Source.of("template.yaml", "")
    at = Position(source, 1, 1)
    settings = Node({"description": Entry(at, Node("Benchmark", at))}, at)
    problems = Problems()
    files = {
        "template.yaml": _file("template.yaml", "", settings),
        "texts/en.txt": _file("texts/en.txt", TEXTS),
        "email.html": _file("email.html", EMAIL.replace("STYLE", style)),
        "chat.html": _file("chat.html", CHAT),
        "webhook.json": _file("webhook.json", WEBHOOK),
    }
    template = load_template("benchmark", files, problems)
    problems.raise_if_errors()
    assert template is not None
    return template


def _view() -> View:
    lines = [{"name": f"item {i}", "quantity": i, "price": i * 1.5} for i in range(8)]
    data = {"order": "A-17", "name": "Ann", "placed": "2026-05-01", "lines": lines}
    record = Record("orders", 0, 1, NOW, b"A-17", b"{}")
    event = Event("1", "order.placed", "orders", None, NOW, data, {}, "1", record)
    return View(event, Recipient("u-1", locale="en", timezone="Europe/Moscow"), now=NOW)


def measure(label: str, work, seconds: float = 1.0) -> None:
    """Prints the best of five runs."""
    rounds, best = 1, 0.0
    while best < seconds / 20:
        rounds *= 2
        started = time.process_time()
        for _ in range(rounds):
            work()
        best = time.process_time() - started
    for _ in range(5):
        started = time.process_time()
        for _ in range(rounds):
            work()
        best = min(best, time.process_time() - started)
    print(f"{label:<34}{best / rounds * 1e6:>9.1f} us")


def main() -> None:
    view, styled, each = _view(), _template(STYLE), _template(EACH)
    at = Position(Source.of("routes.yaml", ""), 1, 1)
    value = compile_value({"id": "{{ data.order }}", "to": "Dear {{ data.name }}"}, at, Problems())
    measure("email, CSS inlined", lambda: styled.render("email", view))
    measure("email, CSS inlined in each mail", lambda: each.render("email", view))
    measure("chat, one button", lambda: styled.render("chat", view))
    measure("webhook, small JSON", lambda: styled.render("webhook", view))
    measure("value of a route, two expressions", lambda: value.evaluate(view))


if __name__ == "__main__":
    main()
