"""Layouts: what each channel's message is made of."""

import sys

import pytest

from router.messages import (
    Button,
    ChatMessage,
    EmailMessage,
    Priority,
    PushMessage,
    Request,
    dump_message,
    load_message,
)
from router.recipients import Recipient
from router.templating import RenderError
from tests.unit.templating.builders import load, problems_of, view


def email(html: str, data: object = None, **more: str) -> EmailMessage:
    template = load(email_html=html, **more)
    message = template.render("email", view(data))
    assert isinstance(message, EmailMessage)
    return message


def chat(text: str, data: object = None) -> ChatMessage:
    message = load(chat_html=text).render("chat", view(data))
    assert isinstance(message, ChatMessage)
    return message


def push(text: str, data: object = None) -> PushMessage:
    message = load(push_txt=text).render("push", view(data))
    assert isinstance(message, PushMessage)
    return message


HTML = """---
subject: Hello {{ data.name }}
preheader: {{ data.name }} & co
reply_to: help@x.io
---
<html><head><style>p { color: red } @media print { p { color: black } }</style></head>
<body class="b"><p>{{ data.name }}</p></body></html>
"""


def test_a_mail_has_inlined_css_a_hidden_preheader_and_a_text_part() -> None:
    mail = email(HTML, {"name": "<Ann>"})

    assert mail.subject == "Hello <Ann>"
    assert mail.reply_to == "help@x.io"
    assert mail.locale == "en"
    assert mail.html is not None
    assert '<p style="color: red;">&lt;Ann&gt;</p>' in mail.html
    assert "@media print" in mail.html
    assert mail.html.index('class="b"') < mail.html.index("display:none") < mail.html.index("<p")
    assert "&lt;Ann&gt; &amp; co</div>" in mail.html
    assert mail.text == "<Ann>\n"


def test_a_mail_without_style_sheet_is_left_as_written() -> None:
    assert email("---\nsubject: S\n---\n<p>{{ 1 }}</p>\n").html == "<p>1</p>"


def test_a_written_text_part_is_used() -> None:
    mail = email("---\nsubject: S\n---\n<p>html</p>", email_txt="text & {{ 1 }}\n")

    assert (mail.html, mail.text) == ("<p>html</p>", "text & 1\n")


def test_a_mail_may_be_text_alone() -> None:
    message = load(email_txt="---\nsubject: S\n---\na <b>\n").render("email", view())

    assert message == EmailMessage("S", None, "a <b>\n", locale="en")


def test_the_unsubscribe_url_is_readable_and_goes_into_the_message() -> None:
    template = load(
        email_html="---\nsubject: S\n---\n"
        '{% if unsubscribe_url %}<a href="{{ unsubscribe_url }}">x</a>{% endif %}'
    )

    with_url = template.render("email", view(), unsubscribe_url="https://x.io/u?a=1&b=2")
    without = template.render("email", view())

    assert isinstance(with_url, EmailMessage)
    assert with_url.unsubscribe_url == "https://x.io/u?a=1&b=2"
    assert with_url.html == '<a href="https://x.io/u?a=1&amp;b=2">x</a>'
    assert isinstance(without, EmailMessage)
    assert (without.unsubscribe_url, without.html) == (None, "")


@pytest.mark.parametrize("evil", ["a\r\nBcc: x@y.z", "a\n\nbody", "a\u2028b", "a\x00b", "a\x0bb"])
def test_a_subject_is_always_one_line(evil: str) -> None:
    subject = email("---\nsubject: {{ data.s }}\n---\nx", {"s": evil}).subject

    assert len(subject.splitlines()) == 1
    assert "\x00" not in subject


