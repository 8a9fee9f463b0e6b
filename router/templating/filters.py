"""Filters for amounts, numbers, dates and plurals, on CLDR data in the locale found."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import copy
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal

from babel import Locale
from babel.dates import format_date, format_datetime, format_time, format_timedelta
from babel.numbers import NumberPattern, format_decimal, get_currency_precision
from jinja2 import pass_context
from jinja2.runtime import Context

from router.templating.bounded import check_text, check_width, kind
from router.templating.codes import RenderError
from router.templating.locales import PLURAL_FORMS
from router.templating.rendering import Rendering, state_of

_NO_MINOR = frozenset(
    [
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "UYI",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    ]
)
_THREE_DIGITS = frozenset(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"])
_FOUR_DIGITS = frozenset(["CLF", "UYW"])
_CURRENCY = re.compile(r"[A-Z]{3}")
_NAMED_FORMATS = frozenset({"short", "medium", "long", "full"})
_TOUCHING = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
"""Where CLDR's currencySpacing puts a space between letters and digits, and Babel does not."""
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def minor_digits(currency: str) -> int:
    """How many decimal digits the currency's minor unit is (ISO 4217, not CLDR's display)."""
    if currency in _NO_MINOR:
        return 0
    if currency in _THREE_DIGITS:
        return 3
    return 4 if currency in _FOUR_DIGITS else 2


@lru_cache(maxsize=1)
def _currencies() -> frozenset[str]:
    return frozenset(Locale("en").currencies)


def is_currency(code: object) -> bool:
    """Whether it is a currency code that CLDR knows."""
    return isinstance(code, str) and bool(_CURRENCY.fullmatch(code)) and code in _currencies()


def money_mistake(value: Any) -> str | None:
    """What keeps a value from being money, without telling the value; None if it is money."""
    if not isinstance(value, Mapping):
        return f"money is {{minor, currency}}, not {kind(value)}"
    minor, currency = value.get("minor"), value.get("currency")
    if not isinstance(minor, int) or isinstance(minor, bool):
        return f'money needs a whole number of minor units in "minor", not {kind(minor)}'
    if not is_currency(currency):
        return 'money needs an ISO 4217 code such as RUB in "currency"'
    return None


@pass_context
def money(context: Context, value: Any, trim: bool = False) -> str:
    """``{minor: 10000, currency: RUB}`` as ``100,00 ₽``; ``trim`` leaves out a zero fraction.

    Raises:
        RenderError: not money; a bare number has no currency.
    """
    if mistake := money_mistake(value):
        raise RenderError("T164", mistake)
    return _money(value["minor"], value["currency"], bool(trim), state_of(context).locale)


@lru_cache(maxsize=1024)
def _money(minor: int, currency: str, trim: bool, locale: Locale) -> str:
    """A mail says an amount in its subject, its text and a table; it is formatted once."""
    digits = minor_digits(currency)
    amount = Decimal(minor).scaleb(-digits)
    shown = get_currency_precision(currency)
    if shown < digits and amount != round(amount, shown):
        shown = digits
    if trim and amount == amount.to_integral_value():
        shown = 0
    pattern = _pattern(locale, shown, "currency")
    text = pattern.apply(amount, locale, currency=currency, currency_digits=False)
    return _TOUCHING.sub("\xa0", text)


@lru_cache(maxsize=256)
def _pattern(locale: Locale, digits: int, style: Literal["currency", "decimal"]) -> NumberPattern:
    """The locale's pattern with that many decimals, no more and no fewer."""
    formats = locale.currency_formats if style == "currency" else locale.decimal_formats
    pattern = copy(formats["standard" if style == "currency" else None])
    pattern.frac_prec = (digits, digits)
    return pattern


