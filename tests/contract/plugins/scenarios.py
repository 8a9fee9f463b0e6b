"""The built-in sinks as the conformance suite sees them: each against its look-alike.

A new sink is one more scenario: its message, where it goes, its options, and what its provider
says in each situation.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import orjson

from router.messages import (
    AnalyticsEvent,
    ChatMessage,
    EmailMessage,
    Message,
    PushMessage,
    Request,
    Target,
)
from router.sandbox import (
    Credentials,
    Fault,
    MaxSettings,
    Sandbox,
    SandboxSettings,
    SmtpSettings,
    TelegramSettings,
    answer,
    lost_answer,
    sandbox,
)
from router.sandbox.faults import Faults
from router.sinks import KINDS
from router.testing.providers import Provider, Situation, closed_port
from router.testing.sinks import EVENT_TIME, SinkScenario

Planned = tuple[str, Fault]
"""A fault, and the target of the look-alike that it is planned for."""

HI = ChatMessage("Hi <b>you</b>")
PAID = Request(path="/payments", body=b'{"type":"order.paid"}')
TRACKED = AnalyticsEvent("Order Paid", "person-1", EVENT_TIME, {"amount": 12})
MAIL = EmailMessage("Order 12", "<p>Paid</p>", "Paid")
ANNA = "anna@example.com"
NOWHERE = "it reaches nobody: there is no connection, and no provider to refuse anything"


class LookAlike:
    """A look-alike of the sandbox as the suite's provider."""

    def __init__(
        self,
        box: Sandbox,
        name: str,
        faults: Faults,
        target: str,
        said: Mapping[Situation, Fault | Planned],
        options: Mapping[str, Any],
        unreachable: Mapping[str, Any],
    ) -> None:
        self._box = box
        self._name = name
        self._faults = faults
        self._target = target
        self._said = said
        self._earlier = 0
        self.options = options
        self.unreachable = unreachable
        faults.plan(target)

    @property
    def requests(self) -> int:
        return self._earlier + self._faults.calls(self._target)

    @property
    def keys(self) -> Sequence[str | None]:
        return [entry.key for entry in self._box.record.of(self._name)]

    def behave(self, situation: Situation) -> None:
        said = self._said.get(situation)
        target, fault = said if isinstance(said, tuple) else (self._target, said)
        self._earlier = self.requests
        self._faults.clear()
        self._faults.plan(self._target)
        self._faults.plan(target, always=fault)


HTTP_ANSWERS: Mapping[Situation, Fault] = {
    Situation.LOSES_ANSWER: lost_answer(),
    Situation.SILENT: Fault("stall", seconds=60),
    Situation.UNAUTHORIZED: answer(401),
    Situation.LIMITED: answer(429, headers={"Retry-After": "7"}),
    Situation.FAILING: answer(503),
}


@dataclass(frozen=True, slots=True)
class Wired:
    """A sandbox with one look-alike told about.

    Attributes:
        name: The look-alike's, in the sandbox and in its record.
        target: Whom its faults are planned for.
        options: The sink's, for the sandbox and the look-alike's address.
        said: What it says in situations in its own words.
    """

    name: str
    target: str
    options: Callable[[Sandbox, str], Mapping[str, Any]]
    said: Mapping[Situation, Fault | Planned]
    settings: SandboxSettings = SandboxSettings()  # noqa: RUF009

    @asynccontextmanager
    async def __call__(self) -> AsyncGenerator[Provider]:
        async with sandbox(self.settings) as box:
            with closed_port() as closed:
                address = box.addresses[self.name]
                elsewhere = re.sub(r":\d+$", f":{closed}", address)
                yield LookAlike(
                    box,
                    self.name,
                    getattr(box, self.name).faults,
                    self.target,
                    self.said,
                    self.options(box, address),
                    self.options(box, elsewhere),
                )