@pytest.mark.parametrize("evil", ["a@b.c\r\nBcc: x@y.z", "a@b.c, d@e.f", "<a@b.c", "nobody"])
def test_reply_to_is_one_address(evil: str) -> None:
    with pytest.raises(RenderError) as failure:
        email("---\nsubject: s\nreply_to: {{ data.r }}\n---\nx", {"r": evil})

    assert failure.value.code == "T167"
    assert evil not in str(failure.value)


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", " JavaScript:alert(1)", "java\tscr\nipt:alert(1)", "data:text/html,x",
     "vbscript:x", "\x01javascript:x"],
)  # fmt: skip
@pytest.mark.parametrize("html", ['<a href="{{ data.u }}">x</a>', "<img src='{{ data.u }}'>"])
def test_a_mail_links_to_nothing_a_browser_could_run(html: str, address: str) -> None:
    with pytest.raises(RenderError) as failure:
        email(f"---\nsubject: s\n---\n{html}", {"u": address})

    assert failure.value.code == "T168"


TEXT_PARTS = [
    ("<h1>A &amp; B</h1><p>one\n two</p>", "A & B\n\none two"),
    ('<p>See <a href="https://x.io/?a=1&amp;b=2">this  page</a>.</p>',
     "See this page (https://x.io/?a=1&b=2)."),
    ('<a href="https://x.io">https://x.io</a>', "https://x.io"),
    ('<a href="mailto:a@x.io">a@x.io</a>', "a@x.io"),
    ('<a href="#top">up</a>', "up"),
    ('<a href="https://x.io"><img src="a.png" alt="Logo"></a>', "Logo (https://x.io)"),
    ("<ul><li>a</li><li>b<ol><li>c</li><li>d</li></ol></li></ul>e",
     "- a\n- b\n  1. c\n  2. d\n\ne"),
    ("a<br>b<br/><br>c", "a\nb\n\nc"),
    ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
    ("<div>a</div><div>b</div><hr><div>c</div>", "a\nb\n---\nc"),
    ('<div style="display: none">no<div>no</div></div>yes', "yes"),
    ("<style>p{}</style><script>x<y</script><title>t</title><!-- <p> -->a", "a"),
    ("<!--[if mso]><p>no</p><![endif]-->a", "a"),
    ("<pre>a\n  b</pre>c", "a\n  b\n\nc"),
    ('<p title="a > b">x</p>', "x"),
    ("<p>a</p>\n\n\n<p> </p>\n<p>b</p>", "a\n\nb"),
    ("soft&shy;hyphen&nbsp;x", "softhyphen\xa0x"),
]  # fmt: skip


@pytest.mark.parametrize(("html", "text"), TEXT_PARTS)
def test_the_text_part_reads_as_the_html(html: str, text: str) -> None:
    assert email(f"---\nsubject: s\n---\n{html}").text == text + "\n"


MJML = """---
subject: S
---
<mjml><mj-body><mj-section><mj-column>
<mj-text>Hi {{ data.name }}</mj-text>
</mj-column></mj-section></mj-body></mjml>
"""


def test_mjml_is_compiled_and_escapes_values() -> None:
    pytest.importorskip("mjml")
    mail = load(email_mjml=MJML).render("email", view({"name": "<Ann>"}))

    assert isinstance(mail, EmailMessage)
    assert mail.html is not None
    assert "Hi &lt;Ann&gt;" in mail.html
    assert "mj-text" not in mail.html
    assert mail.text == "Hi <Ann>\n"


def test_broken_mjml_is_an_error() -> None:
    pytest.importorskip("mjml")
    found = problems_of(email_mjml="---\nsubject: S\n---\n<mjml><mj-what></mjml>")

    assert [p.code for p in found] == ["T141"]


def test_chat_has_rows_of_buttons_and_flags() -> None:
    text = """---
buttons:
  {{ data.label | upper }} -> {{ link("https://x.io", a=1) }} | Two -> https://y.io
  Three -> tg://resolve?domain=x
  Never -> {{ data.none or "" }}
silent: {{ data.quiet }}
link_preview: false
---
<b>Hi</b> {{ data.label }}
"""
    message = chat(text, {"label": "a -> <b> | c", "quiet": True, "none": None})

    assert message == ChatMessage(
        html="<b>Hi</b> a -&gt; &lt;b&gt; | c",
        buttons=(
            (Button("A -> <B> | C", "https://x.io?a=1"), Button("Two", "https://y.io")),
            (Button("Three", "tg://resolve?domain=x"),),
        ),
        silent=True,
        link_preview=False,
    )


