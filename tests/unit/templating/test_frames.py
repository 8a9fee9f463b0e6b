"""Frames: what mails have in common stands in one file."""

import pytest

from router.messages import EmailMessage
from router.problems import Problem, Problems
from router.templating import Frame, RenderError, Template, load_frame, load_template
from tests.unit.templating.builders import file_of, files, view

FRAME = """
<html><head><title>{{ t.subject }}</title></head><body>
<div class="card">{{ content }}</div>
<p>{{ t.footer }}</p></body></html>
"""
LAYOUT = "---\nsubject: {{ t.subject }}\nframe: standard\n---\n<p>{{ data.name }}</p>\n"
TEXTS = "subject: Hello\nfooter: Bye\n"


def frame(problems: Problems, **texts: str) -> dict[str, Frame]:
    """A frame called standard, of files spelt as Python names; ``at_`` is a tenant's folder."""
    paths = {name.replace("at_acme_", "@acme/").replace("_", "."): t for name, t in texts.items()}
    loaded = {path: file_of(f"../_frames/standard/{path}", text) for path, text in paths.items()}
    return {"standard": load_frame("standard", loaded, problems)}


def problems_of(frame_text: str, layout: str = LAYOUT, texts: str = TEXTS) -> list[Problem]:
    problems = Problems()
    frames = frame(problems, email_html=frame_text)
    folder = files(email_html=layout, texts__en_txt=texts)
    load_template("x", folder, problems, frames=frames)
    return problems.found


def load(layout: str = LAYOUT, frame_text: str = FRAME, **more: str) -> Template:
    problems = Problems()
    frames = frame(problems, email_html=frame_text)
    folder = files(email_html=layout, texts__en_txt=TEXTS, **more)
    template = load_template("x", folder, problems, frames=frames)
    assert template is not None, "\n".join(p.render() for p in problems.found)
    return template


def mail(template: Template, data: object = None) -> EmailMessage:
    message = template.render("email", view({"name": "Ann"} if data is None else data))
    assert isinstance(message, EmailMessage)
    return message


def told(found: list[Problem]) -> list[tuple[str, str, str]]:
    return [(p.code, str(p.at).removeprefix("templates/x/"), p.message) for p in found]


def test_a_mail_stands_where_its_frame_says_content() -> None:
    message = mail(load())

    assert message.html == (
        "<html><head><title>Hello</title></head><body>\n"
        '<div class="card"><p>Ann</p></div>\n<p>Bye</p></body></html>'
    )
    assert message.text == "Ann\n\nBye\n"


def test_values_are_escaped_once_on_the_way_into_the_frame() -> None:
    html = mail(load(), {"name": "<b>&"}).html

    assert html is not None
    assert "<p>&lt;b&gt;&amp;</p>" in html


def test_a_frame_sees_nothing_that_the_mail_sets() -> None:
    found = problems_of(
        "<html><body>{{ content }}{{ inner }}</body></html>",
        LAYOUT + "{% set inner = 1 %}{{ inner }}\n",
    )

    assert [(code, at) for code, at, _ in told(found) if code == "T121"] == [
        ("T121", "../_frames/standard/email.html:1:29")
    ]


def test_a_variable_called_content_is_the_mail_s_own() -> None:
    template = load(LAYOUT + "{{ content }}", template_yaml=(
        "locales: {required: [en], default: en}\n"
        "variables: {content: {type: text, example: x}}\n"
    ))  # fmt: skip
    html = mail(template, {"name": "Ann", "content": "mine"}).html

    assert html is not None
    assert '<div class="card"><p>Ann</p>\nmine</div>' in html


def test_the_layout_of_one_language_stands_in_the_frame_too_unless_it_says_none() -> None:
    shared = load(email_ru_html="<i>ru</i>", texts__ru_txt=TEXTS)
    apart = load(email_ru_html="---\nframe: none\n---\n<i>ru</i>", texts__ru_txt=TEXTS)

    in_frame = shared.render("email", view(), locale="ru")
    alone = apart.render("email", view(), locale="ru")

    assert isinstance(in_frame, EmailMessage)
    assert isinstance(alone, EmailMessage)
    assert in_frame.html is not None
    assert '<div class="card"><i>ru</i></div>' in in_frame.html
    assert alone.html == "<i>ru</i>"


