"""The smtp sink on the wire: sessions, refusals, and connections that end at the wrong moment."""

from __future__ import annotations

from email import message_from_bytes, policy
from urllib.parse import urlsplit

import anyio
import pytest

from router.clock import ManualClock
from router.messages import (
    Delivered,
    EmailMessage,
    Halt,
    InDoubt,
    Rejected,
    Retry,
    Scope,
)
from router.sandbox import (
    UNREAD,
    Fault,
    SandboxSettings,
    SmtpSettings,
    sandbox,
)
from tests.contract.sinks.harness import opened, smtp_options
from tests.contract.transport.servers import Peer, serve

pytestmark = pytest.mark.anyio

MAIL = EmailMessage("Заказ №12", "<p>Оплачен — спасибо</p>", "Оплачен — спасибо", locale="ru")
ANNA = "anna@example.com"


def settings(**changes: object) -> SandboxSettings:
    return SandboxSettings(smtp=SmtpSettings(**changes))  # type: ignore[arg-type]


async def test_a_mail_arrives_as_it_was_written() -> None:
    async with sandbox() as box, opened("smtp", **smtp_options(box)) as sink:
        assert isinstance(await sink.send(MAIL, ANNA), Delivered)
        [received] = box.record
    assert received.recipient == ANNA
    assert received.title == "Заказ №12"
    assert received.text.strip() == "Оплачен — спасибо"
    assert (received.html or "").strip() == "<p>Оплачен — спасибо</p>"
    message = message_from_bytes(received.raw, policy=policy.SMTP)
    assert message["From"] == '"Acme, Inc." <no-reply@acme.example>'
    assert message["Auto-Submitted"] == "auto-generated"


@pytest.mark.parametrize("extensions", [frozenset(), frozenset({"8BITMIME"})])
async def test_servers_with_and_without_8bitmime(extensions: frozenset[str]) -> None:
    async with sandbox(settings(extensions=extensions)) as box:
        async with opened("smtp", **smtp_options(box)) as sink:
            assert isinstance(await sink.send(MAIL, ANNA), Delivered)
        [received] = box.record
    assert received.raw.isascii() == (not extensions)
    assert received.text.strip() == "Оплачен — спасибо"


async def test_lines_that_begin_with_dots_survive() -> None:
    text = ".\r\n..\r\n.a\r\nend"
    async with sandbox() as box, opened("smtp", **smtp_options(box)) as sink:
        await sink.send(EmailMessage("s", None, text), ANNA)
        [received] = box.record
    assert received.text.replace("\r\n", "\n").rstrip() == text.replace("\r\n", "\n")


@pytest.mark.parametrize("security", ["starttls", "none"])
async def test_a_large_mail_leaves_whole_and_the_connection_lives(security: str) -> None:
    text = "line of a large mail\r\n" * 100_000
    async with sandbox() as box:
        options = smtp_options(box, security=security)
        if security == "none":
            options = plain_options(options["port"])
        async with opened("smtp", **options) as sink:
            for number in range(2):
                sent = await sink.send(EmailMessage("s", None, text), ANNA, number)
                assert isinstance(sent, Delivered)
        assert [entry.text.count("large mail") for entry in box.record] == [100_000] * 2


async def test_implicit_tls() -> None:
    async with sandbox() as box:
        port = urlsplit(box.addresses["smtps"]).port
        async with opened("smtp", **smtp_options(box, port=port, security="tls")) as sink:
            assert isinstance(await sink.send(MAIL, ANNA), Delivered)


async def test_one_connection_carries_many_mails() -> None:
    async with sandbox(settings(requires_auth=True)) as box:
        once = {1: Fault("close", command="CONNECT")}
        async with opened("smtp", **smtp_options(box)) as sink:
            assert isinstance(await sink.send(MAIL, ANNA, 0), Delivered)
            box.smtp.faults.plan(UNREAD, on=once)
            for number in range(1, 5):
                assert isinstance(await sink.send(MAIL, ANNA, number), Delivered)
        assert len(box.record) == 5


