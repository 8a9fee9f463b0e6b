"""Secrets and personal data never show in what a daemon prints, serves, publishes or refuses.

Messages, and with them what they are about, stand in three places that are theirs: the ledger's
blobs while a delivery is open or dead, the value of a dead letter (the original's own bytes), and
what an operator asks to see of one. Recipients' ids and dead addresses stand in feedback: whoever
keeps them has to know which.
"""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
import yaml

from router.ledger import State
from router.sandbox import ANY_TARGET, Fault, Sandbox, answer, sandbox
from tests.system.leaks import Evidence
from tests.system.place import Place
from tests.system.processes import (
    ROUTER,
    Daemon,
    daemon,
    environment,
    eventually,
    run_to_its_end,
)
from tests.system.projects import Env, Project, write_project, write_template
from tests.system.topics import publish_record

pytestmark = [pytest.mark.anyio, pytest.mark.kafka]

_SMTP_PASSWORD = "planted-smtp-pass/word+4711"
_BOT_TOKEN = "7000000999:AAplanted-0123456789abcdefghijklmno"
_HOOK_SECRET = "whsec_" + base64.b64encode(b"planted-webhook-secret-0815").decode()
_SECRETS = {
    "SMTP_PASSWORD": _SMTP_PASSWORD,
    "BOT_TOKEN": _BOT_TOKEN,
    "HOOK_SECRET": _HOOK_SECRET,
    "API_TOKEN": "planted-api-token-1234567890",
}
_EMAIL, _CHAT, _NAME = "anna.planted@post.example", "100004711", "Annaplanted"
_USER, _PHONE, _TEXT = "user-planted-77", "+79001004711", "Plantedtext of the message"
_CUSTOMER_SECRET = "whsec_" + base64.b64encode(b"planted-customer-secret-0816").decode()
_PEOPLE = (_EMAIL, _EMAIL.partition("@")[0], _CHAT, _NAME, _USER, _PHONE, _TEXT)
_EVENT = {
    "type": "user.joined",
    "user": _USER,
    "email": _EMAIL,
    "chat": _CHAT,
    "name": _NAME,
    "phone": _PHONE,
    "text": _TEXT,
}
_BUGGY = """
from contextlib import asynccontextmanager

from router.sinks import Channel, SinkConfig, SinkType


class BuggyConfig(SinkConfig):
    \"\"\"Fails, and quotes all that it knows.\"\"\"


class Buggy:
    async def send(self, parcel):
        try:
            raise KeyError(parcel.target.address)
        except KeyError as error:
            raise RuntimeError(f"{parcel!r} {parcel.message} {parcel.target}") from error


@asynccontextmanager
async def _open(config, tools):
    yield Buggy()


SINK = SinkType("buggy", BuggyConfig, lambda config: Channel.CHAT, "telegram", _open)
"""


def _install_buggy(folder: Path) -> str:
    """A plugin beside the router; the path to import from."""
    about = folder / "buggy-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: buggy\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[router.sinks]\nbuggy = buggy:SINK\n")
    (folder / "buggy.py").write_text(_BUGGY)
    return str(folder)


def _project(place: Place, box: Sandbox) -> Project:
    """Every sink fails in its own way: wrong credentials, refused people, echoing errors."""
    recipient = {
        "id": "data.user",
        "email": "data.email",
        "telegram": "data.chat",
        "name": "data.name",
        "endpoints": "data.endpoints",
    }
    host, _, port = box.addresses["smtp"].removeprefix("smtp://").rpartition(":")
    mail = {"type": "smtp", "host": host, "port": int(port), "from": "Shop <shop@shop.example>"}
    api = {"type": "http", "base_url": box.addresses["http"]}
    bearer = {"type": "bearer", "token": Env("API_TOKEN")}
    call = {"method": "POST", "path": "/p/{mail}", "params": {"mail": "{{ data.email }}"}}
    unrendered = call | {"json": {"x": "{{ data.email.nothing }}"}}
    steps: list[dict[str, Any]] = [
        {"sink": name, "template": "note"}
        for name in ("mail", "refused", "bot", "closed", "buggy", "hook", "customers")
    ]
    steps += [{"sink": "api", "request": call | {"json": {"who": "{{ data.name }}"}}}]
    steps += [{"id": "unrendered", "sink": "api", "request": unrendered}]
    project = place.project(
        box,
        env=_SECRETS | {"PYTHONPATH": _install_buggy(place.folder / "site")},
        source={"decode": {"secret_fields": ["data.endpoints[*].secrets"]}},
        logs={"level": "debug", "format": "json"},
        feedback={"file": "feedback.jsonl", "events": list(_FEEDBACK)},
        templates="templates",
        sinks={
            "mail": mail
            | {
                "username": "sandbox",
                "password": Env("SMTP_PASSWORD"),
                "ca_file": str(box.ca_file),
            },
            "refused": mail | {"security": "none"},
            "bot": {
                "type": "telegram",
                "base_url": box.addresses["telegram"],
                "token": Env("BOT_TOKEN"),
            },
            "closed": {
                "type": "telegram",
                "base_url": "http://127.0.0.1:9",
                "token": Env("BOT_TOKEN"),
            },
            "hook": {
                "type": "webhook",
                "url": box.addresses["webhook"] + "/hook",
                "secrets": [Env("HOOK_SECRET")],
                "allow_http": True,
                "allow_private": True,
            },
            "customers": {
                "type": "webhook",
                "to_customers": True,
                "event_hosts": ["127.0.0.1"],
                "allow_http": True,
                "allow_private": True,
            },
            "buggy": {"type": "buggy"},
            "api": api | {"auth": bearer},
        },
        routes={
            "leaky": {"match": {"type": "user.joined"}, "recipient": recipient, "deliver": steps}
        },
    )
    layouts = {
        "chat.html": "Hello {{ data.name }}\n{{ data.text }}\n",
        "email.html": "---\nsubject: Hello {{ data.name }}\n---\n<p>Hello {{ data.name }}</p>\n",
        "webhook.json": '{"name": {{ data.name | tojson }}}\n',
    }
    write_template(project, "note", layouts)
    return project