@pytest.mark.parametrize(
    ("frame_text", "layout", "texts", "expected"),
    [
        (
            FRAME,
            LAYOUT.replace("standard", "standart"),
            TEXTS,
            ("T115", "email.html:3:8",
             'there is no frame "standart". Did you mean "standard"? Frames: none, standard'),
        ),
        (
            "<body>\n</body>",
            LAYOUT,
            TEXTS,
            ("T116", "../_frames/standard/email.html:1:1",
             "a frame says {{ content }} once; this one does 0 times"),
        ),
        (
            "<body>\n{{ content }}\n <p>{{ content }}</p></body>",
            LAYOUT,
            TEXTS,
            ("T116", "../_frames/standard/email.html:3:5",
             "a frame says {{ content }} once; this one does 2 times"),
        ),
        (
            '<body>\n<p title="{{ content }}"></p></body>',
            LAYOUT,
            TEXTS,
            ("T116", "../_frames/standard/email.html:2:11",
             "the content of a mail stands between tags, not in one"),
        ),
        (
            "<body>\n{% if 1 %}{{ content }}{% endif %}</body>",
            LAYOUT,
            TEXTS,
            ("T116", "../_frames/standard/email.html:2:11",
             "write {{ content }} by itself: outside of conditions, loops and filters"),
        ),
        (
            "---\nsubject: S\n---\n<body>{{ content }}</body>",
            LAYOUT,
            TEXTS,
            ("T112", "../_frames/standard/email.html:2:1",
             "a frame has no front matter: it stands in the layouts"),
        ),
        (
            "<body>{{ content }}\n{% if %}</body>",
            LAYOUT,
            TEXTS,
            ("T120", "../_frames/standard/email.html:2:1", "Expected an expression, got 'end of "
             "statement block'"),
        ),
        (
            FRAME,
            LAYOUT + "<body>",
            TEXTS,
            ("T117", "email.html:6:1",
             'frame "standard" has <body> already: leave it out, or write frame: none'),
        ),
        (
            FRAME,
            LAYOUT,
            "subject: Hello\n",
            ("T125", "../_frames/standard/email.html:3:7",
             'no text "footer" in locale en. Texts: subject'),
        ),
    ],
)  # fmt: skip
def test_mistakes_are_told_once_in_the_file_that_has_them(
    frame_text: str, layout: str, texts: str, expected: tuple[str, str, str]
) -> None:
    assert told(problems_of(frame_text, layout, texts)) == [expected]


def test_what_a_frame_misses_in_a_template_names_the_template() -> None:
    (problem,) = problems_of(FRAME, texts="subject: Hello\n")

    assert [(str(at), label) for at, label in problem.related] == [
        ("templates/x/email.html:3:1", 'of template "x"')
    ]


def test_a_value_that_fails_in_the_frame_is_placed_in_the_frame() -> None:
    template = load(frame_text=FRAME.replace("{{ t.footer }}", "{{ t.footer }}{{ data.gone }}"))

    with pytest.raises(RenderError) as failure:
        mail(template)

    assert str(failure.value.position) == "templates/x/../_frames/standard/email.html:3:26"


def test_a_frame_of_mjml_holds_mails_of_mjml() -> None:
    problems = Problems()
    frames = frame(
        problems,
        email_mjml="<mjml><mj-body>{{ content }}<mj-section><mj-column>"
        "<mj-text>{{ t.footer }}</mj-text></mj-column></mj-section></mj-body></mjml>",
    )
    layout = "---\nsubject: {{ t.subject }}\nframe: standard\n---\n<mj-section><mj-column>"
    layout += "<mj-text>{{ data.name }}</mj-text></mj-column></mj-section>"
    template = load_template(
        "x", files(email_mjml=layout, texts__en_txt=TEXTS), problems, frames=frames
    )

    assert problems.found == []
    assert template is not None
    assert mail(template).text == "Ann\nBye\n"


def test_mistakes_in_mjml_are_placed_in_the_file_that_has_them() -> None:
    problems = Problems()
    frames = frame(
        problems, email_mjml="<mjml>\n<mj-body>\n{{ content }}{{ nobody }}</mj-body></mjml>"
    )
    layout = "---\nsubject: S\nframe: standard\n---\n<mj-section>\n<mj-column>{{ noone }}"
    layout += "</mj-column></mj-section>"
    load_template("x", files(email_mjml=layout), problems, frames=frames)

    assert [(code, at) for code, at, _ in told(problems.found)] == [
        ("T121", "email.mjml:6:15"),
        ("T121", "../_frames/standard/email.mjml:3:17"),
    ]


def test_a_mail_and_its_frame_are_of_one_kind() -> None:
    problems = Problems()
    frames = frame(problems, email_mjml="<mjml><mj-body>{{ content }}</mj-body></mjml>")
    folder = files(email_html=LAYOUT, texts__en_txt=TEXTS)

    assert load_template("x", folder, problems, frames=frames) is None
    assert [(code, at) for code, at, _ in told(problems.found)] == [
        ("T115", "email.html:3:8"),
    ]


def test_the_digest_tells_a_changed_frame() -> None:
    other = FRAME.replace("card", "page")

    assert load().digest == load().digest
    assert load().digest != load(frame_text=other).digest
    assert load("---\nsubject: {{ t.subject }} {{ t.footer }}\n---\nx").digest == load(
        "---\nsubject: {{ t.subject }} {{ t.footer }}\n---\nx", frame_text=other
    ).digest  # fmt: skip
