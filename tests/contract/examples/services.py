"""Look-alikes of the services that the examples call, as strict as their documentation."""

from __future__ import annotations

import re
from base64 import b64encode
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

import orjson

from router.testing import Answer, Call, json_answer


class Service:
    """An API that accepts what it should, unless it was told what to say.

    Attributes:
        says: What it answers to sends instead of judging them.
        taken: What it accepted: path and decoded body.
    """

    def __init__(self) -> None:
        self.says: Answer | None = None
        self.taken: list[tuple[str, Any]] = []

    def answer(self, call: Call) -> Answer:
        if self.says is not None and self.is_send(call):
            return self.says
        return self.judge(call)

    def is_send(self, call: Call) -> bool:
        return True

    def judge(self, call: Call) -> Answer:
        raise NotImplementedError

    def take(self, call: Call, body: Any) -> None:
        self.taken.append((call.path, body))


def text(status: int, words: str, **headers: str) -> Answer:
    """An answer in plain text; headers are spelt as Python names."""
    names = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return Answer(status, words.encode(), {"Content-Type": "text/html", **names})


def decoded(call: Call) -> Any:
    """The JSON body, or None."""
    if call.headers.get("Content-Type", "").partition(";")[0] != "application/json":
        return None
    try:
        return orjson.loads(call.body)
    except orjson.JSONDecodeError:
        return None


class Slack(Service):
    """Incoming webhooks ("Sending messages using incoming webhooks", "Block Kit reference")."""

    PATH = "/services/T0123/B0456/planted"

    def judge(self, call: Call) -> Answer:
        if call.path != self.PATH:
            return text(404, "no_service")
        body = decoded(call)
        if call.method != "POST" or not isinstance(body, dict):
            return text(400, "invalid_payload")
        if not body.get("text") and not body.get("blocks"):
            return text(400, "no_text")
        if not all(map(_is_block, body.get("blocks", []))) or len(body.get("blocks", [])) > 50:
            return text(400, "invalid_blocks")
        self.take(call, body)
        return text(200, "ok")


def _is_block(block: Any) -> bool:
    match block:
        case {"type": "header", "text": {"type": "plain_text", "text": str(words)}}:
            return 0 < len(words) <= 150
        case {"type": "section", "fields": list(fields)}:
            return 0 < len(fields) <= 10 and all(_is_text(field, 2000) for field in fields)
        case {"type": "actions", "elements": list(elements)}:
            return 0 < len(elements) <= 25 and all(map(_is_button, elements))
        case _:
            return False


def _is_text(value: Any, most: int) -> bool:
    match value:
        case {"type": "plain_text" | "mrkdwn", "text": str(words)}:
            return 0 < len(words) <= most
        case _:
            return False


def _is_button(value: Any) -> bool:
    match value:
        case {"type": "button", "text": words, "url": str(url)}:
            return _is_text(words, 75) and re.match(r"https?://", url) is not None
        case _:
            return False


class Discord(Service):
    """Execute Webhook of the API reference: 204, or the message with ``wait=true``."""

    PATH = "/api/webhooks/112233/planted"

    def judge(self, call: Call) -> Answer:
        if not call.path.startswith("/api/webhooks/112233/"):
            return json_answer(404, {"message": "Unknown Webhook", "code": 10015})
        if call.path != self.PATH:
            return json_answer(401, {"message": "Invalid Webhook Token", "code": 50027})
        body = decoded(call)
        if not isinstance(body, dict):
            return json_answer(400, {"message": "The request body is not JSON", "code": 50109})
        if not body.get("content") and not body.get("embeds"):
            return json_answer(400, {"message": "Cannot send an empty message", "code": 50006})
        if len(body.get("content", "")) > 2000 or not all(map(_is_embed, body.get("embeds", []))):
            return json_answer(400, {"message": "Invalid Form Body", "code": 50035})
        self.take(call, body)
        if parse_qs(call.query).get("wait") != ["true"]:
            return Answer(204)
        return json_answer(200, {"id": f"99{len(self.taken)}", "content": body.get("content")})


def _is_embed(value: Any) -> bool:
    match value:
        case {"title": str(title), "description": str(words), "timestamp": str(at)}:
            datetime.fromisoformat(at)
            return len(title) <= 256 and len(words) <= 4096
        case _:
            return False


