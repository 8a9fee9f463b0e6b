"""The smtp sink's DKIM signatures, verified by another implementation after the wire."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from router.messages import Delivered, EmailMessage
from router.sandbox import Received, SandboxSettings, SmtpSettings, sandbox
from router.sinks._dkim import Dkim, mail_signer, signed
from router.values import Secret
from tests.contract.sinks.harness import opened, smtp_options

pytestmark = pytest.mark.anyio

ANNA = "anna@example.com"
LONG = "Текст длиннее строки, " * 60
MAILS = {
    "plain": EmailMessage("Order", None, "Paid"),
    "alternatives": EmailMessage("Заказ №12 оплачен, спасибо! " * 8, "<p>Оплачен</p>", "Оплачен"),
    "encoded": EmailMessage("s", f"<p>{LONG}</p>", LONG),
    "quoted": EmailMessage("s", None, "x" * 2000 + " \t\n\nend \n\n\n"),
    "dots": EmailMessage("s", None, ".\n..\n.a \t b\n\n\n"),
    "empty": EmailMessage("s", None, ""),
    "blank": EmailMessage("s", None, " \n\t\n"),
    "unsubscribe": EmailMessage(
        "Sale",
        "<p>Sale</p>",
        "Sale",
        locale="ru_RU",
        reply_to="help@acme.example",
        unsubscribe_url="https://acme.example/u?" + "token=x&" * 90,
    ),
}


@cache
def keys() -> dict[str, Any]:
    return {
        "rsa": rsa.generate_private_key(65537, 2048),
        "rsa-4096": rsa.generate_private_key(65537, 4096),
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
    }


def pem(key: Any) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def record(key: Any) -> str:
    """The key's record in DNS."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return f"v=DKIM1; k=ed25519; p={base64.b64encode(raw).decode()}"
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={base64.b64encode(der).decode()}"


def verifies(mail: bytes, key: Any, name: str = "r1._domainkey.acme.example.") -> bool:
    def look_up(asked: bytes, timeout: int = 5) -> bytes | None:
        return record(key).encode() if asked.decode() == name else None

    return bool(dkim.verify(mail, dnsfunc=look_up))


async def received(mail: EmailMessage, key: Any, address: str = ANNA, **smtp: Any) -> Received:
    signing = {"selector": "r1", "key": pem(key)}
    async with sandbox(SandboxSettings(smtp=SmtpSettings(**smtp))) as box:
        async with opened("smtp", **smtp_options(box, dkim=signing)) as sink:
            assert isinstance(await sink.send(mail, address), Delivered)
        [found] = box.record
        return found


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
@pytest.mark.parametrize("mail", MAILS.values(), ids=MAILS)
async def test_mails_verify_after_the_wire(mail: EmailMessage, kind: str) -> None:
    key = keys()[kind]
    found = await received(mail, key)
    assert verifies(found.raw, key)
    assert "defects" not in found.details


async def test_a_large_key_keeps_lines_short() -> None:
    key = keys()["rsa-4096"]
    found = await received(MAILS["unsubscribe"], key)
    assert verifies(found.raw, key)
    signature = found.raw.partition(b"\r\nFrom:")[0]
    assert max(map(len, signature.split(b"\r\n"))) <= 110


async def test_an_international_address_is_signed_too() -> None:
    key = keys()["rsa"]
    found = await received(MAILS["alternatives"], key, "анна@почта.рф")
    assert not found.raw.isascii()
    assert verifies(found.raw, key)


@pytest.mark.parametrize("extensions", [frozenset(), frozenset({"8BITMIME"})])
async def test_what_is_signed_needs_no_encoding_on_its_way(extensions: frozenset[str]) -> None:
    key = keys()["rsa"]
    found = await received(MAILS["alternatives"], key, extensions=extensions)
    assert found.raw.isascii()
    assert verifies(found.raw, key)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Subject: Sale", b"Subject: Sold"),
        (b"<p>Sale</p>", b"<p>Sold</p>"),
        (b"List-Unsubscribe=One-Click", b"List-Unsubscribe=Twice"),
        (b"\r\nFrom: ", b"\r\nFrom: eve@example.com\r\nFrom: "),
        (b"\r\nSubject: ", b"\r\nSubject: Other\r\nSubject: "),
        (b"auto-generated", b"no"),
    ],
)
async def test_a_changed_mail_does_not_verify(old: bytes, new: bytes) -> None:
    key = keys()["ed25519"]
    raw = (await received(MAILS["unsubscribe"], key)).raw
    assert old in raw
    assert not verifies(raw.replace(old, new, 1), key)


