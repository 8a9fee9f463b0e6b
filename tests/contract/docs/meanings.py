"""What conditions and template expressions in tables mean, by the product's own code."""

from __future__ import annotations

from functools import cache

import yaml

from router.config.documents import read_document
from router.events import DecodeConfig, Event, Record, decode
from router.problems import Problems, Source
from router.recipients import Recipient
from router.routing import evaluate, parse_condition
from router.templating import Template, TemplateFile, View, compile_expression, load_template
from tests.contract.docs.shell import plain

EXAMPLE = {
    "amount": {"minor": 1234500, "currency": "RUB"},
    "price": {"minor": 10000, "currency": "EUR"},
    "ratio": 1234.5,
    "paid_at": "2026-11-24T07:30:00Z",
    "until": "2026-12-01",
    "count": 3,
    "text": "One two three four five",
}
"""The data that expression tables read."""

NOW = 1_795_516_200.0
"""2026-11-24T10:30:00Z, three hours after ``paid_at``."""


def matches(condition: str, event: str) -> bool:
    """Whether a condition holds for an event; both are YAML, in braces or not."""
    problems = Problems()
    text = f"{{{condition}}}" if not condition.startswith("{") else condition
    source = Source.of("table", text)
    node = read_document(source, text, problems).node
    parsed = parse_condition(node, problems, compile_expression=compile_expression)
    assert parsed is not None, "\n".join(p.render() for p in problems.found)
    return evaluate(parsed, _event(yaml.safe_load(f"{{{event}}}")))


def _event(data: object) -> Event:
    import orjson

    payload = orjson.dumps({"type": "example", "data": data})
    record = Record("events", 0, 0, NOW, None, payload)
    config = DecodeConfig.model_validate({"data": "data"})
    found = decode(record, config)
    assert isinstance(found, Event), found
    return found


def rendered(expression: str, locale: str) -> str:
    """A template expression over the example data, in the Moscow time zone."""
    template = _template(expression)
    recipient = Recipient(id="u-1", name="Emma", locale=locale, timezone="Europe/Moscow")
    event = _event(EXAMPLE)
    view = View(event=event, recipient=recipient, now=NOW)
    message = template.render("email", view, locale=locale)
    text: str = message.text  # pyright: ignore[reportAttributeAccessIssue]
    return plain(text.strip())


@cache
def _template(expression: str) -> Template:
    settings = {
        "locales": {"required": ["en", "ru"], "default": "en"},
        "variables": {
            "amount": {"type": "money"},
            "price": {"type": "money"},
            "ratio": {"type": "number"},
            "paid_at": {"type": "datetime"},
            "until": {"type": "date"},
            "count": {"type": "integer"},
            "text": {"type": "text"},
        },
    }
    texts = {
        "en": "files.one: {{ n }} file\nfiles.other: {{ n }} files\n",
        "ru": "files.one: {{ n }} файл\nfiles.few: {{ n }} файла\nfiles.many: {{ n }} файлов\n",
    }
    files = {
        "template.yaml": yaml.safe_dump(settings),
        "email.txt": f"---\nsubject: x\n---\n{expression}\n",
        **{f"texts/{locale}.txt": text for locale, text in texts.items()},
    }
    problems = Problems()
    loaded = {name: _file(name, text, problems) for name, text in files.items()}
    template = load_template("table", loaded, problems)
    assert template is not None, "\n".join(p.render() for p in problems.found)
    return template


def _file(name: str, text: str, problems: Problems) -> TemplateFile:
    source = Source.of(name, text)
    is_yaml = name.endswith(".yaml")
    node = read_document(source, text, problems, literal=True).node if is_yaml else None
    return TemplateFile(source, text, node)
