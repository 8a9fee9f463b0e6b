"""Texts files: verbatim format, plural forms, locales and what they borrow."""

import pytest

from router.recipients import Recipient
from router.templating import RenderError, Template
from tests.unit.templating.builders import load, problems_of, view

TWO = "locales: {required: [en, ru], default: en, fallback: {kk: ru, uz: kk}}\n"
PUSH = "---\ntitle: {{ t.title }}\n---\n{{ t.comments(data.n) }}\n"
EN = "title: Hi\ncomments.one: {{ n }} comment\ncomments.other: {{ n }} comments\n"
RU = """title: Привет
comments.one: {{ n }} комментарий
comments.few: {{ n }} комментария
comments.many: {{ n }} комментариев
"""


def _template(**more: str) -> Template:
    return load(template_yaml=TWO, push_txt=PUSH, texts__en_txt=EN, texts__ru_txt=RU, **more)


def _push(template: Template, locale: str | None, n: float = 1):
    return template.render("push", view({"n": n}, recipient=Recipient(id="u", locale=locale)))


@pytest.mark.parametrize(
    ("locale", "n", "shown"),
    [
        ("en", 0, "0 comments"),
        ("en", 1, "1 comment"),
        ("en", 21, "21 comments"),
        ("en", 1.5, "1.5 comments"),
        ("ru", 0, "0 комментариев"),
        ("ru", 1, "1 комментарий"),
        ("ru", 2, "2 комментария"),
        ("ru", 5, "5 комментариев"),
        ("ru", 11, "11 комментариев"),
        ("ru", 12, "12 комментариев"),
        ("ru", 21, "21 комментарий"),
        ("ru", 104, "104 комментария"),
        ("ru", -2, "-2 комментария"),
    ],
)
def test_plural_forms_follow_the_language(locale: str, n: float, shown: str) -> None:
    assert _push(_template(), locale, n).body == shown


@pytest.mark.parametrize(
    ("tag", "found", "is_borrowed"),
    [
        ("ru", "ru", False),
        ("ru-RU", "ru", False),
        ("RU_ru", "ru", False),
        ("kk", "ru", True),
        ("kk-KZ", "ru", True),
        ("uz", "ru", True),
        ("de", "en", True),
        ("nonsense!", "en", True),
        (None, "en", False),
        ("", "en", False),
    ],
)
def test_a_recipient_gets_the_nearest_locale(
    tag: str | None, found: str, is_borrowed: bool
) -> None:
    answer = _template().locale_for(tag)

    assert (answer.locale, answer.is_borrowed) == (found, is_borrowed)


def test_a_partial_locale_borrows_along_its_fallback() -> None:
    template = _template(texts__kk_txt="title: Сәлем\n")

    push = _push(template, "kk", 2)

    assert (push.title, push.body) == ("Сәлем", "2 комментария")
    assert template.borrowed("kk") == {"comments"}
    assert template.locale_for("kk").is_borrowed is False


def test_numbers_are_written_as_the_words_are() -> None:
    template = load(
        template_yaml=TWO,
        push_txt="---\ntitle: {{ locale }}\n---\n{{ 1234.5|number }}",
        texts__en_txt="a: b",
        texts__ru_txt="a: b",
    )

    assert _push(template, "de-DE").body == "1,234.5"
    assert _push(template, "kk").body == "1\xa0234,5"
    assert _push(template, "kk").title == "ru"


TEXTS = r"""
# a comment, as is the empty line below
#

hash: Order #12: "quoted" [x] @you & {more}
colon: a: b: c
empty:
many: first
  second
    indented

  after a blank line
below:
  only
  below
"""


def test_texts_are_verbatim() -> None:
    template = load(
        push_txt="---\ntitle: {{ t.hash }}\n---\n"
        "{{ t.colon }}|{{ t.empty }}|{{ t.many }}|{{ t.below }}",
        texts__en_txt=TEXTS,
    )

    push = template.render("push", view())

    assert push.title == 'Order #12: "quoted" [x] @you & {more}'
    assert push.body == "a: b: c||first\nsecond\n  indented\n\nafter a blank line|only\nbelow"


def test_windows_line_ends_are_no_part_of_a_text() -> None:
    template = load(push_txt="---\r\ntitle: {{ t.a }}\r\n---\r\nbody\r\n", texts__en_txt="a: x\r\n")

    assert template.render("push", view()).title == "x"


