"""``router sinks``: what is installed, and one test message through a configured sink."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import orjson
import pytest
from click.testing import CliRunner, Result

from router.cli import main
from router.sandbox import Sandbox, answer, lost_answer, sandbox
from router.testing import closed_port
from tests.contract.plugins.distributions import PAGER
from tests.contract.plugins.distributions import site as new_site

pytestmark = pytest.mark.anyio


def run(*args: str, answers: str = "") -> Result:
    return CliRunner().invoke(main, ["sinks", *args], input=answers)


async def sent_through(folder: Path, *args: str, answers: str = "") -> Result:
    """The command in a thread, so that the look-alikes go on answering."""
    command = ("test", *args, "-c", str(folder / "router.yaml"))
    return await anyio.to_thread.run_sync(lambda: run(*command, answers=answers))


def project(folder: Path, sinks: str, head: str = "") -> Path:
    lines = ["sources: {lines: {type: stdin}}", "ledger: {type: memory}", head, "sinks:"]
    lines += [f"  {line}" for line in sinks.strip().split("\n")]
    (folder / "router.yaml").write_text("\n".join(lines))
    return folder


def telegram(box: Sandbox) -> str:
    token = box.credentials["telegram_token"]
    url = box.addresses["telegram"]
    return f"chat: {{type: telegram, base_url: '{url}', token: !secret '{token}'}}"


class TestList:
    def test_every_type_is_listed_plugins_as_such(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site = new_site(tmp_path, monkeypatch)
        site.install("acme-pager", {"router.sinks": {"pager": "acme_pager:SINK"}}, acme_pager=PAGER)
        site.install("acme-horn", {"router.sinks": {"horn": "acme_horn:SINK"}}, acme_horn="SINK=1")
        shown = run()
        assert shown.exit_code == 0
        lines = shown.output.splitlines()
        assert any(line.startswith("telegram ") for line in lines)
        assert any(
            line.startswith("pager ")
            and line.endswith("Pages through the company's pager. (acme-pager 1.2)")
            for line in lines
        )
        assert any(
            line.startswith("horn ")
            and "can't be used: plugin acme_horn:SINK of acme-horn 1.2 exports int" in line
            for line in lines
        )
        listed = {one["type"]: one for one in orjson.loads(run("-o", "json").output)["sinks"]}
        assert listed["pager"]["plugin"] == "acme-pager 1.2"
        assert listed["pager"]["options"][0]["name"] == "region"
        assert listed["telegram"]["plugin"] is None
        assert "not a SinkType" in listed["horn"]["error"]

    def test_options_of_one_with_and_without_the_word_list(self) -> None:
        assert run("smtp").output == run("list", "smtp").output
        assert "The relay's host name." in run("smtp").output

    def test_an_unknown_type(self) -> None:
        shown = run("smpt")
        assert shown.exit_code == 2
        assert 'there is no sink type "smpt". Did you mean "smtp"?' in shown.output


class TestTest:
    async def test_a_chat_message_arrives_marked(self, tmp_path: Path) -> None:
        async with sandbox() as box:
            shown = await sent_through(
                project(tmp_path, telegram(box)), "chat", "--to", "42", "--message", "a < b"
            )
            [received] = box.record
        assert shown.exit_code == 0, shown.output
        assert shown.output.startswith("chat (telegram) → 42: delivered in 0.")
        assert "its id there is" in shown.output
        assert received.text == "[test] a < b"
        assert received.recipient == "42"

    async def test_json_for_programs(self, tmp_path: Path) -> None:
        async with sandbox() as box:
            shown = await sent_through(
                project(tmp_path, telegram(box)), "chat", "--to", "42", "--output", "json"
            )
            [received] = box.record
        found = orjson.loads(shown.output)
        assert found.pop("took_s") > 0
        assert found.pop("provider_id")
        assert found.pop("key") == received.key
        assert found == {
            "sink": "chat",
            "type": "telegram",
            "channel": "chat",
            "to": "42",
            "outcome": "delivered",
            "reason": None,
            "after_s": None,
            "waits": None,
            "recipient_gone": False,
            "reached": True,
        }

    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            (
                lambda box: box.telegram.faults.plan("42", always=answer(401)),
                "token_refused: Telegram refused the bot's token; the sink would pause",
            ),
            (
                lambda box: box.telegram.set_state("42", "blocked"),
                "the address would not be used again",
            ),
            (
                lambda box: box.telegram.faults.plan(
                    "42", always=answer(429, "{}", {"Retry-After": "9"})
                ),
                "it would be tried again, not before 9s; ",
            ),
            (
                lambda box: box.telegram.faults.plan("42", always=lost_answer()),
                "connection_lost: the connection broke before an answer; look whether it arrived",
            ),
        ],
    )
    async def test_a_refusal_is_told_in_words(
        self, tmp_path: Path, spoil: Callable[[Sandbox], Any], words: str
    ) -> None:
        async with sandbox() as box:
            spoil(box)
            shown = await sent_through(project(tmp_path, telegram(box)), "chat", "--to", "42")
        assert shown.exit_code == 1
        assert words in shown.output

    async def test_a_provider_that_is_not_there(self, tmp_path: Path) -> None:
        with closed_port() as port:
            folder = project(
                tmp_path, f"mail: {{type: smtp, host: 127.0.0.1, port: {port}, from: a@b.example}}"
            )
            shown = await sent_through(folder, "mail", "--to", "me@acme.example")
        assert shown.exit_code == 3
        assert "connection_refused" in shown.output

    async def test_a_mail_a_request_and_an_event(self, tmp_path: Path) -> None:
        async with sandbox() as box:
            port = urlsplit(box.addresses["smtp"]).port
            folder = project(
                tmp_path,
                f"""
