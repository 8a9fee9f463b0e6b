"""The Bot API's ``sendMessage`` and ``getMe``: checks as Telegram does, keeps what people see."""

from __future__ import annotations

import hmac
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final
from urllib.parse import parse_qsl, unquote

import orjson

from router.clock import Clock
from router.messages import Button, Channel
from router.sandbox.faults import Faults
from router.sandbox.http import Answer, Call, Endpoint, json_answer
from router.sandbox.limits import Bucket, take_all
from router.sandbox.record import Received, Record
from router.sandbox.telegram.html import parse_html
from router.sandbox.telegram.markdown import parse_markdown_v2
from router.sandbox.telegram.markup import Formatted, MarkupError, usable_url

TOKEN = "7000000001:AAsandbox-0123456789abcdefghijklmnop"
"""The token of a sandbox without other settings."""

_TEXT_LIMIT = 4096
_PATH = re.compile(r"/bot([^/]+)/(\w+)")
_TOKEN = re.compile(r"\d{1,16}:[\w-]{10,80}", re.ASCII)
_CHAT = re.compile(r"-?\d{1,18}|@\w{4,32}", re.ASCII)
_STATES: Mapping[str, tuple[int, str]] = {
    "blocked": (403, "Forbidden: bot was blocked by the user"),
    "deactivated": (403, "Forbidden: user is deactivated"),
    "kicked": (403, "Forbidden: bot was kicked from the group chat"),
    "not_member": (403, "Forbidden: bot is not a member of the channel chat"),
    "never_started": (403, "Forbidden: bot can't initiate conversation with a user"),
    "unknown": (400, "Bad Request: chat not found"),
    "no_rights": (400, "Bad Request: not enough rights to send text messages to the chat"),
}


@dataclass(frozen=True, slots=True)
class TelegramSettings:
    """How the API behaves.

    Attributes:
        token: The one bot's token.
        has_limits: 30 messages a second in all, 1 a second to a chat (bursts of 3), 20 a
            minute to a group.
    """

    token: str = TOKEN
    has_limits: bool = True


class _Refusal(Exception):
    def __init__(self, code: int, description: str, **parameters: int) -> None:
        self.code, self.description, self.parameters = code, description, parameters


@final
class TelegramApi:
    """One bot and its chats. Every chat is alive until it is told otherwise."""

    name = "telegram"

    def __init__(
        self, record: Record, clock: Clock, settings: TelegramSettings = TelegramSettings()
    ) -> None:
        self.faults = Faults()
        self.settings = settings
        self._record = record
        self._clock = clock
        self._states: dict[str, str] = {}
        self._message_ids: Counter[str] = Counter()
        self._all = Bucket(clock, 30, 1.0)
        self._chats: defaultdict[str, list[Bucket]] = defaultdict(list)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(_chat_of, self._answer, self.faults)

    def set_state(self, target: str, state: str) -> None:
        """What a chat answers: ``alive``, ``blocked``, ``deactivated``, ``kicked``,
        ``not_member``, ``never_started``, ``unknown``, ``no_rights`` or ``migrated:<new id>``.

        Raises:
            ValueError: there is no such state.
        """
        known = state == "alive" or state in _STATES or re.fullmatch(r"migrated:-\d+", state)
        if not known:
            raise ValueError(f"no state {state!r} of a chat; there are alive, {', '.join(_STATES)}")
        self._states[target] = state

    def _answer(self, call: Call) -> Answer:
        try:
            return json_answer(200, {"ok": True, "result": self._call(call)})
        except _Refusal as refusal:
            self._record.refuse(self.name, _chat_of(call), refusal.description)
            body: dict[str, Any] = {
                "ok": False,
                "error_code": refusal.code,
                "description": refusal.description,
            }
            if refusal.parameters:
                body["parameters"] = refusal.parameters
            after = refusal.parameters.get("retry_after")
            headers = {} if after is None else {"Retry-After": str(after)}
            return json_answer(refusal.code, body, headers)

    def _call(self, call: Call) -> dict[str, Any]:
        match = _PATH.fullmatch(unquote(call.path))
        if match is None or not _TOKEN.fullmatch(match[1]):
            raise _Refusal(404, "Not Found")
        if not hmac.compare_digest(match[1], self.settings.token):
            raise _Refusal(401, "Unauthorized")
        match match[2].lower():
            case "getme":
                return self._me
            case "sendmessage":
                return self._send_message(_fields(call), call)
            case _:
                raise _Refusal(404, "Not Found: method not found")

    @property
    def _me(self) -> dict[str, Any]:
        bot_id = int(self.settings.token.partition(":")[0])
        return {"id": bot_id, "is_bot": True, "first_name": "Sandbox", "username": "sandbox_bot"}

    def _send_message(self, fields: Mapping[str, Any], call: Call) -> dict[str, Any]:
        chat = str(fields.get("chat_id") or "").strip()
        if not chat:
            raise _Refusal(400, "Bad Request: chat_id is empty")
        formatted = _formatted(fields)
        buttons = _buttons(fields.get("reply_markup"))
        self._check_chat(chat)
        self._check_rate(chat)
        self._message_ids[chat] += 1
        message_id = self._message_ids[chat]
        self._record.add(
            Received(
                provider=self.name,
                channel=Channel.CHAT,
                recipient=chat,
                title="",
                text=formatted.text,
                html=formatted.as_html(),
                buttons=buttons,
                key=call.headers.get("X-Request-Id"),
                raw=call.body,
                details={
                    "message_id": str(message_id),
                    "silent": "yes" if _truth(fields.get("disable_notification")) else "no",
                },
            )
        )
        return {
            "message_id": message_id,
            "from": self._me,
            "chat": {"id": int(chat) if chat.lstrip("-").isdigit() else chat, "type": _kind(chat)},
            "date": int(self._clock.now()),
            "text": formatted.text,
            "entities": [entity.as_dict() for entity in formatted.entities],
        }

    def _check_chat(self, chat: str) -> None:
        if not _CHAT.fullmatch(chat):
            raise _Refusal(400, "Bad Request: chat not found")
        state = self._states.get(chat, "alive")
        if state == "alive":
            return
        if state.startswith("migrated:"):
            raise _Refusal(
                400,
                "Bad Request: group chat was upgraded to a supergroup chat",
                migrate_to_chat_id=int(state.removeprefix("migrated:")),
            )
        raise _Refusal(*_STATES[state])

    def _check_rate(self, chat: str) -> None:
        if not self.settings.has_limits:
            return
        own = self._chats[chat]
        if not own:
            own.append(Bucket(self._clock, 3, 3.0))
            if _kind(chat) != "private":
                own.append(Bucket(self._clock, 20, 60.0))
        if wait := take_all([self._all, *own]):
            raise _Refusal(429, f"Too Many Requests: retry after {wait}", retry_after=wait)