async def test_another_key_does_not_verify() -> None:
    found = await received(MAILS["plain"], keys()["rsa"])
    assert not verifies(found.raw, keys()["rsa-4096"])


async def test_what_a_relay_may_do_leaves_the_signature_good() -> None:
    key = keys()["rsa"]
    raw = (await received(MAILS["unsubscribe"], key)).raw
    traced = b"Received: from a by b;\r\n Tue, 24 Nov 2026 12:00:00 +0000\r\n" + raw
    assert verifies(traced.replace(b"Subject: Sale", b"SUBJECT:  Sale ") + b"\r\n\r\n", key)


async def test_a_key_file_and_a_domain_of_its_own(tmp_path: Path) -> None:
    key = keys()["ed25519"]
    (tmp_path / "dkim.pem").write_text(pem(key))
    signing = {
        "domain": "mail.acme.example",
        "selector": "a.b",
        "key_file": str(tmp_path / "dkim.pem"),
    }
    async with sandbox() as box:
        async with opened("smtp", **smtp_options(box, dkim=signing)) as sink:
            await sink.send(MAILS["plain"], ANNA)
        [found] = box.record
    assert verifies(found.raw, key, "a.b._domainkey.mail.acme.example.")


async def test_each_of_several_keys_signs() -> None:
    old, new = keys()["rsa"], keys()["ed25519"]
    signing = [{"selector": "r1", "key": pem(old)}, {"selector": "e1", "key": pem(new)}]
    async with sandbox() as box:
        async with opened("smtp", **smtp_options(box, dkim=signing)) as sink:
            assert isinstance(await sink.send(MAILS["unsubscribe"], ANNA), Delivered)
        [found] = box.record
    records = {
        b"r1._domainkey.acme.example.": record(old).encode(),
        b"e1._domainkey.acme.example.": record(new).encode(),
    }

    def look_up(name: bytes, timeout: int = 5) -> bytes | None:
        return records.get(name)

    mail = dkim.DKIM(found.raw)
    assert [mail.verify(index, dnsfunc=look_up) for index in range(2)] == [True, True]
    assert found.raw.count(b"DKIM-Signature:") == 2


def encrypted() -> str:
    encryption = BestAvailableEncryption(b"password")
    return keys()["rsa"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


def elliptic() -> str:
    return pem(ec.generate_private_key(ec.SECP256R1()))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (lambda: "planted", "not an unencrypted private key"),
        (encrypted, "not an unencrypted private key"),
        (elliptic, "neither an RSA nor an Ed25519 key"),
    ],
)
def test_keys_that_can_not_sign(key: Any, message: str) -> None:
    with pytest.raises(OSError, match=message) as caught:
        mail_signer(Dkim(selector="r1", key=Secret(key())), "acme.example")
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"key": "a", "key_file": "b"},
        {"selector": "a b", "key": "a"},
        {"domain": "acme", "key": "a"},
        {"domain": "a;x=1.example", "key": "a"},
    ],
)
def test_configurations_that_are_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Dkim.model_validate({"selector": "r1", **changes})


@pytest.mark.parametrize(
    ("signing", "message"),
    [
        ([], "at least 1 item"),
        ([{"selector": "r1", "key": "a"}, {"selector": "r1", "key": "b"}], "same selector"),
        ([{"selector": "r1"}], "key: give one of key and key_file"),
    ],
)
async def test_lists_of_keys_that_are_refused(signing: Any, message: str) -> None:
    async with sandbox() as box:
        with pytest.raises(ValidationError, match=message):
            async with opened("smtp", **smtp_options(box, dkim=signing)):
                pass


WORDS = st.text(st.sampled_from("ab \t.\r\nЖ😀"), max_size=40)


@settings(max_examples=300, deadline=None)
@given(subject=WORDS, body=WORDS)
def test_any_mail_verifies(subject: str, body: str) -> None:
    key = keys()["ed25519"]
    signer = mail_signer(Dkim(selector="r1", key=Secret(pem(key))), "acme.example")
    head = f"From: a@acme.example\r\nSubject: {' '.join(subject.split())} x\r\n"
    text = "".join(f"{line}\r\n" for line in body.splitlines())
    mail = (head + "Content-Transfer-Encoding: 8bit\r\n\r\n" + text).encode()
    assert verifies(signed(mail, [signer], 1_767_323_045.0), key)
