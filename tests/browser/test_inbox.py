"""The inbox page in a real browser."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from router.sandbox import Sandbox, sandbox
from tests.browser.arrivals import (
    chat,
    event,
    introduce,
    mail,
    one_of_each,
    push,
    request,
)
from tests.browser.pages import opened
from tests.contract.sandbox.builders import send_message

pytestmark = pytest.mark.anyio


def inbox(box: Sandbox, query: str = "") -> str:
    return f"{box.addresses['control']}/{query}"


async def test_every_kind_of_message_shows_as_it_arrives(browser: Browser) -> None:
    async with sandbox() as box, opened(browser, inbox(box)) as page:
        await expect(page.get_by_text("Nothing has arrived yet")).to_be_visible()
        await page.evaluate("window.isSamePage = true")
        for arrived in one_of_each():
            box.record.add(arrived)
        await expect(page.locator("article")).to_have_count(5)

        notification = page.locator(".push .notification")
        await expect(notification.get_by_role("heading")).to_have_text("Your order is packed")
        await expect(notification.locator(".platform")).to_have_text("iOS")
        await expect(page.frame_locator(".email .html iframe").locator("h1")).to_have_text(
            "Thank you"
        )
        await expect(page.locator(".chat .bubble b")).to_have_text("Paid")
        await expect(page.get_by_role("link", name="Open", exact=True)).to_have_attribute(
            "href", "https://shop.example/"
        )
        await expect(page.locator(".analytics .event")).to_have_text("Order Paid")
        await expect(page.locator(".analytics .values")).to_have_text("amount 12currency EUR")
        await expect(page.locator(".request pre")).to_have_text('{\n  "id": "INV-1"\n}')
        await expect(page.locator("article.request")).to_contain_text("signature valid")
        assert await page.evaluate("window.isSamePage")


async def test_what_a_look_alike_accepts_is_shown(browser: Browser) -> None:
    async with sandbox() as box, opened(browser, inbox(box)) as page:
        await send_message(box, 7, "<b>Hello</b> there", parse_mode="HTML")
        await expect(page.locator(".chat .bubble b")).to_have_text("Hello")


async def test_a_mail_is_shown_as_text_and_source_too(browser: Browser) -> None:
    async with sandbox() as box:
        box.record.add(mail("Receipt", "<p>Rich</p>"))
        async with opened(browser, inbox(box)) as page:
            await page.locator(".parts label", has_text="Text").click()
            await expect(page.locator(".part.text")).to_have_text("Plain")
            await expect(page.locator(".part.html")).to_be_hidden()
            await page.keyboard.press("ArrowRight")
            source = page.frame_locator(".part.source iframe")
            await expect(source.locator("body")).to_contain_text("Subject: Receipt")


async def test_search_narrows_what_is_there_and_what_arrives(browser: Browser) -> None:
    async with sandbox() as box:
        box.record.add(chat("apples"))
        box.record.add(chat("pears"))
        async with opened(browser, inbox(box)) as page:
            await page.get_by_role("searchbox").fill("APPLE")
            await expect(page.locator("article")).to_have_count(1)
            box.record.add(chat("more pears"))
            box.record.add(chat("more apples"))
            await expect(page.locator("article")).to_have_count(2)
            await expect(page.locator(".bubble").first).to_contain_text("more apples")

            await page.get_by_role("searchbox").fill("plums")
            await expect(page.get_by_text("Nothing here has “plums” in it")).to_be_visible()
            await page.reload()
            await expect(page.get_by_role("searchbox")).to_have_value("plums")


async def test_a_person_has_one_inbox_over_all_their_addresses(browser: Browser) -> None:
    async with sandbox() as box, opened(browser, inbox(box)) as page:
        for arrived in (push("Packed", to="tok"), chat("Paid", to="42"), chat("Other", to="43")):
            box.record.add(arrived)
        await expect(page.locator("article")).to_have_count(3)
        await introduce(box, {"tok": {"name": "Ann", "address": "phone, ios"}, "42": "Ann"})

        ann = page.locator("#people a", has_text="Ann")
        await expect(ann).to_contain_text("2")
        await ann.click()
        await expect(page.locator("article")).to_have_count(2)
        await expect(page.locator("article .who")).to_have_text(["Ann", "Ann"])
        await expect(page.locator(".push .address")).to_have_text("phone, ios")
        await page.go_back()
        await expect(page.locator("article")).to_have_count(3)


async def test_channels_narrow_the_list_and_their_counts_are_those_of_the_person(
    browser: Browser,
) -> None:
    async with sandbox() as box:
        for arrived in one_of_each():
            box.record.add(arrived)
        async with opened(browser, inbox(box)) as page:
            await page.locator("#tabs a", has_text="Push").click()
            await expect(page.locator("article")).to_have_count(1)
            box.record.add(chat("Paid again"))
            await expect(page.locator("#tabs a", has_text="Chat")).to_contain_text("2")
            await expect(page.locator("article")).to_have_count(1)
            await page.locator("#people a", has_text="42").click()
            await expect(page.locator("#tabs a", has_text="Push")).to_contain_text("0")


async def test_repeats_and_replaced_pushes_are_marked_when_the_later_one_comes(
    browser: Browser,
) -> None:
    async with sandbox() as box:
        box.record.add(push("Packed", collapse="order-12"))
        box.record.add(chat("Paid", key="k1"))
        async with opened(browser, inbox(box)) as page:
            await expect(page.locator(".mark")).to_have_count(0)
            box.record.add(push("On its way", collapse="order-12"))
            box.record.add(chat("Paid", key="k1"))
            await expect(page.locator(".replaced h3")).to_have_text("Packed")
            await expect(page.locator(".replaced .mark")).to_have_text("replaced by #3")
            await expect(page.locator(".chat .mark")).to_have_text(
                ["repeat: 2 of 2", "repeat: 1 of 2"]
            )
            await expect(page.locator("#tabs .repeats")).to_have_text("Repeats 1")


async def test_refusals_tell_who_refused_what_and_why(browser: Browser) -> None:
    async with sandbox() as box, opened(browser, inbox(box, "?show=refused")) as page:
        await send_message(box, 1, "")
        await expect(page.locator(".refused strong")).to_have_text(
            "Bad Request: message text is empty"
        )
        await send_message(box, 1, "")
        await expect(page.locator("article.refused")).to_contain_text("2 times")
        await expect(page.locator("article .provider")).to_have_text("Telegram")


async def test_nothing_moves_under_the_eyes_of_somebody_who_reads_further_down(
    browser: Browser,
) -> None:
    async with sandbox() as box:
        for number in range(30):
            box.record.add(chat(f"number {number}."))
        async with opened(browser, inbox(box)) as page:
            await page.mouse.wheel(0, 1500)
            await page.wait_for_function("scrollY > 1000")
            read = page.locator(".bubble", has_text="number 20.")
            before = await read.bounding_box()
            box.record.add(chat("the newest"))
            await page.get_by_role("button", name="1 new").wait_for()
            assert await read.bounding_box() == before

            await page.get_by_role("button", name="1 new").click()
            await expect(page.locator(".bubble").first).to_contain_text("the newest")
            await expect(page.get_by_role("button", name="1 new")).to_be_hidden()


async def test_older_messages_are_a_link_away(browser: Browser) -> None:
    async with sandbox() as box:
        for number in range(130):
            box.record.add(event(f"number {number}"))
        async with opened(browser, inbox(box)) as page:
            await page.get_by_role("link", name="Older").click()
            await expect(page.locator("article")).to_have_count(30)
            await page.get_by_role("link", name="Newest").click()
            await expect(page.locator("article")).to_have_count(100)


async def test_it_is_usable_from_the_keyboard(browser: Browser) -> None:
    async with sandbox() as box:
        box.record.add(chat("first"))
        box.record.add(event("Second"))
        async with opened(browser, inbox(box)) as page:
            await page.keyboard.press("/")
            await expect(page.get_by_role("searchbox")).to_be_focused()
            await page.keyboard.press("Escape")
            await page.keyboard.press("j")
            await expect(page.locator("article").first).to_be_focused()
            await page.keyboard.press("Tab")
            await page.keyboard.press("Enter")
            await expect(page.locator(".analytics .opened")).to_be_visible()
            await page.keyboard.press("j")
            await expect(page.locator("article").last).to_be_focused()


async def test_an_opened_message_stays_open_while_others_arrive(browser: Browser) -> None:
    async with sandbox() as box:
        box.record.add(request({"id": 1}))
        async with opened(browser, inbox(box)) as page:
            await page.get_by_text("Details").click()
            box.record.add(request({"id": 2}))
            await expect(page.locator("article")).to_have_count(2)
            await expect(page.get_by_text("user-agent").last).to_be_visible()


async def test_it_says_when_it_lost_the_sandbox_and_catches_up(browser: Browser) -> None:
    async with sandbox() as box, opened(browser, inbox(box), may_complain=True) as page:
        await expect(page.get_by_role("status")).to_have_text("live")
        await page.context.set_offline(True)
        await expect(page.get_by_role("status")).to_have_text("not connected")
        box.record.add(chat("meanwhile"))
        await page.context.set_offline(False)
        await expect(page.get_by_text("meanwhile")).to_be_visible()
        await expect(page.get_by_role("status")).to_have_text("live")