async def test_after_a_lost_answer_a_repeat_is_the_same_mail_with_the_same_message_id() -> None:
    async with sandbox() as box, opened("smtp", **smtp_options(box)) as sink:
        box.smtp.faults.plan(ANNA, on={1: Fault("reset", command=".", after_effect=True)})
        assert isinstance(await sink.send(MAIL, ANNA, key=7, attempt=1), InDoubt)
        assert isinstance(await sink.send(MAIL, ANNA, key=7, attempt=2), Delivered)
        first, second = box.record
    assert first.key == second.key
    assert first.raw == second.raw


async def test_international_addresses_need_smtputf8() -> None:
    async with sandbox() as box, opened("smtp", **smtp_options(box)) as sink:
        assert isinstance(await sink.send(MAIL, "анна@почта.рф"), Delivered)
    async with sandbox(settings(extensions=frozenset({"8BITMIME"}))) as box:
        async with opened("smtp", **smtp_options(box)) as sink:
            refused = await sink.send(MAIL, "анна@почта.рф")
            assert isinstance(refused, Rejected)
            assert refused.reason.code == "smtputf8_missing"
            assert isinstance(await sink.send(MAIL, "anna@почта.рф"), Delivered)


class TestRefusals:
    @pytest.mark.parametrize(
        ("state", "code"), [("unknown", "no_such_mailbox"), ("refused", "policy_refused")]
    )
    async def test_mailbox_states(self, state: str, code: str) -> None:
        async with sandbox() as box, opened("smtp", **smtp_options(box)) as sink:
            box.smtp.set_state(ANNA, state)
            refused = await sink.send(MAIL, ANNA)
            assert isinstance(refused, Rejected)
            assert refused.reason.code == code
            assert refused.recipient_gone == (state == "unknown")
            assert isinstance(await sink.send(MAIL, "ben@example.com", 2), Delivered)

    async def test_a_full_mailbox_is_tried_again_much_later(self) -> None:
        async with sandbox() as box, opened("smtp", **smtp_options(box)) as sink:
            box.smtp.set_state(ANNA, "full")
            refused = await sink.send(MAIL, ANNA)
        assert isinstance(refused, Retry)
        assert (refused.reason.code, refused.after) == ("mailbox_full", 3600)

    async def test_greylisting_waits_five_minutes(self) -> None:
        async with sandbox(settings(greylist_s=300.0)) as box:
            async with opened("smtp", **smtp_options(box)) as sink:
                first = await sink.send(MAIL, ANNA)
                assert isinstance(first, Retry)
                assert (first.reason.code, first.after) == ("greylisted", 300)
                box.clock.advance(first.after or 0)
                assert isinstance(await sink.send(MAIL, ANNA), Delivered)

    async def test_too_large_is_known_before_sending(self) -> None:
        async with sandbox(settings(size_bytes=2000)) as box:
            async with opened("smtp", **smtp_options(box)) as sink:
                refused = await sink.send(EmailMessage("s", None, "x\n" * 2000), ANNA)
        assert isinstance(refused, Rejected)
        assert refused.reason.code == "too_large"

    async def test_a_wrong_password_halts(self) -> None:
        async with sandbox() as box:
            async with opened("smtp", **smtp_options(box, password="planted-wrong")) as sink:
                halted = await sink.send(MAIL, ANNA)
        assert isinstance(halted, Halt)
        assert halted.reason.code == "auth_refused"
        assert "planted" not in str(halted)

    async def test_starttls_that_is_not_offered_halts(self) -> None:
        async with PlainServer() as port:
            async with opened(
                "smtp", host="127.0.0.1", port=port, **{"from": "a@acme.example"}
            ) as sink:
                halted = await sink.send(MAIL, ANNA)
        assert isinstance(halted, Halt)
        assert halted.reason.code == "starttls_missing"

    @pytest.mark.parametrize("changes", [{"ca_file": None}, {}])
    async def test_a_bad_certificate_is_tried_again(self, changes: dict[str, None]) -> None:
        async with sandbox(SandboxSettings(expired_certificate=not changes)) as box:
            async with opened("smtp", **smtp_options(box, **changes)) as sink:
                refused = await sink.send(MAIL, ANNA)
            assert len(box.record) == 0
        assert isinstance(refused, Retry)
        assert refused.reason.code == "certificate_invalid"

    async def test_421_after_some_messages_opens_a_new_connection(self) -> None:
        async with sandbox(settings(messages_per_connection=1)) as box:
            async with opened("smtp", **smtp_options(box)) as sink:
                assert isinstance(await sink.send(MAIL, ANNA, 1), Delivered)
                closing = await sink.send(MAIL, ANNA, 2)
                assert isinstance(closing, Retry)
                assert closing.reason.code == "server_closing"
                assert isinstance(await sink.send(MAIL, ANNA, 2), Delivered)

    @pytest.mark.parametrize(
        "address", ["not an address", "a@b\r\nRCPT TO:<eve@example.com>", "<a@example.com>"]
    )
    async def test_what_is_no_address_is_never_put_on_the_wire(self, address: str) -> None:
        async with sandbox() as box, opened("smtp", **smtp_options(box)) as sink:
            refused = await sink.send(MAIL, address)
            assert isinstance(refused, Rejected)
            assert len(box.record) == len(box.record.refused) == 0

    async def test_a_header_that_would_break_is_rejected_and_the_connection_lives(self) -> None:
        async with sandbox() as box, opened("smtp", **smtp_options(box)) as sink:
            await sink.send(MAIL, ANNA, 1)
            refused = await sink.send(EmailMessage("a\r\nBcc: b", None, "x"), ANNA, 2)
            assert isinstance(refused, Rejected)
            assert not refused.recipient_gone
            assert isinstance(await sink.send(MAIL, ANNA, 3), Delivered)


