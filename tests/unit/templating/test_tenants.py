"""What a tenant has of its own in a template, and the brand that templates read."""

from __future__ import annotations

import pytest

from router.messages import ChatMessage, EmailMessage
from router.problems import Problem, Problems
from router.templating import RenderError, Template, TemplateFile, load_frame, load_template
from tests.unit.templating.builders import file_of, files, view

TWO = "locales: {required: [en, ru], default: en}\n"
CHAT = "<b>{{ t.greeting }}</b> {{ t.end }}"
EN = "greeting: Hello\nend: Bye\n"
RU = "greeting: Привет\nend: Пока\n"


def folder(own: dict[str, str], **texts: str) -> dict[str, TemplateFile]:
    base = {"template_yaml": TWO, "texts__en_txt": EN, "texts__ru_txt": RU, "chat_html": CHAT}
    loaded = files(**(base | texts))
    return loaded | {f"@acme/{path}": file_of(f"@acme/{path}", text) for path, text in own.items()}


def load(own: dict[str, str], **texts: str) -> Template:
    problems = Problems()
    template = load_template("x", folder(own, **texts), problems)
    assert template is not None, "\n".join(p.render() for p in problems.found)
    assert problems.found == []
    return template


def problems_of(own: dict[str, str], **texts: str) -> list[Problem]:
    problems = Problems()
    load_template("x", folder(own, **texts), problems)
    return problems.found


def shown(template: Template, tenant: str, locale: str = "en", **fields: object) -> str:
    message = template.of_tenant(tenant).render("chat", view(**fields), locale=locale)
    assert isinstance(message, ChatMessage)
    return message.html


def test_a_tenant_says_some_words_otherwise_and_shares_the_rest() -> None:
    template = load({"texts/en.txt": "greeting: Howdy\n"})

    assert shown(template, "acme") == "<b>Howdy</b> Bye"
    assert shown(template, "acme", "ru") == "<b>Привет</b> Пока"
    assert shown(template, "globex") == "<b>Hello</b> Bye"
    assert template.of_tenant("globex") is template


def test_a_tenant_lays_out_one_channel_otherwise() -> None:
    template = load(
        {"chat.html": "<i>{{ t.greeting }}</i> {{ t.slogan }}", "texts/en.txt": "slogan: Best\n",
         "texts/ru.txt": "slogan: Лучшие\n"},
        email_html="---\nsubject: {{ t.greeting }}\n---\n<p>{{ t.end }}</p>",
    )  # fmt: skip

    assert shown(template, "acme") == "<i>Hello</i> Best"
    assert shown(template, "") == "<b>Hello</b> Bye"
    assert template.of_tenant("acme").layouts["email"] is template.layouts["email"]


def test_a_tenant_s_layout_takes_the_front_matter_that_it_lacks() -> None:
    template = load(
        {"email.html": "<b>acme</b>", "email.ru.html": "---\nsubject: RU\n---\n<b>ру</b>"},
        email_html="---\nsubject: {{ t.greeting }}\n---\n<p>{{ t.end }}</p>",
    )
    acme = template.of_tenant("acme")
    mails = [acme.render("email", view(), locale=tag) for tag in ("en", "ru")]

    assert [(m.subject, m.html) for m in mails if isinstance(m, EmailMessage)] == [
        ("Hello", "<b>acme</b>"),
        ("RU", "<b>ру</b>"),
    ]


def test_a_tenant_s_own_frame_holds_its_mails() -> None:
    problems = Problems()
    texts = {"email.html": "<i>{{ content }}</i>", "@acme/email.html": "<b>{{ content }}</b>"}
    loaded = {path: file_of(f"../_frames/f/{path}", text) for path, text in texts.items()}
    frames = {"f": load_frame("f", loaded, problems)}
    layout = "---\nsubject: S\nframe: f\n---\n{{ data }}"
    template = load_template("x", files(email_html=layout), problems, frames=frames)
    assert template is not None
    mails = [template.of_tenant(name).render("email", view("hi")) for name in ("acme", "other")]

    assert [m.html for m in mails if isinstance(m, EmailMessage)] == ["<b>hi</b>", "<i>hi</i>"]
    assert problems.found == []


