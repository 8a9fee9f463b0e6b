"""What hostile content can do in the inbox page: nothing."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from router.sandbox import sandbox
from tests.browser.arrivals import chat, counted_connections, event, mail, push, request
from tests.browser.pages import opened

pytestmark = pytest.mark.anyio

HOSTILE = """
<!DOCTYPE html><html><head>
<base href="{evil}/"><meta http-equiv="refresh" content="0;url={evil}/refresh">
<link rel="preconnect" href="{evil}"><link rel="prefetch" href="{evil}/prefetch">
<link rel="stylesheet" href="{evil}/style.css">
<style>@import "{evil}/import.css"; body {{ background: url({evil}/background) }}
@font-face {{ font-family: x; src: url({evil}/font) }} body {{ font-family: x }}</style>
<script src="{evil}/script.js"></script>
<script>parent.document.title = "taken"; top.location = "{evil}/top"; fetch("{evil}/fetch");
document.documentElement.id = "ran"</script>
</head><body onload="document.documentElement.id = 'ran'">
<p>The text of the mail</p>
<img src="{evil}/image" onerror="document.documentElement.id = 'ran'">
<iframe src="{evil}/frame"></iframe><IFRAME srcdoc="<iframe src='{evil}/inner'></iframe>"></IFRAME>
<object data="{evil}/object"></object><embed src="{evil}/embed">
<video autoplay src="{evil}/video" poster="{evil}/poster"></video>
<svg><image href="{evil}/svg"></image><script>document.documentElement.id = "ran"</script></svg>
<form action="{evil}/form"><input autofocus onfocus="this.form.submit()"></form>
<a href="javascript:document.documentElement.id = 'ran'">press</a>
</body></html>
"""


async def test_a_mail_runs_no_script_and_reaches_nothing(browser: Browser) -> None:
    async with counted_connections() as (evil, came), sandbox() as box:
        box.record.add(mail("Hostile", HOSTILE.format(evil=evil)))
        url = box.addresses["control"] + "/"
        async with opened(browser, url, may_complain=True) as page:
            frame = page.frame_locator(".email .html iframe")
            await expect(frame.get_by_text("The text of the mail")).to_be_visible()
            await page.wait_for_load_state("networkidle")
            assert await frame.locator("html").get_attribute("id") is None
            assert (await page.title(), page.url) == ("Inbox", url)
            await frame.get_by_text("press").click()
            assert await frame.locator("html").get_attribute("id") is None

            # The same when it has a tab of its own.
            await page.goto(url + "mail/1")
            await expect(page.get_by_text("The text of the mail")).to_be_visible()
            await page.wait_for_load_state("networkidle")
            assert await page.locator("html").get_attribute("id") is None
            assert page.url == url + "mail/1"
        assert came == []


async def test_links_in_a_mail_open_elsewhere(browser: Browser) -> None:
    async with sandbox() as box:
        link = box.addresses["control"] + "/record"
        box.record.add(mail("Hello", f"<p><a href='{link}'>look</a></p>"))
        async with opened(browser, box.addresses["control"] + "/") as page:
            async with page.expect_popup() as popup:
                await page.frame_locator(".email .html iframe").get_by_text("look").click()
            assert (await popup.value).url == link
            await expect(page.locator("article.email")).to_be_visible()


async def test_markup_in_any_text_is_only_text(browser: Browser) -> None:
    markup = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    async with sandbox() as box:
        async with opened(browser, box.addresses["control"] + "/") as page:
            for arrived in (
                push(markup, to=markup, link="javascript:document.title='taken'", topic=markup),
                mail(markup, None, to=markup),
                chat(markup, markup.replace("<", "&lt;"), to=markup),
                event(markup, to=markup, **{markup: markup}),
                request({markup: markup}, to=markup, title=markup),
            ):
                box.record.add(arrived)
            box.record.refuse("smtp", markup, markup)
            await expect(page.locator("article")).to_have_count(5)
            await expect(page.locator("#cards img, #cards script")).to_have_count(0)
            await expect(page.locator(".notification h3")).to_have_text(markup)
            await expect(page.locator(".notification a")).to_have_count(0)
            await page.locator("#tabs .refused").click()
            await expect(page.locator(".refused strong")).to_have_text(markup)
            assert await page.title() == "Inbox"