class Crm(Service):
    """A CRM behind OAuth 2 client credentials (RFC 6749 §4.4) with idempotency keys."""

    CLIENT, SECRET, SCOPES = "router", "planted", "contacts.write notes.write"

    def __init__(self) -> None:
        super().__init__()
        self.contacts: dict[str, Any] = {}
        self.tokens: list[str] = []
        self._notes: dict[str, str] = {}
        self._answers: dict[str, Answer] = {}

    def is_send(self, call: Call) -> bool:
        return call.path != "/oauth/token"

    def judge(self, call: Call) -> Answer:
        if call.path == "/oauth/token":
            return self._token(call)
        if call.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens[-1:]:
            return json_answer(401, {"error": "invalid_token"})
        key = call.headers.get("Idempotency-Key")
        if key is None:
            return json_answer(400, {"error": "idempotency_key_missing"})
        if key not in self._answers:
            self._answers[key] = self._do(call)
        return self._answers[key]

    def _token(self, call: Call) -> Answer:
        pair = b64encode(f"{self.CLIENT}:{self.SECRET}".encode()).decode()
        form = {name: values[0] for name, values in parse_qs(call.body.decode()).items()}
        if call.headers.get("Authorization") != f"Basic {pair}":
            return json_answer(401, {"error": "invalid_client"})
        if form.get("grant_type") != "client_credentials":
            return json_answer(400, {"error": "unsupported_grant_type"})
        if form.get("scope") != self.SCOPES:
            return json_answer(400, {"error": "invalid_scope"})
        self.tokens.append(f"token-{len(self.tokens)}")
        return json_answer(200, {"access_token": self.tokens[-1], "expires_in": 3600})

    def _do(self, call: Call) -> Answer:
        body = decoded(call)
        match call.method, call.path.split("/")[3:]:
            case "PUT", ["contacts", id]:
                return self._contact(call, id, body)
            case "POST", ["contacts", id, "notes"]:
                return self._note(call, id, body)
            case _:
                return json_answer(404, {"error": "not_found"})

    def _contact(self, call: Call, id: str, body: Any) -> Answer:
        match body:
            case {"name": str(), "email": str(), "plan": str(), "seats": int()}:
                self.contacts[id] = body
                self.take(call, body)
                return json_answer(200, {"id": f"contact-{len(self.contacts)}"})
            case _:
                return json_answer(422, {"error": "invalid_contact"})

    def _note(self, call: Call, id: str, body: Any) -> Answer:
        if id not in self.contacts:
            return json_answer(404, {"error": "contact_not_found"})
        match body:
            case {"external_id": str(note), "text": str(), "amount_minor": int()}:
                if note in self._notes:
                    return json_answer(409, {"error": "duplicate_note"})
                self._notes[note] = id
                self.take(call, body)
                return json_answer(201, {"id": f"note-{len(self._notes)}"})
            case _:
                return json_answer(422, {"error": "invalid_note"})


class SmsGateway(Service):
    """A gateway that answers 200 and says in ``code`` what became of the message."""

    KEY = "planted"

    def __init__(self) -> None:
        super().__init__()
        self._references: set[str] = set()

    def judge(self, call: Call) -> Answer:
        if call.method != "POST" or call.path != "/v1/messages":
            return json_answer(404, {"error": "not_found"})
        if call.headers.get("X-Api-Key") != self.KEY:
            return json_answer(200, {"code": 1, "message": "wrong key"})
        reference = call.headers.get("X-Client-Reference", "")
        match decoded(call):
            case {"to": str(to), "from": str(), "text": str(words)} as body:
                if not re.fullmatch(r"\+\d{7,15}", to):
                    return json_answer(200, {"code": 3, "message": "no such number"})
                if not 0 < len(words) <= 670:
                    return json_answer(200, {"code": 8, "message": "text too long"})
                if reference in self._references:
                    return json_answer(200, {"code": 6, "message": "sent before"})
                self._references.add(reference)
                self.take(call, body)
                return json_answer(200, {"code": 0, "id": len(self.taken)})
            case _:
                return json_answer(200, {"code": 9, "message": "not a message"})
