"""Secrets and personal data planted in a project show in no output of any tool.

Every secret-typed option that there is has a plant of its own; a new one without fails the first
test here.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
import yaml
from pydantic import BaseModel

from router import directories, ledger, sinks, sources
from router.config.models import keys_of, mentions_secret, models_in
from router.config.sections import SETTINGS
from tests.contract.authoring.cli import Ran, run
from tests.system.leaks import Evidence

KINDS = {
    "sources": sources.KINDS,
    "sinks": sinks.KINDS,
    "ledger": ledger.KINDS,
    "directory": directories.KINDS,
}


class Planted(str):
    """A secret-typed option in the project below, by the path of its model."""


def _tls(path: str) -> dict[str, Any]:
    return {"cert_file": "c.pem", "key_file": "k.pem", "key_password": Planted(f"{path}.tls")}


def _kafka(path: str) -> dict[str, Any]:
    sasl = {"mechanism": "PLAIN", "username": "u", "password": Planted(f"{path}.sasl")}
    return {"bootstrap": "127.0.0.1:9", "tls": _tls(path), "sasl": sasl}


def _http(**auth: Any) -> dict[str, Any]:
    return {"type": "http", "base_url": "https://api.example", "auth": auth}


_OAUTH2 = {"type": "oauth2", "token_url": "https://login.example/token", "client_id": "router"}
_MAIL = {"type": "smtp", "host": "mail.example", "from": "a@shop.example", "username": "u"}

SECTIONS: Mapping[str, Any] = {
    "sources": {"main": {"type": "kafka", "topics": ["t"], "group": "g", **_kafka("source")}},
    "ledger": {
        "type": "postgres",
        "url": "postgresql://u@127.0.0.1:9/router",
        "password": Planted("postgres"),
        "tls": _tls("postgres"),
    },
    "admin": {"listen": "127.0.0.1:0", "token": Planted("admin")},
    "logs": {"hash_key": Planted("logs")},
    "dead_letters": {"kafka": _kafka("dead_letters")},
    "feedback": {"kafka": _kafka("feedback")},
}
SINKS: Mapping[str, Any] = {
    "mail": _MAIL
    | {"password": Planted("smtp"), "dkim": {"selector": "s", "key": Planted("dkim")}},
    "mail-oauth": _MAIL
    | {"auth": _OAUTH2 | {"client_secret": Planted("smtp-cs"),
                          "refresh_token": Planted("smtp-rt")}},
    "bot": {"type": "telegram", "token": Planted("telegram")},
    "max": {"type": "max", "token": Planted("max")},
    "hook": {"type": "webhook", "url": "https://h.example", "secrets": [Planted("webhook")]},
    "ios": {"type": "apns", "key": Planted("apns"), "key_id": "ABC123DEFG", "team_id": "DEF123GHIJ",
            "topic": "com.shop"},
    "ios-cert": {"type": "apns", "cert_file": "c.pem", "cert_password": Planted("apns-cert"),
                 "topic": "com.shop"},
    "android": {"type": "fcm", "credentials": Planted("fcm")},
    "people": {
        "type": "mixpanel",
        "token": Planted("mixpanel"),
        "service_account": {"username": "u", "project_id": "1", "secret": Planted("mixpanel-sa")},
    },
    "carrot": {"type": "carrotquest", "token": Planted("carrotquest")},
    "stream": {"type": "kafka", "topic": "out", **_kafka("sink")},
    "basic": _http(type="basic", username="u", password=Planted("basic")),
    "bearer": _http(type="bearer", token=Planted("bearer")),
    "header": _http(type="header", name="X-Key", value=Planted("header")),
    "path": _http(type="path", value=Planted("path")),
    "query": _http(type="query", name="key", value=Planted("query")),
    "oauth": _http(
        **_OAUTH2, client_secret=Planted("oauth-cs"), refresh_token=Planted("oauth-rt")
    ),
}  # fmt: skip
ELSEWHERE = frozenset({"ledger.redis.password", "ledger.redis.tls.key_password"})
"""A project has one ledger; that of Redis has its options from the same models."""


def secret(path: str) -> str:
    """The plant of an option: recognisable, and of the shape that it needs."""
    name = f"planted-{path}".replace(".", "-").replace("_", "-")
    match path:
        case "webhook":
            return "whsec_" + base64.b64encode(f"{name}-0123456789abcdefgh".encode()).decode()
        case "telegram":
            return f"700000099:AA{name}-0123456789abcdefghij"
        case "fcm":
            account = {"type": "service_account", "client_email": "a@b.example", "project_id": "p"}
            return orjson.dumps(account | {"private_key": name}).decode()
        case _:
            return f"{name}-4711"


def plants(value: Any = (SECTIONS, SINKS)) -> Iterator[Planted]:
    if isinstance(value, Planted):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from plants(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from plants(item)


SECRETS = {path: secret(path) for path in plants()}
WORDS = [*SECRETS.values(), "planted-fcm", "planted-webhook"]
PEOPLE = (
    "anna.planted@post.example",
    "Annaplanted",
    "+7 900 100-47-11",
    "100004711",
    "Plantedtext",
)


# The project ---------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    spelling = "env"

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def planted(self, path: Planted) -> yaml.Node:
        name = _variable(path)
        match self.spelling:
            case "env":
                return self.represent_scalar("!env", name)
            case "file":
                return self.represent_scalar("!file", f"{name}.txt")
            case "secret":
                return self.represent_scalar("!secret", f"${{{name}}}")
            case _:
                return self.represent_str(SECRETS[path])


_Dumper.add_representer(Planted, _Dumper.planted)


def _variable(path: str) -> str:
    return path.upper().replace("-", "_").replace(".", "_")


def write_project(folder: Path, spelling: str, *, one_line: bool = False, **changes: Any) -> Path:
    """The project; ``literal`` spelling writes secrets as they are."""

    class Dumper(_Dumper):
        pass

    Dumper.spelling = spelling
    folder = folder / "config"
    folder.mkdir(exist_ok=True)
    for path, text in SECRETS.items():
        (folder / f"{_variable(path)}.txt").write_text(text)
    route = {
        "match": {"type": "user.joined", "data.endpoints": {"exists": True}},
        "recipient": {"id": "data.user", "email": "data.email", "telegram": "data.chat"},
        "template": "note",
        "deliver": ["mail", "bot"],
    }
    document = {
        **SECTIONS,
        "categories": {"c": {"description": "Things", "owner": "shop"}},
        "defaults": {"category": "c"},
        "sinks": SINKS,
        "include": ["routes.yaml"],
        **changes,
    }
    width = 1_000_000 if one_line else 100
    text = yaml.dump(document, Dumper=Dumper, default_flow_style=one_line, width=width)
    (folder / "router.yaml").write_text(text)
    (folder / "routes.yaml").write_text(yaml.dump({"routes": {"joined": route}}))
    template = folder.parent / "templates" / "note"
    template.mkdir(parents=True, exist_ok=True)
    (template / "template.yaml").write_text(
        "description: d\nowner: o\nlocales: {required: [en], default: en}\n"
        "variables:\n  name: {type: text, pii: true, examples: [Zoe]}\n"
        "  text: {type: text, pii: true, examples: [Hi]}\n"
    )
    (template / "email.txt").write_text("---\nsubject: {{ name }}\n---\n{{ text }}\n")
    (template / "chat.html").write_text("{{ name }}: {{ text }}\n")
    return folder / "router.yaml"


EVENT = {
    "id": "e-1",
    "type": "user.joined",
    "user": "u-1",
    "email": PEOPLE[0],
    "name": PEOPLE[1],
    "phone": PEOPLE[2],
    "chat": PEOPLE[3],
    "text": PEOPLE[4],
    "endpoints": [
        {"id": "ep", "url": "https://c.example", "secrets": ["whsec_plantedcustomer1234567"]}
    ],
}
CUSTOMERS = "plantedcustomer1234567"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path, text in SECRETS.items():
        monkeypatch.setenv(_variable(path), text)
    monkeypatch.chdir(tmp_path)
    for file in ("c.pem", "k.pem"):
        (tmp_path / file).write_text("")


def shown(*runs: Ran) -> Evidence:
    return Evidence({f"run {n}": f"{ran.out}{ran.err}".encode() for n, ran in enumerate(runs)})


# What holds ----------------------------------------------------------------------------------


def _secret_options(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for key, info in keys_of(model).items():
        if mentions_secret(info.annotation):
            yield f"{path}.{key}"
        for inner in models_in(info.annotation):
            yield from _secret_options(inner, f"{path}.{key}{_mark(inner)}")


def _mark(model: type[BaseModel]) -> str:
    """Tells the models of a union apart, as `<basic>`."""
    kind = model.model_fields.get("type")
    return f"<{get_args(kind.annotation)[0]}>" if kind and get_args(kind.annotation) else ""


def _options_of(document: Any, path: str) -> Iterator[str]:
    if isinstance(document, Planted):
        yield path
    elif isinstance(document, list):
        for item in document:
            yield from _options_of(item, path)
    elif isinstance(document, Mapping):
        mark = f"<{document['type']}>" if "type" in document and path.count(".") > 1 else ""
        for key, value in document.items():
            yield from _options_of(value, f"{path}{mark}.{key}")


def test_every_secret_option_has_a_plant() -> None:
    wanted = {option for name, model in SETTINGS.items() for option in _secret_options(model, name)}
    for section, kinds in KINDS.items():
        for name in kinds.names():
            wanted |= set(_secret_options(kinds.load(name).config, f"{section}.{name}"))
    planted = {o for name in SETTINGS for o in _options_of(SECTIONS.get(name), name)}
    for section, parts in (("sources", SECTIONS["sources"]), ("sinks", SINKS)):
        for part in parts.values():
            planted |= set(_options_of(part, f"{section}.{part['type']}"))
    planted |= set(_options_of(SECTIONS["ledger"], "ledger.postgres"))
    assert wanted - planted == ELSEWHERE
    assert planted <= wanted


@pytest.mark.parametrize("spelling", ["env", "file", "secret"])
def test_tools_show_no_secret_and_no_text_of_a_message(tmp_path: Path, spelling: str) -> None:
    decode = {"secret_fields": ["data.endpoints[*].secrets"]}
    source = SECTIONS["sources"]["main"] | {"decode": decode}
    config = write_project(tmp_path, spelling, sources={"main": source})
    (tmp_path / "events.jsonl").write_bytes(orjson.dumps(EVENT) + b"\n")
    checked = run("check", "-c", config, "-f", "json")
    assert checked.code == 0, checked.out
    tools = [
        checked,
        run("check", "-c", config, "--strict"),
        run("sinks", "list"),
        run("schema"),
        run("render", "note", "-c", config),
        run("dry-run", "events.jsonl", "-c", config, "--no-content"),
        run("dry-run", "events.jsonl", "-c", config, "--no-content", "-o", "json"),
        run("explain", "events.jsonl", "-c", config, "--all", "--no-content"),
        run("explain", "events.jsonl", "-c", config, "--all", "--no-content", "-o", "json"),
    ]
    assert shown(*tools).leaks(*WORDS, CUSTOMERS, PEOPLE[1], PEOPLE[2], PEOPLE[4]) == []
    # Whom it would go to is what a rehearsal is for; what it would say only if that is asked.
    told = run("dry-run", "events.jsonl", "-c", config)
    assert shown(told).leaks(*WORDS, CUSTOMERS) == []
    assert shown(told).leaks(PEOPLE[0], PEOPLE[4])


def _mistakes() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, sink in SINKS.items():
        for what, change in (
            ("unknown key", {"nonsense": 1}),
            ("unknown type", {"type": "nonsense"}),
            ("no type", {"type": None}),
            ("wrong type", {"timeout": "soon"}),
        ):
            yield f"{name}: {what}", {"sinks": SINKS | {name: sink | change}}
    for name, section in SECTIONS.items():
        if name != "sources":
            yield f"{name}: unknown key", {name: section | {"nonsense": 1}}
    yield "sources: unknown key", {"sources": {"main": SECTIONS["sources"]["main"] | {"x": 1}}}
    yield "ledger: unknown type", {"ledger": SECTIONS["ledger"] | {"type": "postgress"}}
    yield "section misspelt", {"sinkz": SINKS}
    yield "a list of sinks", {"sinks": [SINKS]}


MISTAKES = dict(_mistakes())


@pytest.mark.parametrize("changes", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_beside_literal_secrets_show_none(
    tmp_path: Path, changes: Mapping[str, Any]
) -> None:
    """All on one line: excerpts show what stands beside a mistake. Then cut off in the middle."""
    config = write_project(tmp_path, "literal", one_line=True, **changes)
    whole = run("check", "-c", config)
    assert whole.code == 1
    assert shown(whole, run("check", "-c", config, "-f", "json")).leaks(*WORDS) == []
    text = config.read_text()
    config.write_text(text[: len(text) // 2])
    assert shown(run("check", "-c", config)).leaks(*WORDS) == []
    config = write_project(tmp_path, "literal", **changes)
    config.write_text(config.read_text().replace("4711", "4711: x"))
    assert shown(run("check", "-c", config)).leaks(*WORDS) == []