def scenario(
    kind: str,
    message: Message,
    provider: Callable[[], AbstractAsyncContextManager[Provider]],
    **fields: Any,
) -> SinkScenario:
    return SinkScenario(KINDS.load(kind), message, provider, **fields)


TELEGRAM = scenario(
    "telegram",
    HI,
    Wired(
        "telegram",
        "4200",
        lambda box, url: {"base_url": url, "token": box.credentials["telegram_token"]},
        {
            **HTTP_ANSWERS,
            Situation.UNAUTHORIZED: answer(401, '{"ok":false,"error_code":401}'),
            Situation.LIMITED: answer(
                429, '{"ok":false,"error_code":429,"parameters":{"retry_after":7}}'
            ),
        },
        SandboxSettings(telegram=TelegramSettings(has_limits=False)),
    ),
    address="4200",
    has_key=True,
    secrets=(SandboxSettings().telegram.token, SandboxSettings().telegram.token.split(":")[1]),
)

MAX = scenario(
    "max",
    HI,
    Wired(
        "max",
        "4200",
        lambda box, url: {
            "base_url": url,
            "token": box.credentials["max_token"],
            "ca_file": str(box.ca_file),
        },
        HTTP_ANSWERS,
        SandboxSettings(max=MaxSettings(has_limits=False)),
    ),
    address="4200",
    has_key=True,
    secrets=(SandboxSettings().max.token,),
)

WEBHOOK = scenario(
    "webhook",
    PAID,
    Wired(
        "webhook",
        "/hooks/1",
        lambda box, url: {
            "url": f"{url}/hooks/1",
            "secrets": [box.credentials["webhook_secret"]],
            "allow_http": True,
            "allow_private": True,
        },
        HTTP_ANSWERS,
    ),
    has_key=True,
    secrets=(SandboxSettings().webhook_secrets[0].removeprefix("whsec_"),),
    impossible={Situation.UNAUTHORIZED: "a receiver's refusals are retried, as the standard says"},
)


def _http(auth: Mapping[str, str], *secrets: str) -> SinkScenario:
    def options(box: Sandbox, url: str) -> Mapping[str, Any]:
        given = dict(auth)
        if given["type"] == "oauth2":
            given["token_url"] = f"{box.addresses['http']}/oauth/token"
        return {"base_url": url, "auth": given, "idempotency_header": "Idempotency-Key"}

    wired = Wired("http", "/payments", options, HTTP_ANSWERS)
    return scenario("http", PAID, wired, has_key=True, secrets=secrets)


_OPEN = Credentials()
HTTP = _http({"type": "bearer", "token": _OPEN.bearer}, _OPEN.bearer)
HTTP_BASIC = _http(
    {"type": "basic", "username": _OPEN.basic[0], "password": _OPEN.basic[1]}, _OPEN.basic[1]
)
HTTP_OAUTH2 = _http(
    {"type": "oauth2", "client_id": _OPEN.client[0], "client_secret": _OPEN.client[1]},
    _OPEN.client[1],
)

_USER, _PASSWORD = next(iter(SmtpSettings().credentials.items()))
SMTP = scenario(
    "smtp",
    MAIL,
    Wired(
        "smtp",
        ANNA,
        lambda box, url: {
            "host": "127.0.0.1",
            "port": urlsplit(url).port,
            "from": "Acme <no-reply@acme.example>",
            "username": _USER,
            "password": _PASSWORD,
            "ca_file": str(box.ca_file),
        },
        {
            Situation.LOSES_ANSWER: Fault("reset", after_effect=True, command="."),
            Situation.SILENT: Fault("stall", seconds=60, command="."),
            Situation.UNAUTHORIZED: (_USER, answer(535, "5.7.8 credentials invalid")),
            Situation.LIMITED: answer(451, "4.7.1 greylisted, try again later"),
            Situation.FAILING: answer(451, "4.3.0 out of disk"),
        },
    ),
    address=ANNA,
    has_key=True,
    limit_s=None,
    secrets=(_PASSWORD,),
)

