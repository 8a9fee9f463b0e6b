"""Folders of templates: settings, variables, samples, and every mistake with its place."""

import pytest

from router.problems import Position, Problems, Severity, Source
from router.recipients import Recipient
from router.templating import (
    CODES,
    RenderError,
    TemplateFile,
    View,
    check_template,
    load_template,
)
from tests.unit.templating.builders import NOW, event, files, load, problems_of, view

SETTINGS = """
description: Tell the payer
owner: billing
locales: {required: [en, ru], default: en, fallback: {kk: ru}}
variables:
  amount: {type: money, example: {minor: 10000, currency: RUB}}
  count: {type: integer, examples: [1, 2, 5]}
  name: {type: text, pii: true, optional: true}
"""
PUSH = "---\ntitle: T\n---\n{{ amount|money }} {{ count }} {{ name or '…' }}\n"


def test_a_template_knows_what_it_says_about_itself() -> None:
    template = load(template_yaml=SETTINGS, push_txt=PUSH, chat_html="x", README_md="notes")

    assert template.description == "Tell the payer"
    assert template.owner == "billing"
    assert template.channels == {"push", "chat"}
    assert template.locales.required == ("en", "ru")
    assert template.variables["name"].is_personal
    assert template.variables["name"].is_optional
    assert template.examples() == {"amount": {"minor": 10000, "currency": "RUB"}, "count": 1}
    assert [v.variables["count"] for v in template.example_views()] == [1, 2, 5]


def test_variables_come_from_with_or_from_the_data() -> None:
    template = load(template_yaml=SETTINGS, push_txt=PUSH)
    data = {"count": 1, "amount": {"minor": 5, "currency": "USD"}}

    mapped = template.render("push", view(data, variables={"count": 7, "name": "Ann"}))
    plain = template.render("push", view(data))

    assert mapped.body == "$0.05 7 Ann"  # type: ignore[union-attr]
    assert plain.body == "$0.05 1 …"  # type: ignore[union-attr]


OK = {"minor": 1, "currency": "USD"}
WRONG = [
    ("text", 5), ("text", None), ("integer", "5"), ("integer", 5.5), ("integer", True),
    ("integer", float("nan")), ("number", "1"), ("money", 100), ("money", {"minor": 1}),
    ("date", "2026-13-01"), ("date", "24.11.2026"), ("date", 5), ("datetime", "soon"),
    ("datetime", True), ("boolean", "true"), ("list", "abc"), ("list", {}), ("mapping", [1]),
    ("url", "javascript:x"), ("url", "x.io"), ("url", 5),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), WRONG)
def test_a_variable_of_the_wrong_type_is_named_but_not_shown(kind: str, value: object) -> None:
    template = load(
        template_yaml=f"variables:\n  thing: {{type: {kind}}}\n",
        push_txt="---\ntitle: T\n---\nb{{ 1 if thing is none else 2 }}",
    )

    with pytest.raises(RenderError) as failure:
        template.render("push", view({"thing": value}))

    assert failure.value.code == ("T161" if value is None else "T162")
    assert '"thing"' in failure.value.text
    assert "24.11.2026" not in str(failure.value)
    assert str(failure.value.position) == "templates/x/template.yaml:2:3"


RIGHT = [
    ("text", "x"), ("integer", 5), ("integer", 5.0), ("number", 1.5), ("money", OK),
    ("date", "2026-11-24"), ("datetime", "2026-11-24T10:00:00+03:00"), ("datetime", NOW),
    ("boolean", False), ("list", []), ("mapping", {}), ("url", "https://x.io/a?b=1"),
    ("url", "mailto:a@x.io"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), RIGHT)
def test_a_variable_of_its_type_is_taken(kind: str, value: object) -> None:
    template = load(
        template_yaml=f"variables:\n  thing: {{type: {kind}}}\n",
        push_txt="---\ntitle: T\n---\n{{ thing is defined }}",
    )

    assert template.render("push", view({"thing": value})).body == "true"  # type: ignore[union-attr]


def test_no_personal_data_in_errors() -> None:
    template = load(push_txt="---\ntitle: T\n---\n{{ data.name + 5 }}{{ data[data.name] }}")
    other = load(push_txt="---\ntitle: T\n---\n{{ data[data.name] }}")
    for each in (template, other):
        with pytest.raises(RenderError) as failure:
            each.render("push", view({"name": "Ann Onymous"}))
        assert "Ann" not in str(failure.value)


def test_the_digest_changes_with_any_file_and_with_nothing_else() -> None:
    one = load(push_txt=PUSH, template_yaml=SETTINGS).digest

    assert load(template_yaml=SETTINGS, push_txt=PUSH).digest == one
    assert load(template_yaml=SETTINGS, push_txt=PUSH + "!").digest != one
    assert load(template_yaml=SETTINGS, push_txt=PUSH, chat_html="x").digest != one


SAMPLE = """
note: With a name
now: 2026-11-24T10:00:00Z
event:
  type: payment.failed
  time: "2026-11-24T09:00:00Z"
  data: {count: 2, amount: {minor: 100, currency: USD}}
recipient: {id: u-9, name: Ann, locale: ru, attributes: {plan: pro}}
"""