async def test_nothing_leaks_from_a_daemon_whose_every_sink_fails(place: Place) -> None:
    await place.create()
    seen = Evidence()
    async with sandbox() as box:
        _fail_everywhere(box)
        project = _project(place, box)
        endpoint = {
            "id": "e",
            "url": box.addresses["webhook"] + "/c",
            "secrets": [_CUSTOMER_SECRET],
        }
        event = _EVENT | {"endpoints": [endpoint]}
        async with daemon(project, "--no-watch") as running:
            for number in range(2):
                value = orjson.dumps({"id": f"e-{number}", **event})
                await publish_record(place.broker.bootstrap, place.topic, value)
            poison = orjson.dumps(event)[:-1]
            await publish_record(place.broker.bootstrap, place.topic, poison)
            await place.commits(3)
            letters = await place.dead_letters(5)
            await _until_halted(running)
            await _until_fed_back(project)
            for path in ("/", "/metrics", "/-/ready", "/silences", "/nothing"):
                seen.found[path] = (await running.get(path, admin=True))[1].encode()
            seen.found["a reload with a mistake"] = await _reload_broken(running, project)
            seen.found["log"] = running.output.encode()
        for number, letter in enumerate(letters):
            seen.found[f"headers of dead letter {number}"] = repr(letter.headers).encode()
            assert dict(letter.headers)["router-reason"]
        for command in _TOOLS:
            done = await _tool(project, *command)
            seen.found[" ".join(command)] = done.stdout + done.stderr
    assert b"a sink has a bug" in seen.found["log"]
    assert (await place.states(project))[State.DEAD] >= 4
    secrets = (*_SECRETS.values(), _CUSTOMER_SECRET)
    assert seen.leaks(*secrets, *_PEOPLE) == []
    await _look_where_messages_may_stand(project, letters, secrets)


_FEEDBACK = ("recipient_gone", "rejected", "dead", "suppressed")
_TOOLS = (("dead-letters", "list"), ("dead-letters", "list", "-o", "json"), ("sinks", "list"))


def _fail_everywhere(box: Sandbox) -> None:
    """Providers that quote what they were given, the credentials too."""
    told = f"no {_EMAIL} {_NAME} {_PHONE} {_TEXT}"
    echo = f'{{"error": "{told}", "auth": "{_SECRETS["API_TOKEN"]}"}}'
    box.smtp.set_state(_EMAIL, "unknown")
    box.http.faults.plan(ANY_TARGET, always=answer(400, echo))
    box.webhook.faults.plan(ANY_TARGET, always=answer(400, echo + _CUSTOMER_SECRET))
    box.smtp.faults.plan(ANY_TARGET, always=Fault("answer", status=550, body=f"5.1.1 {told}"))


async def _until_halted(running: Daemon) -> None:
    async def are_halted() -> bool:
        scrape = await running.scrape()
        halted = [
            scrape.total("router_sink_gates_closed", sink=sink, cause="halt")
            for sink in ("mail", "bot")
        ]
        return halted == [1, 1]

    await eventually(are_halted, "both sinks are halted")


async def _until_fed_back(project: Project) -> None:
    def is_fed_back() -> bool:
        file = project.folder / "feedback.jsonl"
        return file.exists() and b"router.rejected" in file.read_bytes()

    await eventually(is_fed_back, "feedback is written")


