"""``/import``, ``/engage`` and ``/track`` of Mixpanel's ingestion API.

``/import`` is strict: it names every bad event and keeps the good ones. ``/engage`` and ``/track``
answer 200 to nearly everything; they drop what belongs to no known project without a word.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hmac
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final
from urllib.parse import parse_qsl

import orjson

from router.clock import Clock
from router.messages import Channel
from router.sandbox.faults import Faults
from router.sandbox.http import Answer, Call, Endpoint, json_answer
from router.sandbox.mixpanel.events import Identity, Invalid, check_event, time_ms
from router.sandbox.mixpanel.profiles import InvalidUpdate, apply, operation_of
from router.sandbox.record import Received, Record

_MOST_EVENTS = 2000
_MOST_UPDATES = 2000
_UPDATE_BYTES = 1_000_000
_TRACK_LIFE_S = 5 * 86400.0


@dataclass(frozen=True, slots=True)
class MixpanelSettings:
    """How the API behaves.

    Attributes:
        token: The project's token.
        service_account: User and secret; they need the project's number.
        project_id: The project's number.
        most_bytes: Of an uncompressed request. The vendor's pages disagree; this is the less.
        events_per_minute: Over a rolling minute; more is refused without a time to wait.
    """

    token: str = "5a4db0c3d2e1f0a9b8c7d6e5f4a3b2c1"
    service_account: tuple[str, str] = ("router.5a4db0.mp-service-account", "sandbox-mp-secret")
    project_id: int = 2195193
    most_bytes: int = 2_000_000
    events_per_minute: int = 1_800_000


class _Refusal(Exception):
    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


@final
class MixpanelApi:
    """One project."""

    name = "mixpanel"

    def __init__(
        self, record: Record, clock: Clock, settings: MixpanelSettings = MixpanelSettings()
    ) -> None:
        self.faults = Faults()
        self.settings = settings
        self.raw: list[Identity] = []
        self.profiles: dict[str, dict[str, Any]] = {}
        self._record = record
        self._clock = clock
        self._minute: deque[tuple[float, int]] = deque()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(lambda call: call.path, self._answer, self.faults)

    @property
    def report(self) -> Sequence[Identity]:
        """The events as reports count them: each identity once, in the order of arrival."""
        return tuple(dict.fromkeys(self.raw))

    def set_state(self, target: str, state: str) -> None:
        """People have no state; plan faults for a path instead.

        Raises:
            ValueError: always.
        """
        raise ValueError("Mixpanel has no recipients with a state; plan a fault for /import")

    def _answer(self, call: Call) -> Answer:
        try:
            match call.method, call.path:
                case "POST", "/import":
                    return self._import(call)
                case "POST", "/engage":
                    return self._verdict(call, self._engage(call))
                case "POST", "/track":
                    return self._verdict(call, self._track(call))
                case _:
                    raise _Refusal(404, "not found")
        except _Refusal as refusal:
            self._record.refuse(self.name, call.path, str(refusal))
            body = {"code": refusal.status, "error": str(refusal), "status": "error"}
            return json_answer(refusal.status, body)

    # Events -------------------------------------------------------------------------------------

    def _import(self, call: Call) -> Answer:
        query = dict(parse_qsl(call.query))
        self._admit(call.headers, query)
        events = self._events(call)
        if len(events) > _MOST_EVENTS:
            raise _Refusal(400, f"request exceeds {_MOST_EVENTS} events")
        self._count(len(events))
        failed: list[dict[str, Any]] = []
        for index, event in enumerate(events):
            try:
                identity = check_event(event, self._clock.now())
            except Invalid as error:
                self._record.refuse(self.name, _person_of(event), str(error))
                failed.append(_failed_record(index, event, error))
            else:
                self._keep(identity, event, call)
        imported = len(events) - len(failed)
        if failed and query.get("strict") == "1":
            body = {
                "code": 400,
                "error": "some data points in the request failed validation",
                "failed_records": failed,
                "num_records_imported": imported,
                "status": "Bad Request",
            }
            return json_answer(400, body)
        if _is_form(call):
            return json_answer(200, {"status": 1, "error": None})
        return json_answer(200, {"code": 200, "num_records_imported": imported, "status": "OK"})

    def _admit(self, headers: Mapping[str, str], query: Mapping[str, str]) -> None:
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        try:
            pair = base64.b64decode(given, validate=True).decode() if scheme == "Basic" else ""
        except (binascii.Error, UnicodeDecodeError):
            pair = ""
        if _same(pair, f"{self.settings.token}:"):
            return
        if not _same(pair, ":".join(self.settings.service_account)):
            raise _Refusal(401, "Invalid credentials")
        if query.get("project_id") != str(self.settings.project_id):
            raise _Refusal(401, "service account has no access to this project_id")

    def _events(self, call: Call) -> list[Any]:
        body = self._decoded(call)
        kind = call.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        try:
            match kind:
                case "application/json":
                    events: object = orjson.loads(body)
                case "application/x-ndjson":
                    events = [orjson.loads(line) for line in body.splitlines() if line.strip()]
                case "application/x-www-form-urlencoded":
                    events = _form_data(body)
                case _:
                    raise _Refusal(400, "Content-Type must be application/json or x-ndjson")
        except orjson.JSONDecodeError:
            raise _Refusal(400, "request body is not valid JSON") from None
        if not isinstance(events, list):
            raise _Refusal(400, "request body must be a list of events")
        return events

    def _decoded(self, call: Call) -> bytes:
        body = call.body
        if call.headers.get("Content-Encoding", "").lower() == "gzip":
            try:
                body = gzip.decompress(body)
            except (OSError, EOFError, zlib.error):
                raise _Refusal(400, "request body is not gzip") from None
        if len(body) > self.settings.most_bytes:
            raise _Refusal(413, f"request exceeds max size of {self.settings.most_bytes} bytes")
        return body

    def _count(self, events: int) -> None:
        now = self._clock.monotonic()
        while self._minute and now - self._minute[0][0] >= 60.0:
            self._minute.popleft()
        if events + sum(n for _, n in self._minute) > self.settings.events_per_minute:
            raise _Refusal(429, "rate limit exceeded")
        self._minute.append((now, events))

    def _keep(self, identity: Identity, event: Mapping[str, Any], call: Call) -> None:
        self.raw.append(identity)
        self._record.add(
            Received(
                provider=self.name,
                channel=Channel.ANALYTICS,
                recipient=identity.distinct_id,
                title=identity.event,
                text=orjson.dumps(event["properties"]).decode(),
                key=identity.insert_id,
                raw=orjson.dumps(event),
                details={
                    "kind": "event",
                    "path": call.path,
                    "time_ms": str(identity.time_ms),
                },
            )
        )

    def _track(self, call: Call) -> str | None:
        """What is wrong, or None; events of other projects and old ones vanish silently."""
        for event in _form_data(call.body):
            properties = event.get("properties") if isinstance(event, dict) else None
            if not isinstance(properties, dict) or not properties.get("token"):
                return "properties.token, missing or empty"
            time = time_ms(properties.get("time")) or round(self._clock.now() * 1000)
            is_old = time < (self._clock.now() - _TRACK_LIFE_S) * 1000
            if properties["token"] != self.settings.token or is_old:
                why = "older than five days" if is_old else "token of no known project"
                self._record.refuse(self.name, _person_of(event), f"dropped: {why}")
                continue
            identity = Identity(
                str(event.get("event")),
                time,
                str(properties.get("distinct_id", "")),
                str(properties.get("$insert_id", "")),
            )
            self._keep(identity, event, call)
        return None

    # Profiles -----------------------------------------------------------------------------------

    def _engage(self, call: Call) -> str | None:
        """What is wrong, or None. What is right in the same request is applied all the same."""
        if call.headers.get("Content-Encoding"):
            return "content encoding is not supported"
        kind = call.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            try:
                updates: object = orjson.loads(call.body)
            except orjson.JSONDecodeError:
                return "data, invalid JSON"
        else:
            updates = _form_data(call.body)
        if not isinstance(updates, list) or not updates:
            return "data, missing or empty"
        if len(updates) > _MOST_UPDATES:
            return f"data, more than {_MOST_UPDATES} updates"
        problem: str | None = None
        for update in updates:
            try:
                self._update(update, call)
            except InvalidUpdate as error:
                self._record.refuse(self.name, "", str(error))
                problem = problem or str(error)
        return problem

    def _update(self, update: Any, call: Call) -> None:
        if not isinstance(update, dict) or not update.get("$token"):
            raise InvalidUpdate("$token, missing or empty")
        person = str(update.get("$distinct_id") or "")
        if not person:
            raise InvalidUpdate("$distinct_id, missing or empty")
        if len(orjson.dumps(update)) > _UPDATE_BYTES:
            raise InvalidUpdate("update is larger than 1MB")
        operation = operation_of(update)
        if update["$token"] != self.settings.token:
            self._record.refuse(self.name, person, "dropped: token of no known project")
            return
        apply(self.profiles.setdefault(person, {}), operation, update[operation])
        self._record.add(
            Received(
                provider=self.name,
                channel=Channel.ANALYTICS,
                recipient=person,
                title=operation,
                text=orjson.dumps(update[operation]).decode(),
                raw=orjson.dumps(update),
                details={"kind": "profile", "path": call.path},
            )
        )

    def _verdict(self, call: Call, problem: str | None) -> Answer:
        """Status 200 in any case: a bare digit, or in ``verbose`` a reason."""
        query = dict(parse_qsl(call.query)) | dict(parse_qsl(call.body.decode("utf-8", "replace")))
        if query.get("verbose") != "1":
            return Answer(200, b"0" if problem else b"1", {"Content-Type": "text/plain"})
        return json_answer(200, {"status": 0 if problem else 1, "error": problem})


def _is_form(call: Call) -> bool:
    """As older clients send it: ``data`` in a form, and an answer of another shape."""
    kind = call.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind == "application/x-www-form-urlencoded"


def _form_data(body: bytes) -> list[Any]:
    """The ``data`` field: JSON, or base64 of it; one record or a list."""
    text = dict(parse_qsl(body.decode("utf-8", "replace"))).get("data", "")
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            value = orjson.loads(base64.b64decode(text, validate=True))
        except (binascii.Error, orjson.JSONDecodeError, ValueError):
            return []
    return value if isinstance(value, list) else [value]


def _failed_record(index: int, event: Any, error: Invalid) -> dict[str, Any]:
    properties = event.get("properties") if isinstance(event, dict) else None
    insert_id = properties.get("$insert_id") if isinstance(properties, dict) else None
    return {
        "index": index,
        "insert_id": insert_id if isinstance(insert_id, str) else "",
        "field": error.field,
        "message": str(error),
    }


def _person_of(event: Any) -> str:
    match event:
        case {"properties": {"distinct_id": str(person)}}:
            return person
        case _:
            return ""


def _same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode(), known.encode())