def _fields(call: Call) -> Mapping[str, Any]:
    fields: dict[str, Any] = dict(parse_qsl(call.query))
    kind = call.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        try:
            value: object = orjson.loads(call.body)
        except orjson.JSONDecodeError:
            value = None
        if not isinstance(value, dict):
            raise _Refusal(400, "Bad Request: can't parse JSON object")
        fields |= value
    elif kind == "application/x-www-form-urlencoded":
        fields |= dict(parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True))
    return fields


def _chat_of(call: Call) -> str:
    try:
        return str(_fields(call).get("chat_id", ""))
    except _Refusal:
        return ""


def _formatted(fields: Mapping[str, Any]) -> Formatted:
    text = fields.get("text")
    if text is not None and not isinstance(text, str):
        raise _Refusal(400, 'Bad Request: field "text" must be of type String')
    parse = _parser(str(fields.get("parse_mode") or ""))
    try:
        formatted = parse(text or "").trimmed()
    except MarkupError as error:
        raise _Refusal(400, f"Bad Request: can't parse entities: {error}") from None
    if not formatted.text:
        raise _Refusal(400, "Bad Request: message text is empty")
    if formatted.length > _TEXT_LIMIT:
        raise _Refusal(400, "Bad Request: message is too long")
    return formatted


def _parser(mode: str) -> Callable[[str], Formatted]:
    match mode.lower():
        case "html":
            return parse_html
        case "markdownv2":
            return parse_markdown_v2
        case "":
            return Formatted
        case _:
            raise _Refusal(400, "Bad Request: unsupported parse_mode")


def _buttons(markup: object) -> tuple[tuple[Button, ...], ...]:
    if not markup:
        return ()
    value: object = markup
    if isinstance(markup, str):
        try:
            value = orjson.loads(markup)
        except orjson.JSONDecodeError:
            raise _Refusal(
                400, "Bad Request: can't parse reply keyboard markup JSON object"
            ) from None
    rows = value.get("inline_keyboard") if isinstance(value, dict) else None
    if not isinstance(rows, list):
        raise _Refusal(400, "Bad Request: object expected as reply markup")
    return tuple(_row(row) for row in rows)


def _row(row: object) -> tuple[Button, ...]:
    if not isinstance(row, list):
        raise _Refusal(400, "Bad Request: can't parse inline keyboard: expected an Array of Array")
    return tuple(_button(button) for button in row)


def _button(button: object) -> Button:
    text = button.get("text") if isinstance(button, dict) else None
    url = button.get("url") if isinstance(button, dict) else None
    if not isinstance(text, str):
        raise _Refusal(
            400,
            "Bad Request: can't parse inline keyboard button: Can't find field \"text\"",
        )
    if not text.strip():
        raise _Refusal(400, "Bad Request: inline keyboard button text is empty")
    if not isinstance(url, str):
        raise _Refusal(400, "Bad Request: text buttons are unallowed in the inline keyboard")
    usable = usable_url(url)
    if usable is None:
        raise _Refusal(
            400, f"Bad Request: inline keyboard button URL '{url}' is invalid: Wrong HTTP URL"
        )
    return Button(text, usable)


def _kind(chat: str) -> str:
    if chat.startswith("-100"):
        return "supergroup"
    return "group" if chat.startswith("-") else "channel" if chat.startswith("@") else "private"


def _truth(value: object) -> bool:
    return value is True or str(value).lower() in ("true", "1")
