"""The Bot API's ``POST /messages`` and ``GET /me``, as strict as it is documented to be.

People are named by ``user_id`` and are written to in a dialog, whose own ``chat_id`` leads
nowhere; groups and channels have negative ids. Everybody is there until told otherwise.
"""

from __future__ import annotations

import hmac
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, final
from urllib.parse import parse_qsl

from router.clock import Clock
from router.messages import Channel
from router.sandbox.faults import Faults
from router.sandbox.http import Answer, Call, Endpoint, json_answer
from router.sandbox.limits import Bucket, take_all
from router.sandbox.max.body import NewMessage, Refusal, read_message
from router.sandbox.record import Received, Record

TOKEN = "f9LHodD0cOIsandboxMaxToken0123456789"
"""The token of a sandbox without other settings."""

_ID = re.compile(r"-?\d{1,19}", re.ASCII)
_LARGEST = 2**63 - 1
_DIALOGS_FROM = 900_000_000_000
_STATES: Mapping[str, tuple[int, str, str]] = {
    "suspended": (403, "chat.denied", "error.dialog.suspended"),
    "no_rights": (403, "access.denied", "You don't have permissions to write to this chat"),
    "unknown": (404, "", ""),
}


@dataclass(frozen=True, slots=True)
class MaxSettings:
    """How the API behaves.

    Attributes:
        token: The one bot's token.
        has_limits: 30 requests a second in all, 2 messages a second into one chat; refusals
            name no time to wait.
        is_moderated: False refuses every chat, as MAX does for a bot that nobody has checked.
        plain_errors: Refusals come as plain text, as some of MAX's do.
    """

    token: str = TOKEN
    has_limits: bool = True
    is_moderated: bool = True
    plain_errors: bool = False


