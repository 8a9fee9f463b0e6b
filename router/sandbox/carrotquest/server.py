"""``/users/{id}/events`` and ``/users/{id}/props`` of the web API, with and without ``/v1``.

Parameters are read from the query and from urlencoded forms, as documented: a JSON body is no
parameter. Every answer is an envelope whose ``meta.status`` repeats the HTTP status.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final
from urllib.parse import parse_qsl, unquote

import orjson

from router.clock import Clock
from router.messages import Channel
from router.sandbox.carrotquest.values import (
    InvalidField,
    apply,
    check_operations,
    check_value,
    json_field,
    truth,
)
from router.sandbox.faults import Faults
from router.sandbox.http import Answer, Call, Endpoint, json_answer
from router.sandbox.limits import Bucket, take_all
from router.sandbox.record import Received, Record

TOKEN = "app.61234.0f1e2d3c4b5a69788796a5b4c3d2e1f0"
"""The token of a sandbox without other settings."""

_PATH = re.compile(r"(?:/v1)?/users/([^/]+)/(events|props)/?")
_FIRST_ID = 1_800_000_000_000_000_001
_NAME_LENGTH = 255


@dataclass(frozen=True, slots=True)
class CarrotquestSettings:
    """How the API behaves.

    Attributes:
        token: Of the app.
        answers_200: Refusals come with HTTP 200, and only ``meta.status`` tells.
        requests_per_s: More is refused with 429; None for no limit.
    """

    token: str = TOKEN
    answers_200: bool = False
    requests_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class PersonEvent:
    """An event as it stands with a person.

    Attributes:
        created: What the sender said; automatic messages are then not planned.
    """

    id: int
    person: int
    name: str
    params: Mapping[str, Any]
    created: float | None

    @property
    def is_automation_suppressed(self) -> bool:
        return self.created is not None


@dataclass(slots=True)
class Person:
    """A person, by Carrot quest's own id."""

    id: int
    user_id: str | None
    props: dict[str, Any] = field(default_factory=dict[str, Any])


class _Refusal(Exception):
    def __init__(self, status: int, error: str, message: str, fields: object = None) -> None:
        super().__init__(message)
        self.status, self.error, self.fields = status, error, fields