class TestLostConnections:
    @pytest.mark.parametrize("kind", ["reset", "close"])
    @pytest.mark.parametrize("command", ["RCPT", "DATA"])
    async def test_before_the_final_dot_it_is_safe_to_repeat(self, kind: str, command: str) -> None:
        async with sandbox() as box, opened("smtp", **smtp_options(box)) as sink:
            box.smtp.faults.plan(ANNA, on={1: Fault(kind, command=command)})  # type: ignore[arg-type]
            lost = await sink.send(MAIL, ANNA)
            assert isinstance(lost, Retry)
            assert lost.reason.code == "connection_lost"
            assert isinstance(await sink.send(MAIL, ANNA), Delivered)
            assert len(box.record) == 1

    @pytest.mark.parametrize("after_effect", [True, False])
    @pytest.mark.parametrize("kind", ["reset", "close"])
    async def test_after_the_final_dot_it_is_in_doubt(self, kind: str, after_effect: bool) -> None:
        async with sandbox() as box, opened("smtp", **smtp_options(box)) as sink:
            fault = Fault(kind, command=".", after_effect=after_effect)  # type: ignore[arg-type]
            box.smtp.faults.plan(ANNA, on={1: fault})
            lost = await sink.send(MAIL, ANNA)
            assert isinstance(lost, InDoubt)
            assert len(box.record) == int(after_effect)
            assert isinstance(await sink.send(MAIL, ANNA), Delivered)
            assert len(box.record.repeats()) == int(after_effect)

    async def test_a_timeout_after_the_final_dot_is_in_doubt(self) -> None:
        async with sandbox() as box:
            box.smtp.faults.plan(ANNA, on={1: Fault("stall", command=".", after_effect=True)})
            async with opened("smtp", **smtp_options(box, timeout="500ms")) as sink:
                lost = await sink.send(MAIL, ANNA)
                assert isinstance(lost, InDoubt)
                assert isinstance(await sink.send(MAIL, ANNA), Delivered)

    async def test_a_timeout_before_it_rests_the_sink(self) -> None:
        async with sandbox() as box:
            box.smtp.faults.plan(ANNA, always=Fault("stall", command="RCPT"))
            async with opened("smtp", **smtp_options(box, timeout="500ms")) as sink:
                lost = await sink.send(MAIL, ANNA)
        assert isinstance(lost, Retry)
        assert (lost.reason.code, lost.after, lost.scope) == ("timeout", 60, Scope.SINK)

    async def test_a_slow_greeting_is_a_timeout(self) -> None:
        async with sandbox(settings(banner_delay_s=5.0)) as box:
            async with opened("smtp", **smtp_options(box, connect_timeout="200ms")) as sink:
                lost = await sink.send(MAIL, ANNA)
        assert isinstance(lost, Retry)
        assert lost.reason.code == "timeout"

    async def test_nobody_listens(self) -> None:
        async with sandbox() as box:
            options = smtp_options(box)
        async with opened("smtp", **{**options, "ca_file": None}) as sink:
            lost = await sink.send(MAIL, ANNA)
        assert isinstance(lost, Retry)
        assert lost.reason.code == "connection_refused"

    async def test_an_answer_that_is_not_smtp_after_the_dot_is_in_doubt(self) -> None:
        async with PlainServer(final=b"hello there\r\n") as port:
            async with opened("smtp", **plain_options(port)) as sink:
                lost = await sink.send(MAIL, ANNA)
        assert isinstance(lost, InDoubt)

    async def test_a_cancelled_send_leaves_no_half_used_connection(self) -> None:
        async with sandbox() as box, opened("smtp", **smtp_options(box)) as sink:
            box.smtp.faults.plan(ANNA, on={1: Fault("stall", command=".", after_effect=True)})
            with anyio.move_on_after(0.5) as scope:
                await sink.send(MAIL, ANNA)
            assert scope.cancelled_caught
            assert isinstance(await sink.send(MAIL, "ben@example.com", 2), Delivered)