def test_a_text_takes_named_values_and_other_texts() -> None:
    template = load(
        push_txt="---\ntitle: T\n---\n{{ t.hello(who=data.name) }}",
        texts__en_txt="hello: Hello {{ who }} from {{ t.us }}\nus: {{ route }}\n",
    )

    body = template.render("push", view({"name": "Ann"}, route="r1")).body

    assert body == "Hello Ann from r1"


def test_a_text_of_one_language_may_be_used_in_that_language() -> None:
    template = load(
        template_yaml=TWO,
        push_txt="---\ntitle: {{ t.title }}\n---\nb",
        texts__en_txt="title: {{ data.n }} left",
        texts__ru_txt="title: {{ t.left(data.n) }}\nleft.one: {{ n }} остался\n"
        "left.few: {{ n }} осталось\nleft.many: {{ n }} осталось\n",
    )

    assert _push(template, "ru", 1).title == "1 остался"


def test_texts_that_call_each_other_end_with_an_error_in_their_file() -> None:
    template = load(
        push_txt="---\ntitle: T\n---\n{{ t.a }}", texts__en_txt="a: {{ t.b }}\nb: {{ t.a }}\n"
    )

    with pytest.raises(RenderError, match="deep") as failure:
        template.render("push", view())

    assert failure.value.position is not None
    assert failure.value.position.file.endswith("texts/en.txt")


@pytest.mark.parametrize("count", ["2", None, True, [1]])
def test_a_count_is_a_number(count: object) -> None:
    with pytest.raises(RenderError, match="count") as failure:
        _template().render("push", view({"n": count}))

    assert failure.value.code == "T126"


PROBLEMS = [
    ("title: a\ntitle: b\n", "T111", "en.txt:2:1"),
    ("title: a\nnonsense\n", "T110", "en.txt:2:1"),
    ("title: a\nkey:text\n", "T110", "en.txt:2:1"),
    ("title: a\na-b: text\n", "T110", "en.txt:2:1"),
    ("title: a\nx.lots: text\n", "T110", "en.txt:2:1"),
    ("title: a\nx: 1\nx.other: 2\n", "T111", "en.txt:3:1"),
    ("title: a\nx.one: {{ n }}\n", "T131", "en.txt:2:1"),
    ("title: {{ name }}\n", "T121", "en.txt:1:11"),
    ("title: {{ data.x \n", "T120", "en.txt:1:8"),
    ("title:\n  first\n  {{ nam }}\n", "T121", "en.txt:3:6"),
    ("titel: a\n", "T125", "push.txt:2:11"),
    ("title.one: a\ntitle.other: b\n", "T126", "push.txt:2:11"),
]


@pytest.mark.parametrize(("text", "code", "place"), PROBLEMS)
def test_mistakes_in_texts_have_their_place(text: str, code: str, place: str) -> None:
    found = problems_of(push_txt="---\ntitle: {{ t.title }}\n---\nb\n", texts__en_txt=text)

    assert [(p.code, str(p.at)) for p in found if p.code == code] == [
        (code, f"templates/x/{'texts/' if place.startswith('en') else ''}{place}")
    ]


def test_russian_needs_its_own_plural_forms() -> None:
    found = problems_of(template_yaml=TWO, push_txt=PUSH, texts__en_txt=EN, texts__ru_txt=EN)

    messages = [p.message for p in found if p.code == "T131"]
    assert messages == ['comments.few, comments.many missing: "ru" has the forms one, few, many']


def test_a_required_locale_without_a_file_is_an_error_where_it_is_named() -> None:
    found = problems_of(template_yaml=TWO, push_txt=PUSH, texts__en_txt=EN)

    assert [(p.code, str(p.at)) for p in found] == [("T130", "templates/x/template.yaml:1:26")]


def test_a_required_locale_with_a_gap_is_an_error_in_its_file() -> None:
    found = problems_of(
        template_yaml=TWO,
        push_txt=PUSH,
        texts__en_txt=EN,
        texts__ru_txt=RU.replace("title", "tile"),
    )

    assert [(p.code, str(p.severity), str(p.at)) for p in found] == [
        ("T130", "error", "templates/x/texts/ru.txt:1:1"),
        ("T132", "warning", "templates/x/texts/ru.txt:1:1"),
    ]
    assert 'Did you mean "title"?' in found[1].message
