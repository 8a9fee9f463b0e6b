"""Pages that can be read: in both colour schemes, on a phone, without complaints of the browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from router.admin import admin_app
from router.sandbox import sandbox
from tests.browser.arrivals import chat, introduce, one_of_each, push
from tests.browser.pages import SCHEMES, Scheme, opened
from tests.contract.admin.builders import Reloads, StatedHealth, overview, running

pytestmark = pytest.mark.anyio

CONTRAST = Path(__file__).with_name("contrast.js").read_text("utf-8")


async def assert_readable(page: Page) -> None:
    found = await page.evaluate(CONTRAST)
    assert found["seen"] > 10
    assert found["poor"] == {}


async def assert_fits(page: Page) -> None:
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_inbox_is_readable_and_fits_a_phone(browser: Browser, scheme: Scheme) -> None:
    async with sandbox() as box:
        await introduce(box, {"token-1": {"name": "Ann Lee", "address": "phone, ios"}})
        for arrived in one_of_each():
            box.record.add(arrived)
        box.record.add(push("Replaced", collapse="c"))
        box.record.add(push("A " + "very" * 40 + " long title", collapse="c"))
        box.record.add(chat("twice", key="k"))
        box.record.add(chat("twice " + "long" * 60, key="k"))
        box.record.refuse("apns", "token-1", "410 Unregistered")
        async with opened(browser, box.addresses["control"] + "/", scheme=scheme) as page:
            await expect(page.locator("article")).to_have_count(9)
            for summary in await page.locator("summary").all():
                await summary.click(position={"x": 5, "y": 5})
            await assert_readable(page)
            for width in (900, 360):
                await page.set_viewport_size({"width": width, "height": 800})
                await assert_fits(page)
            await assert_readable(page)
            await page.goto(box.addresses["control"] + "/?show=refused")
            await assert_readable(page)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_overview_is_readable_and_breaks_no_policy(
    browser: Browser, scheme: Scheme
) -> None:
    app = admin_app(
        StatedHealth(),
        lambda: b"up 1\n",
        reload=Reloads(),
        overview=lambda: overview(notices=("the last reload was refused",)),
        token=None,
    )
    async with running(app) as address:
        url = f"http://127.0.0.1:{address.port}/"
        async with opened(browser, url, scheme=scheme) as page:
            await expect(page.get_by_role("heading", name="Sinks")).to_be_visible()
            await expect(page.locator("h1")).to_have_css("font-size", "22.4px")  # its style applies
            await assert_readable(page)
