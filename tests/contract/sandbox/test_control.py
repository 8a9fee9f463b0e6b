"""The sandbox's own server: for tests in other processes, and for people's eyes."""

from __future__ import annotations

import re

import pytest

from router.sandbox import Sandbox, answer, sandbox
from tests.contract.sandbox.builders import Reply, call, mail, send_message, smtp_client

pytestmark = pytest.mark.anyio


async def get(box: Sandbox, path: str) -> Reply:
    return await call("GET", box.addresses["control"] + path)


async def change(box: Sandbox, path: str, fields: object, method: str = "POST") -> Reply:
    return await call(method, box.addresses["control"] + path, json=fields)


async def send_html_mail(box: Sandbox, html: str, subject: str = "Hello") -> None:
    content = mail(subject=subject, body=html).replace(
        b"\r\n\r\n", b"\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n", 1
    )
    async with smtp_client(box) as client:
        await client.sendmail("shop@sandbox.test", ["ann@sandbox.test"], content)


async def test_record_can_be_read_from_outside() -> None:
    async with sandbox() as box:
        await send_message(box, 1, "one")
        await send_message(box, 2, "two")
        reply = await get(box, "/record?after=1")
        assert reply.json["total"] == 2
        assert [entry["text"] for entry in reply.json["received"]] == ["two"]
        assert (await get(box, "/raw/1")).body == b'{"chat_id": 1, "text": "one"}'


async def test_refusals_can_be_read_from_outside() -> None:
    async with sandbox() as box:
        await send_message(box, 1, "")
        (refused,) = (await get(box, "/refused")).json["refused"]
        assert (refused["provider"], refused["recipient"]) == ("telegram", "1")
        assert refused["why"] == "Bad Request: message text is empty"


async def test_faults_are_planned_and_forgotten_from_outside() -> None:
    async with sandbox() as box:
        plan = {
            "provider": "telegram",
            "target": "1",
            "on": {"2": {"kind": "answer", "status": 500}},
        }
        assert (await change(box, "/faults", plan)).status == 200
        assert [(await send_message(box, 1)).status for _ in range(2)] == [200, 500]

        box.telegram.faults.plan("1", always=answer(500))
        await change(box, "/faults", {}, "DELETE")
        assert (await send_message(box, 1)).status == 200


async def test_state_and_clock_are_changed_from_outside() -> None:
    async with sandbox() as box:
        before = box.clock.now()
        await change(box, "/state", {"provider": "telegram", "target": "1", "state": "blocked"})
        await change(box, "/clock", {"advance_s": 3600})
        assert (await send_message(box, 1)).status == 403
        assert box.clock.now() - before >= 3600


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/faults", {"provider": "fax", "target": "1"}),
        ("/faults", {"provider": "smtp"}),
        ("/faults", {"provider": "smtp", "target": "a", "always": {"kind": "reset", "oops": 1}}),
        ("/faults", {"provider": "smtp", "target": "a", "always": {"kind": "explode"}}),
        ("/state", {"provider": "telegram", "target": "1", "state": "asleep"}),
        ("/state", {"provider": "http", "target": "/x", "state": "gone"}),
        ("/clock", {"advance_s": "soon"}),
        ("/clock", []),
    ],
)
async def test_wrong_changes_say_why(path: str, fields: object) -> None:
    async with sandbox() as box:
        reply = await change(box, path, fields)
        assert reply.status == 400
        assert reply.json["error"]


async def test_other_sites_cannot_change_anything() -> None:
    async with sandbox() as box:
        url = box.addresses["control"] + "/clock"
        form = await call(
            "POST", url, data=b'{"advance_s": 60}', headers={"Content-Type": "text/plain"}
        )
        rebound = await call("POST", url, json={"advance_s": 60}, headers={"Host": "evil.test"})
        assert (form.status, rebound.status) == (415, 403)


