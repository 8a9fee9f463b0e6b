"""The mail server look-alike, as swaks meets it: a program that knows SMTP alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest

from router.sandbox import Sandbox, SandboxSettings, SmtpSettings, sandbox

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("swaks") is None, reason="swaks is not installed"),
]

ANN = "ann@sandbox.test"
LOCKED = SandboxSettings(smtp=SmtpSettings(requires_auth=True))
HEADERS = (
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Transfer-Encoding: 8bit",
)
BAD_RCPT, BAD_CONTENT, BAD_AUTH, BAD_TLS = 24, 26, 28, 29
"""Exit codes of swaks: no recipient accepted, content refused, not authenticated, no TLS."""


async def swaks(box: Sandbox, *options: str, to: str = ANN) -> tuple[int, str]:
    """One mail; the program's exit code and what it told of the session."""
    port = urlsplit(box.addresses["smtp"]).port
    command = ["swaks", "--server", "127.0.0.1", "--port", str(port), "--timeout", "5"]
    command += ["--from", "shop@sandbox.test", "--to", to, "--ehlo", "client.test"]
    for header in HEADERS:
        command += ["--add-header", header]
    command += ["--h-Subject", "Paid", "--body", "Оплачен\n.\n..dots", *options]
    with anyio.fail_after(20):
        done = await anyio.run_process(command, check=False)
    return done.returncode, done.stdout.decode() + done.stderr.decode()


def secured(box: Sandbox, ca_file: Path | None = None) -> list[str]:
    """STARTTLS that trusts an authority, by default the sandbox's."""
    return ["--tls", "--tls-verify", "--tls-ca-path", str(ca_file or box.ca_file)]


def login(box: Sandbox, mechanism: str, password: str | None = None) -> list[str]:
    user, known = box.credentials["smtp_user"], box.credentials["smtp_password"]
    return ["--auth", mechanism, "--auth-user", user, "--auth-password", password or known]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_a_mail_over_starttls_with_a_login(mechanism: str) -> None:
    async with sandbox(LOCKED) as box:
        code, told = await swaks(box, *secured(box), *login(box, mechanism))
        assert code == 0, told
        [entry] = box.record
    assert (entry.recipient, entry.title) == (ANN, "Paid")
    assert entry.text.rstrip() == "Оплачен\n.\n..dots"
    assert (entry.details["tls"], entry.details["user"]) == ("yes", "sandbox")


async def test_implicit_tls() -> None:
    async with sandbox() as box:
        port = urlsplit(box.addresses["smtps"]).port
        options = ["--tls-on-connect", *secured(box)[1:], "--port", str(port)]
        code, told = await swaks(box, *options)
        assert code == 0, told
        assert box.record.of("smtp", ANN)[0].details["tls"] == "yes"


async def test_pipelined_commands() -> None:
    async with sandbox() as box:
        code, told = await swaks(box, "--pipeline", to=f"{ANN},bob@sandbox.test")
        assert code == 0, told
        assert len(box.record) == 2


async def test_a_raw_header_is_refused_without_smtputf8() -> None:
    async with sandbox() as box:
        code, told = await swaks(box, "--h-Subject", "Привет")
        assert (code, "550 5.6.7" in told) == (BAD_CONTENT, True), told
        assert not box.record


async def test_a_wrong_password() -> None:
    async with sandbox(LOCKED) as box:
        code, told = await swaks(box, *secured(box), *login(box, "PLAIN", "wrong"))
        assert (code, "535 5.7.8" in told) == (BAD_AUTH, True), told
        assert not box.record


async def test_no_login_in_the_clear() -> None:
    async with sandbox(LOCKED) as box:
        code, told = await swaks(box, *login(box, "PLAIN"))
        assert code == BAD_AUTH, told


async def test_an_authority_that_is_not_known() -> None:
    async with sandbox() as other, sandbox() as box:
        code, told = await swaks(box, *secured(box, other.ca_file))
        assert code == BAD_TLS, told
        assert not box.record


async def test_a_mailbox_that_does_not_exist() -> None:
    async with sandbox() as box:
        box.smtp.set_state(ANN, "unknown")
        code, told = await swaks(box)
        assert (code, "550 5.1.1" in told) == (BAD_RCPT, True), told