def test_a_sample_is_an_event_and_a_recipient() -> None:
    (sample,) = load(template_yaml=SETTINGS, push_txt=PUSH, samples__first_yaml=SAMPLE).samples

    assert (sample.name, sample.note) == ("first", "With a name")
    assert sample.view.event.type == "payment.failed"
    assert sample.view.now - sample.view.event.time == 3600
    assert sample.view.recipient == Recipient(
        id="u-9", name="Ann", locale="ru", attributes={"plan": "pro"}
    )


def test_a_sample_may_be_variables_alone() -> None:
    template = load(
        template_yaml=SETTINGS,
        push_txt=PUSH,
        samples__a_yaml="variables: {count: 3, amount: {minor: 1, currency: USD}}",
    )

    assert template.render("push", template.samples[0].view).body == "$0.01 3 …"  # type: ignore[union-attr]
    assert check_template(template) == []


def test_check_renders_every_sample_in_every_locale_and_says_each_mistake_once() -> None:
    template = load(
        template_yaml=SETTINGS,
        push_txt="---\ntitle: T\n---\n{{ data.nam }}{{ amount|money }}{{ count }}{{ name or '' }}",
        samples__a_yaml=SAMPLE,
        samples__b_yaml="variables: {count: x, amount: {minor: 1, currency: USD}}",
    )

    found = check_template(template)

    assert [(p.code, str(p.at), p.message.partition(":")[0]) for p in found] == [
        ("T160", "templates/x/push.txt:4:9", "sample a, push, en"),
        ("T162", "templates/x/template.yaml:6:3", "sample b, push, en"),
    ]


def test_check_uses_the_examples_where_there_is_no_sample() -> None:
    good = load(template_yaml=SETTINGS, push_txt=PUSH)
    bad = load(template_yaml=SETTINGS, push_txt=PUSH.replace("count }}", "10 // (count - 5) }}"))

    assert check_template(good) == []
    assert [(p.code, p.message.partition(":")[0]) for p in check_template(bad)] == [
        ("T164", "examples, set 3, push, en")
    ]


def test_check_warns_where_nothing_can_be_checked() -> None:
    (warning,) = check_template(load(push_txt="---\ntitle: T\n---\nb"))

    assert (warning.code, warning.severity) == ("T151", Severity.WARNING)


def yaml(**changes: str) -> str:
    lines = {
        "locales": "{required: [en], default: en}",
        "variables": "{amount: {type: money}}",
        **changes,
    }
    return "".join(f"{key}: {text}\n" for key, text in lines.items() if text)


MISTAKES = [
    ({"template_yaml": yaml(ownr="x")}, "T102", "template.yaml:3:1"),
    ({"template_yaml": "- a\n"}, "T101", "template.yaml:1:1"),
    ({"template_yaml": yaml(description="[a]")}, "T101", "template.yaml:3:14"),
    ({"template_yaml": yaml(locales="{required: en}")}, "T101", "template.yaml:1:21"),
    ({"template_yaml": yaml(locales="{required: [english]}")}, "T104", "template.yaml:1:22"),
    ({"template_yaml": yaml(locales="{fallback: {kk: xx-yy-zz}}")}, "T104", "template.yaml:1:26"),
    ({"template_yaml": yaml(variables="{a-b: {type: text}}")}, "T101", "template.yaml:2:13"),
    ({"template_yaml": yaml(variables="{data: {type: text}}")}, "T101", "template.yaml:2:13"),
    ({"template_yaml": yaml(variables="{a: {type: txt}}")}, "T105", "template.yaml:2:23"),
    ({"template_yaml": yaml(variables="{a: {example: 1}}")}, "T101", "template.yaml:2:13"),
    ({"template_yaml": yaml(variables="{a: {type: money, example: 5}}")}, "T105",
     "template.yaml:2:39"),
    ({"template_yaml": yaml(variables="{a: {type: text, pii: 1}}")}, "T101", "template.yaml:2:34"),
    ({"template_yaml": yaml(channels="{chat: {max: 5}}")}, "T102", "template.yaml:3:19"),
    ({"template_yaml": yaml(channels="{sms: {}}")}, "T102", "template.yaml:3:12"),
    ({"template_yaml": yaml(channels="{chat: {max_length: -1}}")}, "T101", "template.yaml:3:31"),
    ({"emial_html": "x"}, "T103", "emial.html:1:1"),
    ({"push_html": "x"}, "T103", "push.html:1:1"),
    ({"email_html": "---\nsubject: S\n---\n", "email_mjml": "x"}, "T103", "email.mjml:1:1"),
    ({"texts__english_txt": "a: b"}, "T104", "texts/english.txt:1:1"),
    ({"email_kk_html": "---\nsubject: S\n---\nx"}, "T106", "email.kk.html:4:1"),
    ({"email_html": "<p>x</p>"}, "T113", "email.html:1:1"),
    ({"email_html": "---\nsubject: S\nx"}, "T112", "email.html:1:1"),
    ({"email_html": "---\nsubject: S\nsubjet: x\n---\nx"}, "T112", "email.html:3:1"),
    ({"chat_html": "---\nsilent: maybe\n---\nx"}, "T112", "chat.html:2:9"),
    ({"push_txt": "---\ntitle: {{ amont }}\n---\nx"}, "T121", "push.txt:2:11"),
    ({"push_txt": "---\ntitle: {{ amount.curency }}\n---\nx"}, "T122", "push.txt:2:11"),
    ({"push_txt": "---\ntitle: {{ amount|mony }}\n---\nx"}, "T123", "push.txt:2:17"),
    ({"push_txt": "---\ntitle: x\n---\n\n{{ amount is odder }}"}, "T123", "push.txt:5:14"),
    ({"push_txt": "---\ntitle: x\n---\nab\n{% if 1 %}"}, "T120", "push.txt:5:1"),
    ({"push_txt": "---\ntitle: x\n---\n{% if 1 %}{% endif %}\nb {%- if 1 -%}\nc\n{{ t.x }}"},
     "T120", "push.txt:5:3"),
    ({"push_txt": "---\ntitle: x\n---\nab {{ 1 2 }}"}, "T120", "push.txt:4:4"),
    ({"push_txt": "---\ntitle: x\n---\nab {% iff 1 %}"}, "T120", "push.txt:4:7"),
    ({"samples__a_yaml": "evnt: {}\nevent: {}\n"}, "T102", "samples/a.yaml:1:1"),
    ({"samples__a_yaml": "note: x\n"}, "T101", "samples/a.yaml:1:1"),
    ({"samples__a_yaml": "event: {kind: x}\n"}, "T102", "samples/a.yaml:1:9"),
    ({"samples__a_yaml": "event: {}\nrecipient: {phone: x}\n"}, "T102", "samples/a.yaml:2:13"),
    ({"samples__a_yaml": "event: {}\nnow: later\n"}, "T101", "samples/a.yaml:2:6"),
]  # fmt: skip