async def _reload_broken(running: Daemon, project: Project) -> bytes:
    """What is said of a configuration with a literal secret beside a mistake."""
    good = project.config.read_text()
    broken = yaml.safe_load(re.sub(r"!env '?(\w+)'?", r"\1", good))
    broken["sinks"]["bot"] |= {"token": _BOT_TOKEN, "nonsense": 1}
    project.config.write_text(yaml.dump(broken, default_flow_style=True, width=100_000))
    status, said = await running.call("POST", "/-/reload", admin=True)
    assert status == 422, said
    project.config.write_text(good)
    return said.encode()


async def _tool(project: Project, *command: str) -> subprocess.CompletedProcess[bytes]:
    options = [] if command[0] == "sinks" else ["-c", str(project.config)]
    with anyio.fail_after(60):
        return await anyio.run_process(
            [str(ROUTER), *command, *options], check=False, env=environment(project)
        )


async def _look_where_messages_may_stand(
    project: Project, letters: Sequence[Any], secrets: Sequence[str]
) -> None:
    """They do stand there, which shows that the search finds what is there."""
    ledger = Evidence({f.name: f.read_bytes() for f in project.folder.glob("ledger.db*")})
    assert {word for _, word in ledger.leaks(*_PEOPLE)} >= {_EMAIL, _TEXT, _USER}
    assert ledger.leaks(*_SECRETS.values()) == []
    values = Evidence({"values": b"".join(letter.value for letter in letters)})
    assert {word for _, word in values.leaks(*secrets, *_PEOPLE)} == {_CUSTOMER_SECRET, *_PEOPLE}
    feedback = Evidence({"feedback": (project.folder / "feedback.jsonl").read_bytes()})
    assert {word for _, word in feedback.leaks(*secrets, *_PEOPLE)} <= {
        _USER,
        _EMAIL,
        _EMAIL.partition("@")[0],
        _CHAT,
    }
    shown = await _tool(project, "dead-letters", "show", f"{letters[0].topic}/0/0")
    assert Evidence({"show": shown.stdout}).leaks(_EMAIL)
    assert Evidence({"show": shown.stdout}).leaks(*_SECRETS.values()) == []


_MAIL = {"type": "smtp", "host": "h", "from": "a@b.example"}
_MISTAKES = {
    "unknown key": {"sinks": {"mail": _MAIL | {"usrname": "x", "password": _SMTP_PASSWORD}}},
    "secret misspelt": {"sinks": {"mail": _MAIL | {"pasword": _SMTP_PASSWORD}}},
    "wrong type": {"sinks": {"mail": _MAIL | {"password": Env("SMTP_PASSWORD"), "from": 1}}},
    "wrong rate": {"sinks": {"bot": {"type": "telegram", "token": _BOT_TOKEN, "rate": "fast"}}},
    "wrong url": {"sinks": {"hook": {"type": "webhook", "url": "h", "secrets": [_HOOK_SECRET]}}},
    "not a signing secret": {
        "sinks": {"hook": {"type": "webhook", "url": "https://h", "secrets": [Env("API_TOKEN")]}}
    },
    "admin": {"admin": {"listen": "0.0.0.0:1", "token": _BOT_TOKEN, "probe": "x"}},
    "unknown type": {"sinks": {"bot": {"type": "telegramm", "token": _BOT_TOKEN}}},
    "no type": {"sinks": {"bot": {"token": _BOT_TOKEN, "rate": "1/s"}}},
    "unknown section": {"sinkss": {"bot": {"type": "telegram", "token": _BOT_TOKEN}}},
}


@pytest.mark.parametrize("mistake", _MISTAKES.values(), ids=_MISTAKES)
async def test_a_failing_configuration_shows_no_secret(
    tmp_path: Path, mistake: Mapping[str, Any]
) -> None:
    fields: dict[str, Any] = {
        "sources": {"lines": {"type": "stdin"}},
        "sinks": {"mail": _MAIL | {"password": _SMTP_PASSWORD, "username": "u"}},
        "routes": {"r": {"match": {"type": "t"}, "recipient": {"id": "id"}, "deliver": ["nobody"]}},
        "env": _SECRETS,
    }
    project = write_project(tmp_path, **(fields | dict(mistake)))
    # All on one line: excerpts show what stands beside a mistake.
    document = yaml.compose(project.config.read_text(), Loader=yaml.SafeLoader)
    document.flow_style = True
    project.config.write_text(yaml.serialize(document, width=100_000))
    done = await run_to_its_end(project)
    assert done.returncode == 78, done.stdout.decode()
    assert Evidence({"output": done.stdout}).leaks(*_SECRETS.values()) == []