@pytest.mark.parametrize("line", ["Text", "-> https://x.io", "Text ->", "A -> https://x | B"])
def test_a_button_needs_text_and_url(line: str) -> None:
    found = problems_of(chat_html=f"---\nbuttons: {line}\n---\nx\n")

    assert [(p.code, p.at.line if p.at else 0) for p in found] == [("T114", 2)]


@pytest.mark.parametrize("url", ["javascript:x", "x.io", "https://a b", "file:///etc"])
def test_buttons_and_links_of_chats_are_addresses_a_chat_opens(url: str) -> None:
    for text in ("---\nbuttons: A -> {{ data.u }}\n---\nx", '<a href="{{ data.u }}">x</a>'):
        with pytest.raises(RenderError) as failure:
            chat(text, {"u": url})
        assert failure.value.code == "T168"


@pytest.mark.parametrize("html", ["<div>x</div>", "a<br>b", "<B>x</B>", "<strong>x</strong>"])
def test_unknown_markup_of_chats_is_an_error_at_load(html: str) -> None:
    found = problems_of(chat_html=f"ok\n{html}\n")

    assert {(p.code, p.at.line if p.at else 0) for p in found} == {("T140", 2)}


@pytest.mark.parametrize(
    "html",
    ["<b>x", "<b><i>x</b></i>", "x</b>", '<b class="x">y</b>', "<a>x</a>",
     '<a href="https://x.io" onclick="y">x</a>', "1 < 2", ""],
)  # fmt: skip
def test_chat_markup_is_well_formed(html: str) -> None:
    with pytest.raises(RenderError) as failure:
        chat(html)

    assert failure.value.code in {"T140", "T167"}


def test_a_push_has_title_body_image_and_link() -> None:
    text = (
        "---\ntitle: A\n  b\nimage: https://x.io/i.png\nlink: myapp://b/{{ data.id }}\n---\n"
        "<x> {{ data.id }}\n"
    )

    assert push(text, {"id": "<1>"}) == PushMessage(
        "A b", "<x> <1>", "https://x.io/i.png", "myapp://b/<1>"
    )


FULL_PUSH = """---
title: Order {{ data.id }}
image: {{ data.image or "" }}
link: myapp://orders/{{ data.id }}
badge: {{ data.unread }}
sound: ping.caf
collapse: order-{{ data.id }}
ttl: 1h30m
priority: normal
data.order_id: {{ data.id }}
data.none: {{ data.none or "" }}
actions:
  Pay -> myapp://pay/{{ data.id }} | Later -> {{ data.none or "" }}
  Help -> https://x.io/help
---
It is {{ data.id }}
"""


def test_a_push_says_everything_in_its_front_matter() -> None:
    assert push(FULL_PUSH, {"id": 7, "unread": 0, "image": None, "none": None}) == PushMessage(
        "Order 7",
        "It is 7",
        link="myapp://orders/7",
        badge=0,
        sound="ping.caf",
        collapse="order-7",
        ttl=5400,
        priority=Priority.NORMAL,
        data={"order_id": "7"},
        actions=(Button("Pay", "myapp://pay/7"), Button("Help", "https://x.io/help")),
    )