def test_a_block_that_is_not_closed_is_told_where_it_opens() -> None:
    (found,) = problems_of(
        template_yaml=yaml(), webhook_json="1", push_txt="---\ntitle: x\n---\n{% for a in [1] %}\n"
    )

    assert str(found.at) == "templates/x/push.txt:4:1"
    assert found.message == "{% for %} is never closed; write {% endfor %}"


@pytest.mark.parametrize(("texts", "code", "place"), MISTAKES)
def test_every_mistake_has_its_code_and_place(texts: dict[str, str], code: str, place: str) -> None:
    given = {"template_yaml": yaml(), "webhook_json": "1", **texts}

    found = [p for p in problems_of(**given) if p.severity is Severity.ERROR]

    assert (code, f"templates/x/{place}") in [(p.code, str(p.at)) for p in found]
    assert all(p.code in CODES for p in found)
    assert len(found) <= 2


def test_unknown_names_say_which_exist() -> None:
    (problem,) = problems_of(template_yaml=yaml(), push_txt="---\ntitle: {{ amont }}\n---\nx")

    assert problem.message.startswith('unknown name "amont". Did you mean "amount"? Names: amount,')


def test_a_folder_without_settings_is_an_error() -> None:
    source = Source.of("templates/x/push.txt", "x")
    problems = Problems()

    template = load_template("x", {"push.txt": TemplateFile(source, "x")}, problems)

    assert template is None
    assert [(p.code, p.at) for p in problems.found] == [("T101", Position(source, 1, 1))]


def test_a_folder_without_layout_is_an_error() -> None:
    assert [p.code for p in problems_of()] == ["T106"]


def test_earlier_problems_of_others_do_not_refuse_a_template() -> None:
    problems = Problems()
    problems.error("Y101", "elsewhere")

    assert load_template("x", files(push_txt="---\ntitle: T\n---\nb"), problems) is not None


def test_what_the_context_holds() -> None:
    text = (
        "{{ event.id }} {{ event.topic }} {{ event.offset }} {{ event.key }} {{ event.headers.h }} "
        "{{ event.data.a }} {{ data.a }} {{ recipient.name }} {{ recipient.attributes.plan }} "
        "{{ item.x }} {{ route }} {{ locale }} {{ now }}"
    )
    template = load(push_txt=f"---\ntitle: T\n---\n{text}")
    shown = View(
        event=event({"a": 1}, headers={"h": "H"}),
        recipient=Recipient(id="u", name="Ann", attributes={"plan": "pro"}),
        item={"x": "I"},
        route="r",
        now=5.0,
    )

    body = template.render("push", shown).body  # type: ignore[union-attr]

    assert body == "e-1 events 7 key H 1 1 Ann pro I r en 5.0"


def test_a_view_without_recipient_has_none() -> None:
    template = load(push_txt="---\ntitle: T\n---\n{{ 'none' if recipient is none else 'some' }}")

    assert template.render("push", view(recipient=None)).body == "none"  # type: ignore[union-attr]
