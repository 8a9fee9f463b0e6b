"""The mail server look-alike, as aiosmtplib meets it."""

from __future__ import annotations

import ssl
from dataclasses import replace
from urllib.parse import urlsplit

import aiosmtplib
import anyio
import pytest

from router.clock import ManualClock
from router.messages import Channel
from router.sandbox import (
    UNREAD,
    Fault,
    Sandbox,
    SandboxSettings,
    SmtpSettings,
    sandbox,
)
from tests.contract.sandbox.builders import deliver, mail, smtp_client

pytestmark = pytest.mark.anyio

ANN = "ann@sandbox.test"


def settings(**smtp: object) -> SandboxSettings:
    return SandboxSettings(smtp=replace(SmtpSettings(), **smtp))


async def test_mail_is_kept_raw_and_as_read() -> None:
    multipart = (
        b"From: shop@sandbox.test\r\nTo: ann@sandbox.test\r\n"
        b"Subject: =?utf-8?b?0J/RgNC40LLQtdGC?=\r\n"
        b"Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <m1@sandbox.test>\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n.dot\r\n"
        b"--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>dot</p>\r\n--b--\r\n"
    )
    async with sandbox() as box, smtp_client(box) as client:
        await client.sendmail("bounce@sandbox.test", [ANN], multipart)

        (entry,) = box.record.of("smtp", ANN)
        assert entry.raw == multipart
        assert (entry.channel, entry.title) == (Channel.EMAIL, "Привет")
        assert (entry.text.strip(), (entry.html or "").strip()) == (".dot", "<p>dot</p>")
        assert entry.key == "<m1@sandbox.test>"
        assert entry.details["sender"] == "bounce@sandbox.test"


async def test_second_copy_counts_as_repeat() -> None:
    async with sandbox() as box:
        await deliver(box, id="a")
        await deliver(box, id="b")
        await deliver(box, id="a")
        assert box.record.count("<a@sandbox.test>") == 2
        assert box.record.repeats() == {"<a@sandbox.test>": 2}


async def test_two_recipients_of_one_mail_are_no_repeat() -> None:
    async with sandbox() as box, smtp_client(box) as client:
        await client.sendmail("shop@sandbox.test", [ANN, "bob@sandbox.test"], mail())
        assert [entry.recipient for entry in box.record] == [ANN, "bob@sandbox.test"]
        assert box.record.repeats() == {}


async def test_starttls_and_login_under_the_private_authority() -> None:
    async with sandbox() as box:
        await deliver(box, is_secure=True, login=True)
        details = box.record.of("smtp", ANN)[0].details
        assert (details["tls"], details["user"]) == ("yes", box.credentials["smtp_user"])


async def test_implicit_tls() -> None:
    async with sandbox() as box:
        client = aiosmtplib.SMTP(
            hostname="127.0.0.1",
            port=urlsplit(box.addresses["smtps"]).port,
            use_tls=True,
            tls_context=ssl.create_default_context(cafile=str(box.ca_file)),
        )
        async with client:
            await client.sendmail("shop@sandbox.test", [ANN], mail())
        assert box.record.of("smtp", ANN)[0].details["tls"] == "yes"


async def test_strangers_to_the_authority_do_not_trust_it() -> None:
    async with sandbox() as box:
        client = aiosmtplib.SMTP(
            hostname="127.0.0.1", port=urlsplit(box.addresses["smtp"]).port, start_tls=True
        )
        with pytest.raises(ssl.SSLCertVerificationError, match="issuer"):
            await client.connect()
        assert not box.record


async def test_expired_certificate_is_not_trusted() -> None:
    async with sandbox(SandboxSettings(expired_certificate=True)) as box:
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            await deliver(box, is_secure=True)


@pytest.mark.parametrize("mechanism", ["plain", "login"])
async def test_wrong_password(mechanism: str) -> None:
    async with sandbox() as box, smtp_client(box, is_secure=True) as client:
        with pytest.raises(aiosmtplib.SMTPAuthenticationError) as caught:
            await getattr(client, f"auth_{mechanism}")("sandbox", "wrong")
        assert caught.value.code == 535
        await getattr(client, f"auth_{mechanism}")("sandbox", "sandbox-password")