@final
class MaxApi:
    """One bot and its chats."""

    name = "max"

    def __init__(self, record: Record, clock: Clock, settings: MaxSettings = MaxSettings()) -> None:
        self.faults = Faults()
        self.settings = settings
        self._record = record
        self._clock = clock
        self._states: dict[str, str] = {}
        self._seq: Counter[str] = Counter()
        self._unready: Counter[str] = Counter()
        self._all = Bucket(clock, 30, 1.0)
        self._chats: dict[str, Bucket] = {}

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(_address_of, self._answer, self.faults)

    def set_state(self, target: str, state: str) -> None:
        """What a chat, named by its address, answers: ``alive``, ``suspended``, ``no_rights``,
        ``unknown``, or ``not_ready:N``: N messages are refused for an unprocessed attachment.

        Raises:
            ValueError: there is no such state.
        """
        if match := re.fullmatch(r"not_ready:(\d+)", state):
            self._unready[target] = int(match[1])
        elif state == "alive" or state in _STATES:
            self._states[target] = state
        else:
            known = ", ".join(("alive", "not_ready:N", *_STATES))
            raise ValueError(f"no state {state!r} of a chat; there are {known}")

    def _answer(self, call: Call) -> Answer:
        try:
            return json_answer(200, self._call(call))
        except Refusal as refusal:
            why = f"{refusal.code}: {refusal}"
            self._record.refuse(self.name, _address_of(call), why)
            if self.settings.plain_errors:
                return Answer(refusal.status, why.encode(), {"Content-Type": "text/plain"})
            return json_answer(refusal.status, {"code": refusal.code, "message": str(refusal)})

    def _call(self, call: Call) -> dict[str, Any]:
        query = dict(parse_qsl(call.query, keep_blank_values=True))
        given = call.headers.get("Authorization", "")
        if "access_token" in query or not hmac.compare_digest(
            given.encode(), self.settings.token.encode()
        ):
            raise Refusal(401, "verify.token", "Invalid access_token")
        if self.settings.has_limits and take_all([self._all]):
            _too_many()
        match call.method, call.path:
            case "GET", "/me":
                return self._me
            case "POST", "/messages":
                return self._send(query, call)
            case _, "/me" | "/messages":
                raise Refusal(405, "method.not.allowed", f"Method {call.method} is not allowed")
            case _:
                raise Refusal(404, "not.found", f"Path {call.path} is not recognized")

    @property
    def _me(self) -> dict[str, Any]:
        return {
            "user_id": 7_000_000_001,
            "first_name": "Sandbox",
            "username": "sandbox_bot",
            "is_bot": True,
            "last_activity_time": int(self._clock.now() * 1000),
        }

    def _send(self, query: Mapping[str, str], call: Call) -> dict[str, Any]:
        address = _recipient(query)
        message = read_message(call)
        self._check_chat(address)
        if self.settings.has_limits:
            chat = self._chats.setdefault(address, Bucket(self._clock, 2, 1.0))
            if take_all([chat]):
                _too_many()
        if self._unready[address] > 0:
            self._unready[address] -= 1
            key = "Key: errors.process.attachment.file.not.processed"
            raise Refusal(400, "attachment.not.ready", key)
        return self._store(address, message, query, call)

    def _check_chat(self, address: str) -> None:
        if not self.settings.is_moderated:
            raise Refusal(403, "chat.denied", "error.bot.not.moderated")
        state = self._states.get(address, "alive")
        if state != "unknown" and state in _STATES:
            raise Refusal(*_STATES[state])
        is_person = not address.startswith("-")
        if state == "unknown" or (is_person and int(address) >= _DIALOGS_FROM):
            if is_person:
                raise Refusal(404, "dialog.not.found", "error.dialog.notfound")
            raise Refusal(404, "chat.not.found", f"Chat {address} not found")

    def _store(
        self, address: str, message: NewMessage, query: Mapping[str, str], call: Call
    ) -> dict[str, Any]:
        self._seq[address] += 1
        sequence = self._seq[address]
        is_person = not address.startswith("-")
        chat_id = _DIALOGS_FROM + int(address) if is_person else int(address)
        mid = f"mid.{abs(chat_id):016x}{sequence:016x}"
        has_preview = query.get("disable_link_preview") != "true"
        self._record.add(
            Received(
                provider=self.name,
                channel=Channel.CHAT,
                recipient=address,
                title="",
                text=message.formatted.text,
                html=message.formatted.as_html(),
                buttons=message.buttons,
                key=call.headers.get("X-Request-Id"),
                raw=call.body,
                details={
                    "message_id": mid,
                    "silent": "no" if message.notifies else "yes",
                    "link_preview": "yes" if has_preview else "no",
                },
            )
        )
        recipient: dict[str, Any] = {
            "chat_id": chat_id,
            "chat_type": "dialog" if is_person else "chat",
        }
        if is_person:
            recipient["user_id"] = int(address)
        return {
            "message": {
                "sender": self._me,
                "recipient": recipient,
                "timestamp": int(self._clock.now() * 1000),
                "body": {
                    "mid": mid,
                    "seq": sequence,
                    "text": message.formatted.text,
                    "attachments": message.attachments,
                    "markup": [mark.as_dict() for mark in message.formatted.marks],
                },
            }
        }


def _recipient(query: Mapping[str, str]) -> str:
    """The address: a user's id, or a chat's, which is negative."""
    named = [name for name in ("user_id", "chat_id") if query.get(name)]
    if len(named) != 1:
        raise Refusal(400, "proto.payload", "either user_id or chat_id is required")
    text = query[named[0]]
    if not _ID.fullmatch(text) or abs(int(text)) > _LARGEST:
        raise Refusal(400, "proto.payload", f"{named[0]}: must be int64")
    if (named[0] == "chat_id") is not text.startswith("-"):
        if named[0] == "chat_id":
            raise Refusal(404, "chat.not.found", f"Chat {text} not found")
        raise Refusal(404, "dialog.not.found", "error.dialog.notfound")
    return text


def _too_many() -> NoReturn:
    raise Refusal(429, "too.many.requests", "Too many requests")


def _address_of(call: Call) -> str:
    query = dict(parse_qsl(call.query))
    return query.get("user_id") or query.get("chat_id") or ""
