"""Secrets and personal data never show in what a daemon prints, serves, publishes or refuses."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from router.ledger import State
from router.sandbox import ANY_TARGET, Fault, Sandbox, answer, sandbox
from tests.system.leaks import Evidence
from tests.system.place import Place
from tests.system.processes import daemon, eventually, run_to_its_end
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
_PEOPLE = (_EMAIL, _EMAIL.partition("@")[0], _CHAT, _NAME)


def _project(place: Place, box: Sandbox) -> Project:
    """Every sink fails in its own way: wrong credentials, refused people, echoing errors."""
    recipient = {"id": "data.user", "email": "data.email", "telegram": "data.chat"}
    host, _, port = box.addresses["smtp"].removeprefix("smtp://").rpartition(":")
    mail = {"type": "smtp", "host": host, "port": int(port), "from": "Shop <shop@shop.example>"}
    api = {"type": "http", "base_url": box.addresses["http"]}
    bearer = {"type": "bearer", "token": Env("API_TOKEN")}
    call = {"method": "POST", "path": "/p/{mail}", "params": {"mail": "{{ data.email }}"}}
    unrendered = call | {"json": {"x": "{{ data.email.nothing }}"}}
    steps: list[dict[str, Any]] = [
        {"sink": name, "template": "note"} for name in ("mail", "refused", "bot", "closed")
    ]
    steps += [{"sink": "hook", "template": "note"}]
    steps += [{"sink": "api", "request": call | {"json": {"who": "{{ data.name }}"}}}]
    steps += [{"id": "unrendered", "sink": "api", "request": unrendered}]
    project = place.project(
        box,
        env=_SECRETS,
        logs={"level": "debug"},
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
            "api": api | {"auth": bearer},
        },
        routes={
            "leaky": {"match": {"type": "user.joined"}, "recipient": recipient, "deliver": steps}
        },
    )
    layouts = {
        "chat.html": "Hello {{ data.name }}\n",
        "email.html": "---\nsubject: Hello {{ data.name }}\n---\n<p>Hello {{ data.name }}</p>\n",
        "webhook.json": '{"name": {{ data.name | tojson }}}\n',
    }
    write_template(project, "note", layouts)
    return project


async def test_nothing_leaks_from_a_daemon_whose_every_sink_fails(place: Place) -> None:
    await place.create()
    seen = Evidence()
    async with sandbox() as box:
        box.smtp.set_state(_EMAIL, "unknown")
        echo = f'{{"error": "no {_EMAIL} {_NAME}", "auth": "{_SECRETS["API_TOKEN"]}"}}'
        box.http.faults.plan(ANY_TARGET, always=answer(400, echo))
        box.smtp.faults.plan(
            ANY_TARGET, always=Fault("answer", status=550, body=f"5.1.1 <{_EMAIL}> {_NAME}")
        )
        project = _project(place, box)
        event = {"user": _NAME, "email": _EMAIL, "chat": _CHAT, "name": _NAME}
        async with daemon(project) as running:
            for number in range(2):
                value = orjson.dumps({"id": f"e-{number}", "type": "user.joined", **event})
                await publish_record(place.broker.bootstrap, place.topic, value)
            poison = orjson.dumps(event)[:-1]
            await publish_record(place.broker.bootstrap, place.topic, poison)
            await place.commits(3)
            letters = await place.dead_letters(5)

            async def are_halted() -> bool:
                scrape = await running.scrape()
                halted = [
                    scrape.total("router_sink_gates_closed", sink=sink, cause="halt")
                    for sink in ("mail", "bot")
                ]
                return halted == [1, 1]

            await eventually(are_halted, "both sinks are halted")
            for path in ("/", "/metrics", "/-/ready"):
                seen.found[path] = (await running.get(path, admin=True))[1].encode()
            seen.found["log"] = running.output.encode()
        assert len(letters) == 5
        for number, letter in enumerate(letters):
            headers = dict(letter.headers)
            seen.found[f"headers of dead letter {number}"] = repr(letter.headers).encode()
            assert headers["router-reason"]
    assert (await place.states(project))[State.DEAD] >= 4
    assert seen.leaks(*_SECRETS.values()) == []
    assert seen.leaks(*_PEOPLE) == []
    for file in project.folder.glob("ledger.db*"):
        seen.found[file.name] = file.read_bytes()
    assert seen.leaks(*_SECRETS.values()) == []
    assert seen.leaks(_EMAIL), "the ledger keeps messages: the search finds what is there"


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