async def test_auth_is_not_offered_in_the_clear() -> None:
    async with sandbox() as box, smtp_client(box) as client:
        await client.ehlo()
        assert not client.supports_extension("auth")
        assert (await client.execute_command(b"AUTH", b"PLAIN", b"AGEAYg==")).code == 538


async def test_mail_without_required_login() -> None:
    async with sandbox(settings(requires_auth=True)) as box:
        with pytest.raises(aiosmtplib.SMTPSenderRefused) as caught:
            await deliver(box)
        assert caught.value.code == 530
        await deliver(box, is_secure=True, login=True)


@pytest.mark.parametrize(
    ("state", "code", "enhanced"),
    [("unknown", 550, "5.1.1"), ("disabled", 550, "5.2.1"), ("full", 452, "4.2.2")],
)
async def test_mailbox_state_decides_at_rcpt(state: str, code: int, enhanced: str) -> None:
    async with sandbox() as box:
        box.smtp.set_state(ANN, state)
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as caught:
            await deliver(box)
        (refused,) = caught.value.recipients
        assert refused.code == code
        assert refused.message.startswith(enhanced)
        await deliver(box, to="bob@sandbox.test")


async def test_policy_refuses_after_the_content() -> None:
    async with sandbox() as box:
        box.smtp.set_state(ANN, "refused")
        with pytest.raises(aiosmtplib.SMTPDataError, match=r"5\.7\.1"):
            await deliver(box)


async def test_greylisted_mail_is_taken_when_it_comes_again_later() -> None:
    clock = ManualClock()
    async with sandbox(replace(settings(greylist_s=300), clock=clock)) as box:
        for wait in (0, 299):
            clock.advance(wait)
            with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as caught:
                await deliver(box)
            assert caught.value.recipients[0].code == 451
        clock.advance(1)
        await deliver(box)
        assert len(box.record) == 1


async def test_connection_ends_after_its_share_of_messages() -> None:
    async with sandbox(settings(messages_per_connection=2)) as box, smtp_client(box) as client:
        for number in range(2):
            await client.sendmail("shop@sandbox.test", [ANN], mail(id=str(number)))
        with pytest.raises(aiosmtplib.SMTPResponseException) as caught:
            await client.sendmail("shop@sandbox.test", [ANN], mail(id="2"))
        assert caught.value.code == 421
        assert len(box.record) == 2


async def test_too_big() -> None:
    async with sandbox(settings(size_bytes=1000)) as box:
        async with smtp_client(box) as client:
            with pytest.raises(aiosmtplib.SMTPResponseException) as announced:
                await client.sendmail("s@sandbox.test", [ANN], mail(body="x" * 80 + "\r\n" * 500))
        async with smtp_client(box) as client:
            await client.helo()
            await client.mail("s@sandbox.test")
            await client.rcpt(ANN)
            with pytest.raises(aiosmtplib.SMTPDataError) as found:
                await client.data(mail(body="x\r\n" * 500))
            await client.sendmail("s@sandbox.test", [ANN], mail())
        assert (announced.value.code, found.value.code) == (552, 552)
        assert len(box.record) == 1


@pytest.mark.parametrize(
    ("content", "reply"),
    [
        (mail(body="x" * 999), "5.6.0 line longer than 998 octets"),
        (mail().replace(b"From: Shop <shop@sandbox.test>\r\n", b""), "5.6.0 message needs one Fr"),
        (mail().replace(b"Date:", b"X-Date:"), "5.6.0 message needs one Date"),
        (mail(subject="Привет"), "5.6.7 header fields need SMTPUTF8"),
    ],
)
async def test_malformed_content(content: bytes, reply: str) -> None:
    async with sandbox() as box, smtp_client(box) as client:
        with pytest.raises(aiosmtplib.SMTPDataError) as caught:
            await client.sendmail("shop@sandbox.test", [ANN], content)
        assert caught.value.message.startswith(reply)
        assert box.record.refused[0].recipient == ANN