mail: {{type: smtp, host: 127.0.0.1, port: {port}, from: a@b.example, ca_file: {box.ca_file}}}
crm:
  type: http
  base_url: {box.addresses["http"]}
  auth: {{type: bearer, token: {box.credentials["http_bearer"]}}}
product:
  type: mixpanel
  base_url: {box.addresses["mixpanel"]}
  token: {box.credentials["mixpanel_token"]}
""",
            )
            for args in (
                ("mail", "--to", "me@acme.example"),
                ("crm", "--to", "/notes", "--method", "put", "--body", '{"note": 1}'),
                ("product", "--to", "me"),
            ):
                shown = await sent_through(folder, *args)
                assert shown.exit_code == 0, shown.output
            mail, call, event = box.record
        assert mail.title == "[test] Router test"
        assert call.title == "PUT /notes"
        assert call.raw == b'{"note":1}'
        assert event.recipient == "me"

    async def test_what_is_missing_is_said_before_anything_is_sent(self, tmp_path: Path) -> None:
        async with sandbox() as box:
            folder = project(tmp_path, telegram(box))
            for args, words in [
                (("chat",), 'sink "chat" needs --to with a Telegram chat id'),
                (("chat", "--to", "me@x"), '"me@x" is not a Telegram chat id'),
                (("chta", "--to", "42"), 'there is no sink "chta". Did you mean "chat"?'),
                (("chat", "--to", "42", "--body", "{"), "--body is not JSON"),
            ]:
                shown = await sent_through(folder, *args)
                assert shown.exit_code == 2
                assert words in shown.output
            assert len(box.record) == 0

    async def test_production_is_asked_about(self, tmp_path: Path) -> None:
        async with sandbox() as box:
            folder = project(tmp_path, telegram(box), "production: true")
            refused = await sent_through(folder, "chat", "--to", "42", answers="n\n")
            assert refused.exit_code == 1
            assert "This is production. Send a test through chat to 42?" in refused.output
            assert len(box.record) == 0
            assert (await sent_through(folder, "chat", "--to", "42", answers="y\n")).exit_code == 0
            assert (await sent_through(folder, "chat", "--to", "42", "--yes")).exit_code == 0
            assert len(box.record) == 2

    async def test_a_group_names_its_sinks(self, tmp_path: Path) -> None:
        folder = project(
            tmp_path,
            "phone: {type: console, channel: push}\nmobile: {type: by_platform, other: phone}",
        )
        shown = await sent_through(folder, "mobile", "--to", "token")
        assert shown.exit_code == 2
        assert 'sink "mobile" is a group; test one of its sinks: phone' in shown.output

    async def test_a_sink_that_can_not_be_opened(self, tmp_path: Path) -> None:
        folder = project(tmp_path, "out: {type: file, path: /proc/no-such/file}")
        shown = await sent_through(folder, "out", "--to", "me")
        assert shown.exit_code == 3
        assert 'sink "out" can\'t be opened: ' in shown.output