def test_a_silent_push_shows_nothing() -> None:
    text = "---\nsilent: {{ data.quiet }}\ntitle: T\ndata.sync: all\n---\nbody\n"
    assert push(text, {"quiet": True}) == PushMessage("", "", data={"sync": "all"}, silent=True)
    assert push(text, {"quiet": False}) == PushMessage("T", "body", data={"sync": "all"})
    assert push("---\nsilent: true\ndata.sync: all\n---\n") == PushMessage(
        "", "", data={"sync": "all"}, silent=True
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [("badge", "-1"), ("badge", "many"), ("ttl", "60"), ("priority", "urgent"), ("silent", "yes")],
)
def test_an_option_of_a_push_that_can_not_be_is_an_error(field: str, value: str) -> None:
    fixed = problems_of(push_txt=f"---\ntitle: T\n{field}: {value}\n---\nb\n")
    assert [(p.code, p.at.line if p.at else 0) for p in fixed] == [("T112", 3)]
    with pytest.raises(RenderError) as failure:
        push(f"---\ntitle: T\n{field}: {{{{ data.v }}}}\n---\nb\n", {"v": value})
    assert failure.value.code == "T167"


def test_a_push_that_is_always_shown_needs_a_title() -> None:
    found = problems_of(push_txt="---\nbadge: 1\n---\nb\n")
    assert [p.code for p in found] == ["T113"]


def test_data_is_for_pushes_alone() -> None:
    found = problems_of(email_html="---\nsubject: S\ndata.x: 1\n---\nb\n")
    assert [p.code for p in found] == ["T112"]


@pytest.mark.parametrize("link", ["javascript:x", "data:x", "https://x.io/a b", "https://x\n.io"])
def test_a_push_opens_no_dangerous_address(link: str) -> None:
    with pytest.raises(RenderError) as failure:
        push("---\ntitle: T\nlink: {{ data.l }}\n---\nb", {"l": link})

    assert failure.value.code == "T168"


def test_a_webhook_writes_values_as_json() -> None:
    text = (
        '{"a": {{ data.a }}, "b": "x {{ data.b }}", "c": [{% for x in data.c %}{{ x|tojson }}'
        '{% if not loop.last %}, {% endif %}{% endfor %}], "d": {{ data.missing or none }} }'
    )
    template = load(webhook_json=text)
    data = {"a": {"k": 'q"'}, "b": 'q"\\\n', "c": [1, "z"], "missing": None}

    message = template.render("request", view(data))

    assert message == Request(
        body=rb'{"a": {"k":"q\""}, "b": "x q\"\\\n", "c": [1, "z"], "d": null }',
        content_type="application/json",
    )


@pytest.mark.parametrize("text", ['{"a": }', '{"a": 1} x', '{"a": 01}', "", '{"a": nan}'])
def test_a_webhook_that_is_not_json_is_an_error(text: str) -> None:
    with pytest.raises(RenderError) as failure:
        load(webhook_json=text).render("webhook", view())

    assert failure.value.code == "T167"


def test_lone_surrogates_and_endless_numbers_are_no_json() -> None:
    template = load(webhook_json="{{ data.x }}")
    for value in (float("nan"), float("inf"), "\ud800"):
        with pytest.raises(RenderError):
            template.render("webhook", view({"x": value}))


LIMITS = """
channels:
  chat: {max_length: 5}
  push: {max_title: 3, max_length: 5}
  email: {max_subject: 3}
"""


def test_a_message_longer_than_its_channel_allows_is_an_error() -> None:
    template = load(
        template_yaml=LIMITS,
        chat_html="<b>{{ data.x }}</b>",
        push_txt="---\ntitle: {{ data.x }}\n---\nb",
        email_html="---\nsubject: {{ data.x }}\n---\nb",
    )

    assert template.render("chat", view({"x": "<1&5>"}))
    for layout, text in (("chat", "123456"), ("push", "1234"), ("email", "1234")):
        with pytest.raises(RenderError) as failure:
            template.render(layout, view({"x": text}))
        assert failure.value.code == "T166"


CUT = """
channels:
  chat: {max_length: 8, overflow: truncate}
  push: {max_title: 6, max_length: 8, overflow: truncate}
  email: {max_subject: 6, overflow: truncate}
"""


