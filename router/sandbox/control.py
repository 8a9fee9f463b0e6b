"""The sandbox's own server: the inbox page for people, record, faults and clock for programs.

``GET /``                 the inbox page
``POST /people``          who is behind addresses there: ``{address: name}``, or a name's place
                          ``{"name", "address"}`` with what people would call the address
``GET /record?after=N``   accepted effects behind number N, oldest first, and keys seen repeatedly
``GET /raw/N``            the bytes of effect N as they came
``GET /refused?after=N``  what was refused, and why
``POST /faults``          ``{"provider", "target", "on": {"1": {"kind": ...}}, "always": {...}}``
``DELETE /faults``        forgets every plan
``POST /state``           ``{"provider", "target", "state"}``: what becomes of a recipient
``POST /clock``           ``{"advance_s": 60}``
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, final
from urllib.parse import parse_qsl

import orjson

from router.sandbox.faults import Fault, Faults
from router.sandbox.http import Answer, Call, Endpoint, json_answer
from router.sandbox.inbox import Inbox, asset
from router.sandbox.record import Record

_PAGE_LIMIT = 1000


class LookAlike(Protocol):
    """A provider of the sandbox, as the control server knows it."""

    @property
    def name(self) -> str: ...
    @property
    def faults(self) -> Faults: ...
    def set_state(self, target: str, state: str) -> None:
        """What becomes of messages to a recipient from now on."""
        ...


class ShiftableClock(Protocol):
    def now(self) -> float: ...
    def advance(self, seconds: float) -> None: ...


class _BadRequest(Exception):
    pass


@final
class Control:
    """What the control server may read and change, and its inbox page."""

    def __init__(
        self, record: Record, clock: ShiftableClock, providers: Mapping[str, LookAlike]
    ) -> None:
        self.record = record
        self.clock = clock
        self.providers = providers
        self.inbox = Inbox(record)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(lambda call: call.path, self._answer, Faults())

    def _answer(self, call: Call) -> Answer:
        if not _is_local(call.headers.get("Host", "")):
            return json_answer(403, {"error": "only by a loopback name"})
        try:
            if call.method == "GET":
                return self._get(call.path, dict(parse_qsl(call.query)))
            if call.method in ("POST", "DELETE"):
                return self._change(call)
        except (_BadRequest, ValueError, TypeError, KeyError) as error:
            return json_answer(400, {"error": str(error) or type(error).__name__})
        return json_answer(405, {"error": "only GET, POST and DELETE"})

    def _get(self, path: str, query: Mapping[str, str]) -> Answer:
        after = int(query.get("after", "0"))
        match path.split("/")[1:]:
            case [""]:
                return self.inbox.page(query)
            case ["cards"]:
                return self.inbox.cards(query)
            case ["mail", number]:
                return self.inbox.mail(int(number))
            case ["source", number]:
                return self.inbox.source(int(number))
            case ["raw", number]:
                return self._raw(int(number))
            case ["assets", name]:
                return asset(name)
            case ["record" | "inbox"]:
                entries = self.record.after(after, _PAGE_LIMIT)
                body = {
                    "received": [entry.as_dict() for entry in entries],
                    "total": len(self.record),
                    "repeats": self.record.repeats(),
                }
                return json_answer(200, body)
            case ["refused"]:
                entries = self.record.refused[after : after + _PAGE_LIMIT]
                return json_answer(200, {"refused": [entry.as_dict() for entry in entries]})
            case _:
                return json_answer(404, {"error": "no such page"})

    def _raw(self, number: int) -> Answer:
        found = self.record.after(number - 1, 1) if number > 0 else ()
        if not found:
            return Answer(404)
        return Answer(200, found[0].raw, {"Content-Type": "application/octet-stream"})

    def _change(self, call: Call) -> Answer:
        change = _CHANGES.get((call.method, call.path))
        if change is None:
            return json_answer(404, {"error": "no such page"})
        fields: object = orjson.loads(call.body or b"{}")
        # Another site's script can't send this type without asking, and it would be told no.
        if "application/json" not in call.headers.get("Content-Type", ""):
            return json_answer(415, {"error": "send application/json"})
        if not isinstance(fields, dict):
            raise _BadRequest("send a JSON object")
        change(self, fields)
        return json_answer(200, {"ok": True, "now": self.clock.now()})

    def provider_of(self, fields: Mapping[str, Any]) -> LookAlike:
        """The provider that a change names."""
        name = fields["provider"]
        if name not in self.providers:
            raise _BadRequest(f"no provider {name!r}; there are {', '.join(self.providers)}")
        return self.providers[name]


def _plan_faults(control: Control, fields: Mapping[str, Any]) -> None:
    on = {int(call): Fault.from_dict(fault) for call, fault in fields.get("on", {}).items()}
    always = fields.get("always")
    control.provider_of(fields).faults.plan(
        fields["target"], on, Fault.from_dict(always) if always else None
    )


def _clear_faults(control: Control, fields: Mapping[str, Any]) -> None:
    for provider in control.providers.values():
        provider.faults.clear()


def _set_state(control: Control, fields: Mapping[str, Any]) -> None:
    control.provider_of(fields).set_state(fields["target"], fields["state"])


def _advance(control: Control, fields: Mapping[str, Any]) -> None:
    control.clock.advance(float(fields["advance_s"]))


def _introduce(control: Control, fields: Mapping[str, Any]) -> None:
    control.inbox.introduce(fields)


_CHANGES: Mapping[tuple[str, str], Callable[[Control, Mapping[str, Any]], None]] = {
    ("POST", "/faults"): _plan_faults,
    ("DELETE", "/faults"): _clear_faults,
    ("POST", "/people"): _introduce,
    ("POST", "/state"): _set_state,
    ("POST", "/clock"): _advance,
}


def _is_local(host: str) -> bool:
    return host.rpartition(":")[0] in ("127.0.0.1", "localhost") or host in (
        "127.0.0.1",
        "localhost",
    )
