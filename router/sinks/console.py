"""Console: shows each message on standard output, for development and rehearsal."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, TextIO

from pydantic import Field

from router.messages import (
    AnalyticsEvent,
    Button,
    Channel,
    ChatMessage,
    Delivered,
    EmailMessage,
    Message,
    Outcome,
    Parcel,
    ProfileUpdate,
    PushMessage,
    Request,
)
from router.sinks._contract import SinkConfig, SinkTools, SinkType
from router.sinks._markup import render_html

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BOLD, _DIM, _CYAN, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[36m", "\x1b[0m"


class ConsoleConfig(SinkConfig):
    """Messages shown on standard output instead of being sent."""

    channel: Literal["analytics", "chat", "email", "push", "request"] = Field(
        "chat", description="What kind of message it takes.", examples=["email"]
    )
    colour: Literal["auto", "always", "never"] = Field(
        "auto", description="`auto` colours on a terminal.", examples=["never"]
    )
    width: int = Field(88, ge=20, description="Lines are wrapped at this many characters.")
    real: bool = Field(False, description="Reaches real people: it does not.")


def frame(name: str, parcel: Parcel, *, width: int, is_coloured: bool) -> str:
    """A parcel as a framed text that ends with a line end. Control characters are dropped."""
    bold, dim, cyan, reset = (_BOLD, _DIM, _CYAN, _RESET) if is_coloured else ("", "", "", "")
    target = parcel.target.address or parcel.target.kind
    title = " · ".join(_plain(part) for part in (name, target, parcel.event_type) if part)
    test = " · test" if parcel.is_test else ""
    lines = [f"{cyan}┌─ {bold}{title}{reset}{cyan}{test}{reset}"]
    for label, text in parts(parcel.message):
        label_text = f"{dim}{label}:{reset} " if label else ""
        room = max(10, width - 2 - (len(label) + 2 if label else 0))
        for index, line in enumerate(_wrapped(text, room)):
            lines.append(f"{cyan}│{reset} {'' if index else label_text}{line}")
    lines.append(f"{cyan}└─{reset} {dim}{parcel.key.hex()}{reset}")
    return "\n".join(lines) + "\n"


def parts(message: Message) -> Iterator[tuple[str, str]]:
    """What there is to show of a message: labels (empty for its body) and their texts."""
    match message:
        case ChatMessage():
            yield "", render_html(message.html, {}, frozenset()).text.strip()
            for row in message.buttons:
                yield "", "  ".join(_button(button) for button in row)
            for part in message.rest:
                yield "part", str(part.part)
                yield from parts(part)
        case EmailMessage():
            yield "subject", message.subject
            yield "", message.text.strip()
            if message.unsubscribe_url:
                yield "unsubscribe", message.unsubscribe_url
        case PushMessage():
            yield from _push(message)
        case AnalyticsEvent():
            yield "track", f"{message.name} ({message.distinct_id})"
            for key, value in message.properties.items():
                yield key, str(value)
        case ProfileUpdate():
            yield "profile", message.distinct_id
            for operation in ("set", "set_once", "add", "append", "union", "remove"):
                for key, value in getattr(message, operation).items():
                    yield f"{operation} {key}", str(value)
            if message.unset:
                yield "unset", ", ".join(message.unset)
        case Request():
            yield "", f"{message.method} {message.path}"
            if message.body is not None:
                yield "", message.body.decode("utf-8", "replace")


def _push(message: PushMessage) -> Iterator[tuple[str, str]]:
    if message.silent:
        yield "silent", "not shown, for the app alone"
    else:
        yield "title", message.title
        yield "", message.body
    for label in ("image", "link", "badge", "sound", "collapse", "ttl"):
        value = getattr(message, label)
        if value is not None:
            yield label, str(value)
    for button in message.actions:
        yield "action", _button(button)
    for key, text in message.data.items():
        yield f"data.{key}", text


def _button(button: Button) -> str:
    return f"[{button.text}] {button.url}"


def _plain(text: str) -> str:
    return _CONTROL.sub("", text).replace("\n", " ")


def _wrapped(text: str, width: int) -> list[str]:
    lines: list[str] = []
    for line in _CONTROL.sub("", text).split("\n"):
        lines += textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""]
    return lines


@dataclass(frozen=True, slots=True)
class _Console:
    name: str
    width: int
    is_coloured: bool
    out: TextIO

    async def send(self, parcel: Parcel) -> Outcome:
        text = frame(self.name, parcel, width=self.width, is_coloured=self.is_coloured)
        self.out.write(text)
        self.out.flush()
        return Delivered()


@asynccontextmanager
async def _open(config: ConsoleConfig, tools: SinkTools) -> AsyncGenerator[_Console]:
    is_coloured = config.colour == "always" or (config.colour == "auto" and sys.stdout.isatty())
    yield _Console(tools.name, config.width, is_coloured, sys.stdout)


def _channel(config: ConsoleConfig) -> Channel:
    return Channel(config.channel)


SINK = SinkType("console", ConsoleConfig, _channel, "any", _open)