def test_a_message_that_is_too_long_may_be_cut() -> None:
    template = load(
        template_yaml=CUT,
        chat_html="<b>{{ data.x }}</b>",
        push_txt="---\ntitle: {{ data.x }}\n---\n{{ data.x }}",
        email_html="---\nsubject: {{ data.x }}\n---\n{{ data.x }}",
    )
    said = view({"x": "one two three"})

    assert template.render("chat", said) == ChatMessage("<b>one two…</b>")
    assert template.render("push", said) == PushMessage("one…", "one two…")
    mail = template.render("email", said)
    assert isinstance(mail, EmailMessage)
    assert (mail.subject, mail.html) == ("one…", "one two three")


SPLIT = "channels: {chat: {max_length: 32, overflow: split}}\n"


def test_a_chat_message_that_is_too_long_may_be_sent_in_parts() -> None:
    template = load(
        template_yaml=SPLIT, chat_html="---\nbuttons: Go -> https://x.io\n---\n<b>{{ data.x }}</b>"
    )
    message = template.render("chat", view({"x": "One sentence here. " * 3}))

    buttons = ((Button("Go", "https://x.io"),),)
    last = ChatMessage("<b>One sentence here.</b>", buttons, silent=True, part=3)
    middle = ChatMessage("<b>One sentence here.</b>", silent=True, part=2)
    assert message == ChatMessage("<b>One sentence here.</b>", part=1, rest=(middle, last))
    assert load_message(dump_message(message)) == message
    assert isinstance(message, ChatMessage)
    second = message.next()
    assert second is not None
    assert (second.part, second.rest) == (2, (last,))
    third = second.next()
    assert third == last
    assert third.next() is None


def test_a_chat_message_of_too_many_parts_is_an_error() -> None:
    template = load(template_yaml=SPLIT, chat_html="{{ data.x }}")
    for length in (320, 321, 10_000):
        said = view({"x": "x" * length})
        if length == 320:
            assert len(template.render("chat", said).rest) == 9  # type: ignore[union-attr]
        else:
            with pytest.raises(RenderError, match="10 parts at most"):
                template.render("chat", said)


def test_messengers_count_an_emoji_twice() -> None:
    template = load(template_yaml=LIMITS, chat_html="{{ data.x }}")
    assert template.render("chat", view({"x": "\U0001f600\U0001f600x"}))
    with pytest.raises(RenderError):
        template.render("chat", view({"x": "\U0001f600\U0001f600xx"}))


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ("{push: {max_length: 50, overflow: split}}", "Choices: error, truncate"),
        ("{chat: {max_length: 50, overflow: spilt}}", 'Did you mean "split"?'),
        ("{chat: {overflow: split}}", "Write max_length"),
        ("{chat: {max_length: 5, overflow: split}}", "32 characters or more"),
        ("{webhook: {max_length: 5, overflow: truncate}}", 'unknown key "overflow"'),
    ],
)
def test_limits_with_mistakes(channels: str, message: str) -> None:
    found = problems_of(template_yaml=f"channels: {channels}\n", chat_html="x")
    assert len(found) == 1
    assert message in found[0].message


def test_a_locale_may_have_its_own_layout() -> None:
    template = load(
        template_yaml="locales: {required: [en, kk], default: en}",
        email_html="---\nsubject: {{ locale }}\n---\ngeneral",
        email_kk_html="own",
    )

    kk = template.render("email", view(recipient=Recipient(id="u", locale="kk-KZ")))
    en = template.render("email", view(), locale="en")

    assert (kk.subject, kk.html) == ("kk", "own")  # type: ignore[union-attr]
    assert (en.subject, en.html) == ("en", "general")  # type: ignore[union-attr]


def test_a_layout_that_is_not_there_is_an_error_that_names_the_others() -> None:
    with pytest.raises(RenderError, match="only push") as failure:
        load(push_txt="---\ntitle: T\n---\nb").render("email", view())

    assert failure.value.code == "T169"


def test_mjml_without_its_extra_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mjml", None)

    (problem,) = problems_of(email_mjml=MJML)

    assert problem.code == "T141"
    assert "router[mjml]" in problem.message