MIXPANEL = scenario(
    "mixpanel",
    TRACKED,
    Wired(
        "mixpanel",
        "/import",
        lambda box, url: {"base_url": url, "token": box.credentials["mixpanel_token"]},
        HTTP_ANSWERS,
    ),
    has_key=True,
    is_idempotent=True,
    secrets=(SandboxSettings().mixpanel.token,),
)

CARROTQUEST = scenario(
    "carrotquest",
    TRACKED,
    Wired(
        "carrotquest",
        "person-1",
        lambda box, url: {"base_url": url, "token": box.credentials["carrotquest_token"]},
        HTTP_ANSWERS,
    ),
    has_key=True,
    secrets=(SandboxSettings().carrotquest.token,),
)

PUSH = PushMessage("Order 12", "Paid")
_HEX = "0a" * 32

FCM = scenario(
    "fcm",
    PUSH,
    Wired(
        "fcm",
        "device-token-1",
        lambda box, url: {
            "base_url": url,
            "credentials_file": box.credentials["fcm_credentials_file"],
            "ca_file": str(box.ca_file),
        },
        HTTP_ANSWERS,
    ),
    target=Target("device-token-1", "device", platform="android"),
    has_key=True,
)

APNS = scenario(
    "apns",
    PUSH,
    Wired(
        "apns",
        _HEX,
        lambda box, url: {
            "production_url": url,
            "sandbox_url": url,
            "key_file": box.credentials["apns_key_file"],
            "key_id": box.credentials["apns_key_id"],
            "team_id": box.credentials["apns_team_id"],
            "topic": box.credentials["apns_topic"],
            "ca_file": str(box.ca_file),
        },
        {
            **HTTP_ANSWERS,
            Situation.UNAUTHORIZED: answer(403, '{"reason":"InvalidProviderToken"}'),
            Situation.LIMITED: answer(429, '{"reason":"TooManyRequests"}'),
        },
    ),
    target=Target(_HEX, "device", platform="ios", environment="production"),
    has_key=True,
    limit_s=None,
)

_ON_THIS_MACHINE = {
    situation: NOWHERE for situation in Situation if situation is not Situation.ACCEPTS
}


class _Local:
    """A place on this machine, and how to read the keys there."""

    def __init__(self, options: Mapping[str, Any], read: Callable[[], list[str]]) -> None:
        self.options = options
        self.unreachable = options
        self._read = read

    @property
    def requests(self) -> int:
        return len(self._read())

    @property
    def keys(self) -> Sequence[str | None]:
        return self._read()

    def behave(self, situation: Situation) -> None:
        assert situation is Situation.ACCEPTS


@asynccontextmanager
async def _console() -> AsyncGenerator[Provider]:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        yield _Local({}, lambda: re.findall(r"└─ ([0-9a-f]{32})", shown.getvalue()))


@asynccontextmanager
async def _file() -> AsyncGenerator[Provider]:
    with TemporaryDirectory() as folder:
        path = Path(folder, "out", "messages.jsonl")

        def read() -> list[str]:
            lines = path.read_bytes().splitlines() if path.exists() else []
            return [orjson.loads(line)["key"] for line in lines]

        yield _Local({"path": str(path)}, read)


CONSOLE = scenario(
    "console", HI, _console, address="4200", has_key=True, impossible=_ON_THIS_MACHINE
)
FILE = scenario("file", HI, _file, address="4200", has_key=True, impossible=_ON_THIS_MACHINE)

SCENARIOS = {
    "apns": APNS,
    "carrotquest": CARROTQUEST,
    "console": CONSOLE,
    "fcm": FCM,
    "file": FILE,
    "http": HTTP,
    "http-basic": HTTP_BASIC,
    "http-oauth2": HTTP_OAUTH2,
    "max": MAX,
    "mixpanel": MIXPANEL,
    "smtp": SMTP,
    "telegram": TELEGRAM,
    "webhook": WEBHOOK,
}