def test_templates_read_the_brand() -> None:
    template = load({"chat.html": "{{ brand.name }}: {{ brand.seats + 1 }}, {{ t.greeting }}"})
    brand = {"name": "<Acme>", "seats": 4}

    assert shown(template, "acme", brand=brand) == "&lt;Acme&gt;: 5, Hello"
    assert [(name, str(at)) for name, at in template.of_tenant("acme").brand.items()] == [
        ("name", "templates/x/@acme/chat.html:1:4"),
        ("seats", "templates/x/@acme/chat.html:1:22"),
    ]
    assert template.brand == {}


def test_a_brand_value_that_is_not_there_ends_the_message() -> None:
    template = load({"chat.html": "{{ brand.colour }}{{ t.greeting }}"})

    with pytest.raises(RenderError) as failure:
        shown(template, "acme", brand={"color": "red"})

    assert str(failure.value.position) == "templates/x/@acme/chat.html:1:10"
    assert 'Did you mean "color"?' in failure.value.text


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (
            {"template.yaml": "description: x\n"},
            ("T103", "@acme/template.yaml:1:1", "template.yaml is nothing that a tenant has its "
             "own of."),
        ),
        (
            {"samples/one.yaml": "variables: {}\n"},
            ("T103", "@acme/samples/one.yaml:1:1", "samples/one.yaml is nothing that a tenant"),
        ),
        (
            {"push.txt": "---\ntitle: T\n---\nx"},
            ("T107", "@acme/push.txt:4:1", "there is no push layout for a tenant to have its own "
             "of, only chat"),
        ),
        (
            {"texts/en.txt": "greting: Howdy\n"},
            ("T132", "@acme/texts/en.txt:1:1",
             'nothing uses the text "greting". Did you mean "greeting"?'),
        ),
        (
            {"chat.html": "<b>\n{{ t.greting }}</b>{{ t.end }}"},
            ("T125", "@acme/chat.html:2:4", 'no text "greting" in locale en. Did you mean '
             '"greeting"?'),
        ),
        (
            {"chat.html": "{{ nobody }}{{ t.greeting }}"},
            ("T121", "@acme/chat.html:1:4", 'unknown name "nobody".'),
        ),
        (
            {"texts/en.txt": "greeting.one: a\ngreeting.other: b\n"},
            ("T126", "chat.html:1:7", 'text "greeting" has plural forms; write t.greeting(count)'),
        ),
    ],
)  # fmt: skip
def test_mistakes_are_told_where_they_are(
    own: dict[str, str], expected: tuple[str, str, str]
) -> None:
    code, at, message = expected
    found = problems_of(own)

    assert (code, f"templates/x/{at}") in [(p.code, str(p.at)) for p in found]
    assert any(p.message.startswith(message) for p in found)


def test_a_text_of_a_tenant_is_there_in_each_required_language() -> None:
    found = problems_of({"chat.html": "{{ t.slogan }}", "texts/en.txt": "slogan: Best\n"})

    assert [(p.code, str(p.at)) for p in found] == [("T130", "templates/x/texts/ru.txt:1:1")]
    assert [(str(at), label) for at, label in found[0].related] == [
        ("templates/x/@acme/texts/en.txt:1:1", "locale en has it"),
        ("templates/x/@acme/chat.html:1:1", 'for tenant "acme"'),
    ]


def test_a_text_that_a_tenant_s_layout_alone_uses_is_used() -> None:
    layout = {"chat.html": "{{ t.greeting }} {{ t.end }} {{ t.extra }}"}
    extra = {"texts__en_txt": EN + "extra: more\n", "texts__ru_txt": RU + "extra: ещё\n"}

    assert problems_of(layout, **extra) == []
    assert [p.code for p in problems_of({}, **extra)] == ["T132"]