async def test_page_shows_newest_first() -> None:
    async with sandbox() as box:
        await send_message(box, 1, "number one")
        await send_message(box, 2, "number two")
        page = (await get(box, "/")).body.decode()
        assert page.index("number two") < page.index("number one")

        await send_message(box, 1, "number three")
        piece = (await get(box, "/cards?after=2")).body.decode()
        assert "number three" in piece
        assert "number two" not in piece


async def test_page_escapes_what_came() -> None:
    async with sandbox() as box:
        await send_message(box, 1, "<script>alert(1)</script>")
        await send_html_mail(box, "<p>hi</p>", subject="<img src=x onerror=alert(1)>")
        await call(
            "POST",
            box.addresses["http"] + "/x",
            data=b"<script>alert(2)</script>",
            headers={"X-Api-Key": "sandbox-api-key"},
        )
        page = (await get(box, "/")).body.decode()
        assert page.count("<script") == 1  # its own
        assert "<img src=x" not in page
        assert "&lt;script&gt;alert(1)" in page


async def test_mail_is_shown_in_a_frame_where_nothing_runs() -> None:
    async with sandbox() as box:
        await send_html_mail(box, "<p>hi</p><script>alert(1)</script>")
        page = (await get(box, "/")).body.decode()
        frame = re.search(r"<iframe[^>]*>", page)
        assert frame is not None
        assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in frame[0]
        assert 'src="/mail/1"' in frame[0]
        assert (await get(box, "/mail/1")).body.startswith(b"<p>hi</p>")
        assert (await get(box, "/mail/2")).status == 404


@pytest.mark.parametrize("path", ["/", "/cards", "/assets/inbox.js", "/mail/1", "/source/1"])
async def test_pages_have_a_strict_policy(path: str) -> None:
    async with sandbox() as box:
        await send_html_mail(box, "<p>hi</p>")
        policy = (await get(box, path)).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'unsafe" not in policy
        assert policy.startswith("sandbox") == (path in ("/mail/1", "/source/1"))


async def test_chat_links_never_carry_script() -> None:
    async with sandbox() as box:
        await send_message(box, 1, "<a href='javascript:alert(1)'>x</a>", parse_mode="HTML")
        assert "href='javascript:" not in (page := (await get(box, "/")).body.decode())
        assert 'href="javascript:' not in page


async def test_pieces_of_the_page_come_when_there_is_something_new() -> None:
    async with sandbox() as box:
        await send_message(box, 1, "one")
        assert (await get(box, "/cards?after=1&refused=0&names=0")).status == 204
        await send_message(box, 1, "")
        piece = await get(box, "/cards?after=1&refused=0&names=0")
        assert piece.status == 200
        assert 'data-refused="1"' in piece.body.decode()


async def test_people_are_introduced_from_outside() -> None:
    async with sandbox() as box:
        await send_message(box, 1, "one")
        await send_message(box, 2, "two")
        people = {"1": "Ann Lee", "2": {"name": "Ben", "address": "at home"}}
        assert (await change(box, "/people", people)).status == 200
        page = (await get(box, "/?who=Ann+Lee")).body.decode()
        assert '<div class="bubble">one' in page
        assert '<div class="bubble">two' not in page
        assert "at home" in (await get(box, "/?who=Ben")).body.decode()
        assert (await change(box, "/people", {"3": 3})).status == 400


async def test_a_view_that_does_not_exist_is_refused() -> None:
    async with sandbox() as box:
        assert (await get(box, "/?show=faxes")).status == 400
        assert (await get(box, "/?before=soon")).status == 400


async def test_requests_are_kept_with_their_headers_but_not_with_secrets() -> None:
    async with sandbox() as box:
        headers = {"Authorization": "Bearer sandbox-token", "X-Tenant": "a", "X-Api-Secret": "s"}
        await call("POST", box.addresses["http"] + "/x?y=1", json={}, headers=headers)
        details = box.record.of("http")[0].details
        assert (details["authorization"], details["x-api-secret"]) == ("Bearer …", "…")
        assert (details["x-tenant"], details["query"]) == ("a", "y=1")
        assert "host" not in details
