"""Amounts, numbers, dates and plurals as people of each language write them."""

from typing import Any

import pytest

from router.templating import RenderError
from tests.unit.templating.builders import NOW, render_text

MONEY = [
    ("en", 10000, "USD", "$100.00"),
    ("en", -5, "USD", "-$0.05"),
    ("en", 500, "JPY", "¥500"),
    ("en", 12345, "KWD", "KWD 12.345"),
    ("ru", 123456789, "RUB", "1 234 567,89 ₽"),
    ("de", 10050, "EUR", "100,50 €"),
    ("en", 10050, "RSD", "RSD 100.50"),
    ("en", 10000, "RSD", "RSD 100"),
    ("en", 12345, "CLF", "CLF 1.2345"),
]


def _spaces(text: str) -> str:
    return text.replace("\xa0", " ").replace("\u202f", " ")


@pytest.mark.parametrize(("locale", "minor", "currency", "shown"), MONEY)
def test_money_has_the_currencys_own_digits(
    locale: str, minor: int, currency: str, shown: str
) -> None:
    data = {"amount": {"minor": minor, "currency": currency}}

    assert _spaces(render_text("{{ data.amount|money }}", data, locale=locale)) == shown


def test_money_can_leave_out_a_zero_fraction() -> None:
    data = {"a": {"minor": 10000, "currency": "USD"}, "b": {"minor": 10001, "currency": "USD"}}

    assert render_text("{{ data.a|money(trim=true) }} {{ data.b|money(trim=true) }}", data) == (
        "$100 $100.01"
    )


@pytest.mark.parametrize(
    "amount",
    [100, "100", None, [1], {"minor": 1}, {"minor": 1.5, "currency": "USD"},
     {"minor": True, "currency": "USD"}, {"minor": 1, "currency": "usd"},
     {"minor": 1, "currency": "ZZZ"}, {"minor": 1, "currency": 5}],
)  # fmt: skip
def test_what_is_not_money_is_an_error(amount: Any) -> None:
    with pytest.raises(RenderError, match="money") as failure:
        render_text("{{ data.amount|money }}", {"amount": amount})

    assert failure.value.code == "T164"


AT = "2026-05-28T21:26:40Z"
WRITTEN = [
    ("en", "{{ 1234.5|number }}", "1,234.5"),
    ("ru", "{{ 1234567.891|number }}", "1 234 567,891"),
    ("en", "{{ 2|number(2) }}", "2.00"),
    ("en", "{{ data.at|date }}", "May 28, 2026"),
    ("ru", "{{ data.at|date('long') }}", "29 мая 2026 г."),
    ("ru", "{{ data.at|date('d MMMM') }}", "29 мая"),
    ("en", "{{ '2026-05-28'|date }}", "May 28, 2026"),
    ("ru", "{{ data.at|time }}", "00:26"),
    ("en", "{{ now|time }}", "8:26 PM"),
    ("ru", "{{ data.at|datetime('short') }}", "29.05.2026, 00:26"),
    ("en", "{{ (now - 7200)|timeago }}", "2 hours ago"),
    ("ru", "{{ (now + 86400 * 3)|timeago }}", "через 3 дня"),
    ("en", "{{ data.n|plural(one='file', other='files') }}", "files"),
    ("ru", "{{ 21|plural(one='файл', few='файла', many='файлов') }}", "файл"),
    ("ru", "{{ 1.5|plural(one='файл', few='файла', many='файлов', other='файла') }}", "файла"),
    ("en", "{{ 'one two three four'|truncate_words(2) }}", "one two…"),
    ("en", "{{ 'one two'|truncate_words(2) }}", "one two"),
]


@pytest.mark.parametrize(("locale", "template", "shown"), WRITTEN)
def test_values_read_as_the_locale_writes_them(locale: str, template: str, shown: str) -> None:
    zone = "Europe/Moscow" if locale == "ru" else None
    text = render_text(template, {"at": AT, "n": 2}, locale=locale, timezone=zone)

    assert _spaces(text) == shown


def test_now_is_the_time_of_the_view() -> None:
    assert render_text("{{ now }}") == str(NOW)


@pytest.mark.parametrize(
    "template",
    ["{{ 'tomorrow'|date }}", "{{ 1767225600000000|date }}", "{{ true|date }}", "{{ data|time }}",
     "{{ 'x'|number }}", "{{ none|timeago }}", "{{ '1'|plural(one='a', other='b') }}",
     "{{ 5|plural(one='a') }}", "{{ 5|plural(two_or_so='a') }}", "{{ 1|truncate_words(2) }}",
     "{{ none|upper }}", "{{ [none]|join(',') }}", "{{ now|date('QQQQQQQQ') }}"],
)  # fmt: skip
def test_a_filter_refuses_what_it_cannot_use(template: str) -> None:
    with pytest.raises(RenderError) as failure:
        render_text(template)

    assert failure.value.code in {"T163", "T164"}


def test_an_unknown_time_zone_is_utc() -> None:
    assert render_text("{{ now|time }}", timezone="Mars/Base") == "8:26\u202fPM"


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{{ true }} {{ 1.5 }} {{ 7 }} {{ 'x' }}", "true 1.5 7 x"),
        ("{{ data.a or '…' }}", "…"),
        ("{{ data.b|default('d') }}", "d"),
        ("{{ 'y' if data.b is defined else 'n' }}", "n"),
        ("{{ ['b', 'a']|sort|join('-') }}", "a-b"),
        ("{{ {'k': [1]}|tojson }}", '{"k":[1]}'),
        ("{{ [{'a': 1}, {'a': 2}]|sum(attribute='a') }}", "3"),
        ("{{ [{'a': 1}, {'a': 2}]|map(attribute='a')|join('+') }}", "1+2"),
    ],
)
def test_plain_values_and_jinja_filters(template: str, shown: str) -> None:
    assert render_text(template, {"a": None}) == shown


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ data.a }}", "null"),
        ("{{ data }}", "mapping"),
        ("{{ [1] }}", "list"),
        ("{{ [1]|map('string') }}", "list"),
        ("{{ 'a' ~ data.a }}", "null"),
    ],
)
def test_what_only_looks_like_text_is_not_shown(template: str, text: str) -> None:
    with pytest.raises(RenderError, match=text) as failure:
        render_text(template, {"a": None})

    assert failure.value.code == "T163"


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{{ link('https://x.io/a', 'b c', 1, q='ü&', n=none, t=true) }}",
         "https://x.io/a/b%20c/1?q=%C3%BC%26&t=true"),
        ("{{ link('https://x.io?a=1#top', b=2) }}", "https://x.io?a=1&b=2#top"),
        ("{{ link('mailto:a@x.io', subject='Hi you') }}", "mailto:a@x.io?subject=Hi%20you"),
        ("{{ link('https://x.io/', '../a') }}", "https://x.io/..%2Fa"),
    ],
)  # fmt: skip
def test_link_encodes_its_parts(template: str, shown: str) -> None:
    assert render_text(template) == shown


@pytest.mark.parametrize(
    "template",
    ["{{ link('javascript:alert(1)') }}", "{{ link('//x.io') }}", "{{ link('x.io') }}",
     "{{ link('https://x.io', '..') }}", "{{ link('https://x.io', '') }}", "{{ link(1) }}",
     "{{ link('https://x.io\\n', 'a') }}", "{{ link('https://x.io', data) }}", "{{ link() }}"],
)  # fmt: skip
def test_link_refuses_what_is_no_safe_address(template: str) -> None:
    with pytest.raises(RenderError) as failure:
        render_text(template)

    assert failure.value.code in {"T164", "T168"}
