"""Pages that are watched for what the browser complains of."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal

from playwright.async_api import Browser, ConsoleMessage, Page

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


@asynccontextmanager
async def opened(
    browser: Browser, url: str, *, scheme: Scheme = "light", may_complain: bool = False
) -> AsyncGenerator[Page]:
    """A page in a context of its own.

    Errors of scripts, of the console and of the policy on content fail the test, unless the page
    may complain.
    """
    complaints: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    context = await browser.new_context(
        color_scheme=scheme,
        viewport={"width": 1200, "height": 900},
        locale="en-GB",
        reduced_motion="reduce",
    )
    async with context:
        context.set_default_timeout(10_000)
        page = await context.new_page()
        page.on("console", hear)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(url)
        yield page
    assert may_complain or complaints == []