@final
class CarrotquestApi:
    """One app and its people."""

    name = "carrotquest"

    def __init__(
        self,
        record: Record,
        clock: Clock,
        settings: CarrotquestSettings = CarrotquestSettings(),
    ) -> None:
        self.faults = Faults()
        self.settings = settings
        self.people: dict[int, Person] = {}
        self.events: list[PersonEvent] = []
        self._by_user_id: dict[str, Person] = {}
        self._record = record
        self._clock = clock
        self._next_id = _FIRST_ID
        self._limit = (
            Bucket(clock, settings.requests_per_s, 1.0) if settings.requests_per_s else None
        )

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(_person_of, self._answer, self.faults)

    def person(self, user_id: str) -> Person | None:
        """Who has this id of the company's own."""
        return self._by_user_id.get(user_id)

    def set_state(self, target: str, state: str) -> None:
        """Makes a person, named by the company's id, ``known`` or ``unknown``.

        Raises:
            ValueError: there is no such state.
        """
        if state == "known":
            self._person_by_user_id(target)
        elif state == "unknown":
            if person := self._by_user_id.pop(target, None):
                del self.people[person.id]
        else:
            raise ValueError(f"no state {state!r} of a person; there are known and unknown")

    def _answer(self, call: Call) -> Answer:
        try:
            data = self._call(call)
        except _Refusal as refusal:
            self._record.refuse(self.name, _person_of(call), f"{refusal.error}: {refusal}")
            meta: dict[str, Any] = {
                "status": refusal.status,
                "error": refusal.error,
                "error_message": str(refusal),
            }
            if refusal.fields:
                meta["error_fields"] = refusal.fields
            status = 200 if self.settings.answers_200 else refusal.status
            return json_answer(status, {"meta": meta, "data": {}})
        return json_answer(200, {"meta": {"status": 200}, "data": data})

    def _call(self, call: Call) -> dict[str, Any]:
        params = _params(call)
        self._admit(call.headers, params)
        if self._limit is not None and take_all([self._limit]):
            raise _Refusal(429, "TooManyRequests", "Too many requests")
        match = _PATH.fullmatch(call.path)
        if match is None or call.method != "POST":
            raise _Refusal(404, "Error404", "Not found")
        try:
            if match[2] == "events":
                return self._track(match[1], params, call)
            return self._change(match[1], params, call)
        except InvalidField as error:
            fields = {error.field: str(error)}
            raise _Refusal(400, "ValidationError", str(error), fields) from None

    def _admit(self, headers: Mapping[str, str], params: Mapping[str, str]) -> None:
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        given = token if scheme in ("Token", "Bearer") else params.get("auth_token", "")
        if not hmac.compare_digest(given.encode(), self.settings.token.encode()):
            raise _Refusal(401, "NotAuthenticated", "Authentication credentials are wrong")

    def _track(self, name: str, params: Mapping[str, str], call: Call) -> dict[str, Any]:
        event = params.get("event", "")
        if not 1 <= len(event) <= _NAME_LENGTH:
            raise InvalidField("event", f"must be 1 to {_NAME_LENGTH} characters")
        properties = json_field("params", params.get("params"), {})
        for value in properties.values():
            check_value("params", value)
        created = _timestamp(params.get("created"))
        person = self._person(name, params)
        kept = PersonEvent(self._new_id(), person.id, event, properties, created)
        self.events.append(kept)
        self._record.add(
            Received(
                provider=self.name,
                channel=Channel.ANALYTICS,
                recipient=person.user_id or str(person.id),
                title=event,
                text=orjson.dumps(properties).decode(),
                key=call.headers.get("X-Request-Id"),
                raw=call.body,
                details={
                    "kind": "event",
                    "created": params.get("created", ""),
                    "automation": "suppressed" if kept.is_automation_suppressed else "planned",
                },
            )
        )
        is_text = truth(params.get("id_as_string"))
        return {
            "id": _id(kept.id, is_text),
            "created": int(created if created is not None else self._clock.now()),
            "type": {"id": _id(_FIRST_ID, is_text), "name": event, "score": 0, "visible": True},
            "user": _id(person.id, is_text),
            "props": properties,
        }

    def _change(self, name: str, params: Mapping[str, str], call: Call) -> dict[str, Any]:
        operations = json_field("operations", params.get("operations"), [])
        check_operations(operations)
        person = self._person(name, params)
        guesses_type = truth(params.get("parse_custom_props_type", "true"))
        for operation in operations:
            apply(person.props, operation, guesses_type=guesses_type)
        self._record.add(
            Received(
                provider=self.name,
                channel=Channel.ANALYTICS,
                recipient=person.user_id or str(person.id),
                title="props",
                text=orjson.dumps(operations).decode(),
                key=call.headers.get("X-Request-Id"),
                raw=call.body,
                details={"kind": "profile"},
            )
        )
        return {"id": _id(person.id, truth(params.get("id_as_string")))}

    def _person(self, name: str, params: Mapping[str, str]) -> Person:
        text = unquote(name)
        if truth(params.get("by_user_id")):
            return self._person_by_user_id(text)
        person = self.people.get(int(text)) if text.isascii() and text.isdigit() else None
        if person is None:
            raise _Refusal(400, "LookupError", "User with this id does not exist")
        return person

    def _person_by_user_id(self, user_id: str) -> Person:
        """Who has this id; somebody new where nobody has."""
        person = self._by_user_id.get(user_id)
        if person is None:
            person = Person(self._new_id(), user_id)
            self._by_user_id[user_id] = self.people[person.id] = person
        return person

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id


def _params(call: Call) -> dict[str, str]:
    params = dict(parse_qsl(call.query, keep_blank_values=True))
    kind = call.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        try:
            params |= dict(parse_qsl(call.body.decode(), keep_blank_values=True, errors="strict"))
        except UnicodeDecodeError:
            raise _Refusal(400, "BadRequest", "parameters must be UTF-8") from None
    return params


def _timestamp(text: str | None) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise InvalidField("created", "must be a UTC timestamp") from None


def _id(number: int, is_text: bool) -> int | str:
    return str(number) if is_text else number


def _person_of(call: Call) -> str:
    match = _PATH.fullmatch(call.path)
    return unquote(match[1]) if match else call.path