class TestPool:
    async def test_no_more_connections_than_concurrency(self) -> None:
        async with sandbox() as box:
            async with opened("smtp", **smtp_options(box, concurrency=3)) as sink:
                async with anyio.create_task_group() as tasks:
                    for number in range(12):
                        tasks.start_soon(sink.send, MAIL, ANNA, number)
            assert len(box.record) == 12

    async def test_an_idle_connection_that_died_is_replaced(self) -> None:
        clock = ManualClock()
        async with PlainServer(mails=1, silent_end=True) as port:
            async with opened("smtp", clock, **plain_options(port, timeout="5s")) as sink:
                assert isinstance(await sink.send(MAIL, ANNA, 1), Delivered)
                clock.advance(30)
                assert isinstance(await sink.send(MAIL, ANNA, 2), Delivered)

    async def test_an_old_idle_connection_is_replaced_unasked(self) -> None:
        clock = ManualClock()
        async with sandbox() as box, opened("smtp", clock, **smtp_options(box)) as sink:
            assert isinstance(await sink.send(MAIL, ANNA, 1), Delivered)
            clock.advance(3600)
            box.smtp.faults.plan(UNREAD, always=Fault("close", command="CONNECT"))
            lost = await sink.send(MAIL, ANNA, 2)
        assert isinstance(lost, Retry)

    async def test_a_number_of_mails_ends_a_connection(self) -> None:
        async with sandbox(settings(messages_per_connection=2)) as box:
            async with opened("smtp", **smtp_options(box, per_connection=2)) as sink:
                for number in range(6):
                    assert isinstance(await sink.send(MAIL, ANNA, number), Delivered)


def plain_options(port: int, **changes: object) -> dict[str, object]:
    return {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "from": "a@acme.example",
        **changes,
    }


class PlainServer:
    """A mail server without extensions, to say what the sandbox would not.

    After ``mails`` accepted mails it answers NOOP with 421 (``silent_end``).
    """

    def __init__(
        self, final: bytes = b"250 ok\r\n", mails: int = 1000, silent_end: bool = False
    ) -> None:
        self._final = final
        self._mails = mails
        self._silent_end = silent_end

    async def __aenter__(self) -> int:
        self._server = serve(self._talk)
        return (await self._server.__aenter__()).port

    async def __aexit__(self, *exc: object) -> None:
        await self._server.__aexit__(None, None, None)

    async def _talk(self, peer: Peer) -> None:
        await peer.answer(b"220 plain\r\n")
        accepted = 0
        while line := await peer.reader.readline():
            word = line[:4].upper().strip()
            if word == b"DATA":
                await peer.answer(b"354 go\r\n")
                await peer.reader.readuntil(b"\r\n.\r\n")
                accepted += 1
                await peer.answer(self._final)
            elif accepted >= self._mails and self._silent_end:
                await peer.answer(b"421 closing\r\n")
                return
            else:
                await peer.answer(b"250 plain\r\n")