@pass_context
def number(context: Context, value: Any, digits: int | None = None) -> str:
    """A number with the locale's separators; ``digits`` fixes the decimals.

    Raises:
        RenderError: not a number.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise RenderError("T164", f"|number can't take {kind(value)}")
    locale = state_of(context).locale
    if digits is None:
        return format_decimal(value, locale=locale)
    check_width(digits, "number", 20)
    return _pattern(locale, digits, "decimal").apply(value, locale)


def moment(value: Any, name: str = "date") -> datetime:
    """A point in time from an ISO 8601 text (UTC if it names no zone) or epoch seconds.

    Raises:
        RenderError: neither.
    """
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value, UTC)
        except (ValueError, OverflowError, OSError):
            raise RenderError(
                "T164", f"|{name} got a number that is no time in seconds; is it milliseconds?"
            ) from None
    if not isinstance(value, str):
        raise RenderError("T164", f"|{name} can't take {kind(value)}")
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise RenderError(
            "T164", f"|{name} got a text that is not ISO 8601, as in 2026-11-24T10:00:00Z"
        ) from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _day(value: Any, rendering: Rendering) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str) and _ISO_DATE.fullmatch(value):
        return moment(value).date()
    return moment(value).astimezone(rendering.timezone).date()


def _checked_format(text: Any, name: str) -> str:
    if isinstance(text, str) and (text in _NAMED_FORMATS or 0 < len(text) <= 64):
        return text
    raise RenderError(
        "T164", f"|{name} takes short, medium, long, full or a CLDR pattern such as d MMMM"
    )


def _formatted(name: str, format_: str, write: Callable[[], str]) -> str:
    try:
        return write()
    except (AttributeError, KeyError, ValueError, OverflowError, TypeError):
        raise RenderError("T164", f'|{name} can\'t be written as "{format_}"') from None


_date = lru_cache(maxsize=1024)(format_date)
_datetime = lru_cache(maxsize=1024)(format_datetime)
_time = lru_cache(maxsize=1024)(format_time)
"""The mails of one hour say the same days and times."""


@pass_context
def date_(context: Context, value: Any, format: str = "medium") -> str:
    """A day in the recipient's time zone: short, medium, long, full or a CLDR pattern."""
    rendering = state_of(context)
    day, style = _day(value, rendering), _checked_format(format, "date")
    return _formatted("date", style, lambda: _date(day, style, rendering.locale))


@pass_context
def datetime_(context: Context, value: Any, format: str = "medium") -> str:
    """A day and time in the recipient's time zone."""
    rendering = state_of(context)
    at, style = moment(value, "datetime"), _checked_format(format, "datetime")
    return _formatted(
        "datetime",
        style,
        lambda: _datetime(at, style, rendering.timezone, rendering.locale),
    )


@pass_context
def time_(context: Context, value: Any, format: str = "short") -> str:
    """A time of day in the recipient's time zone."""
    rendering = state_of(context)
    at, style = moment(value, "time"), _checked_format(format, "time")
    local = at.astimezone(rendering.timezone)
    return _formatted(
        "time", style, lambda: _time(local, style, rendering.timezone, rendering.locale)
    )


@pass_context
def timeago(context: Context, value: Any) -> str:
    """How long before or after ``now``, in one unit: ``3 hours ago``."""
    rendering = state_of(context)
    try:
        delta: timedelta = moment(value, "timeago") - datetime.fromtimestamp(rendering.now, UTC)
    except OverflowError:
        raise RenderError("T164", "|timeago got a time out of range") from None
    return format_timedelta(delta, add_direction=True, locale=rendering.locale)


@pass_context
def plural(context: Context, value: Any, **forms: str) -> str:
    """The form for a count: ``count|plural(one="file", other="files")``.

    Raises:
        RenderError: not a number, an unknown form, or none for this count.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise RenderError("T164", f"|plural counts numbers, not {kind(value)}")
    unknown = [form for form in forms if form not in PLURAL_FORMS]
    if unknown:
        raise RenderError("T164", f"|plural takes the forms {', '.join(PLURAL_FORMS)}")
    category = plural_category(state_of(context).locale, value)
    if category not in forms and "other" not in forms:
        raise RenderError("T164", f'|plural has no form "{category}" and no "other"')
    return forms.get(category, forms.get("other", ""))


def plural_category(locale: Locale, count: float) -> str:
    """The CLDR plural category of a count."""
    return locale.plural_form(abs(int(count)) if count == int(count) else abs(count))


def truncate_words(value: Any, length: int, end: str = "…") -> str:
    """The first words of a text, and ``end`` if any are left out."""
    if not isinstance(value, str):
        raise RenderError("T164", f"|truncate_words can't take {kind(value)}")
    check_width(length, "truncate_words", 10_000)
    words = value.split(maxsplit=length)
    if len(words) <= length:
        return value
    check_text(len(value) + len(end), "a text")
    return " ".join(words[:length]).rstrip(".,;:!?…") + end


FILTERS: Mapping[str, Callable[..., Any]] = {
    "money": money,
    "number": number,
    "date": date_,
    "datetime": datetime_,
    "time": time_,
    "timeago": timeago,
    "plural": plural,
    "truncate_words": truncate_words,
}