async def test_bare_line_feed_is_refused() -> None:
    async with sandbox() as box:
        async with await anyio.connect_tcp("127.0.0.1", _port(box)) as stream:
            lines = [b"EHLO x", b"MAIL FROM:<s@x.test>", b"RCPT TO:<ann@sandbox.test>", b"DATA"]
            await stream.send(
                b"\r\n".join([*lines, mail().replace(b"Hi", b"H\ni") + b".", b"QUIT"])
            )
            await stream.send(b"\r\n")
            said = b"".join([piece async for piece in stream])
        assert b"550 5.5.2 bare CR or LF" in said
        assert not box.record


@pytest.mark.parametrize("extensions", [frozenset({"8BITMIME"}), frozenset({"SMTPUTF8"})])
async def test_extensions_can_be_off(extensions: frozenset[str]) -> None:
    async with sandbox(settings(extensions=extensions)) as box, smtp_client(box) as client:
        await client.ehlo()
        offered = {"8bitmime", "smtputf8"} & set(client.esmtp_extensions)
        assert offered == {name.lower() for name in extensions}
        reply = await client.execute_command(
            b"MAIL", b"FROM:<s@x.test>", b"SMTPUTF8", b"BODY=8BITMIME"
        )
        assert reply.code == 555


async def test_planned_reply_for_one_recipient() -> None:
    async with sandbox() as box:
        box.smtp.faults.plan(ANN, {2: Fault("answer", status=450, body="4.3.2 busy")})
        await deliver(box, id="1")
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as caught:
            await deliver(box, id="2")
        await deliver(box, id="3")
        await deliver(box, to="bob@sandbox.test", id="4")
        assert caught.value.recipients[0].code == 450
        assert [entry.key for entry in box.record] == [f"<{n}@sandbox.test>" for n in (1, 3, 4)]


@pytest.mark.parametrize("kind", ["close", "reset"])
@pytest.mark.parametrize(
    ("command", "after_effect", "kept"),
    [("RCPT", False, 0), ("DATA", False, 0), (".", False, 0), (".", True, 1)],
)
async def test_lost_connection(command: str, after_effect: bool, kept: int, kind: str) -> None:
    async with sandbox() as box:
        fault = Fault(kind, command=command, after_effect=after_effect)  # type: ignore[arg-type]
        box.smtp.faults.plan(ANN, {1: fault})
        with pytest.raises((aiosmtplib.SMTPServerDisconnected, OSError)):
            await deliver(box)
        assert len(box.record) == kept
        await deliver(box)
        assert box.record.count("<m1@sandbox.test>") == kept + 1


async def test_shutting_down_at_the_greeting() -> None:
    async with sandbox() as box:
        box.smtp.faults.plan(UNREAD, {1: Fault("answer", status=421, body="4.3.2 shutting down")})
        with pytest.raises(aiosmtplib.SMTPException):
            await deliver(box)
        await deliver(box)


async def test_temporary_failure_of_login() -> None:
    async with sandbox() as box:
        fault = Fault("answer", status=454, body="4.7.0 temporary failure")
        box.smtp.faults.plan("sandbox", always=fault)
        with pytest.raises(aiosmtplib.SMTPAuthenticationError) as caught:
            await deliver(box, is_secure=True, login=True)
        assert caught.value.code == 454


async def test_slow_greeting() -> None:
    async with sandbox(settings(banner_delay_s=30)) as box:
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=_port(box), timeout=0.1)
        with pytest.raises(aiosmtplib.SMTPTimeoutError):
            await client.connect()


async def test_client_that_leaves_harms_nobody() -> None:
    async with sandbox() as box:
        for said in (b"", b"EHLO x\r\nMAIL", b"EHLO x\r\nSTARTTLS\r\nnonsense\r\n"):
            async with await anyio.connect_tcp("127.0.0.1", _port(box)) as stream:
                if said:
                    await stream.send(said)
                    await stream.receive()
        await deliver(box)
        assert len(box.record) == 1


def _port(box: Sandbox) -> int:
    port = urlsplit(box.addresses["smtp"]).port
    assert port is not None
    return port
