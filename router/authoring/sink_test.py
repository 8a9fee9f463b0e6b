"""One marked message through a configured sink, to see whether it works."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import orjson

from router.clock import Clock
from router.config import Loaded, Project, load_project
from router.config.models import scalars
from router.messages import (
    AnalyticsEvent,
    Channel,
    ChatMessage,
    Delivered,
    EmailMessage,
    Halt,
    InDoubt,
    Message,
    Outcome,
    Parcel,
    PushMessage,
    Reason,
    Rejected,
    Request,
    Retry,
    Scope,
    Target,
)
from router.planning import SinkFacts
from router.problems import Position, Severity
from router.recipients import is_address
from router.sinks import KINDS, BatchSink, Sink, SinkConfig, SinkTools, SinkType
from router.values import format_duration

EVENT_TYPE = "router.test"
TEXT = "A test message of the router: this sink works."
_TITLE = "Router test"

_NOT_REACHED = frozenset(
    {
        "certificate_invalid",
        "connect_failed",
        "connect_refused",
        "connect_timeout",
        "connection_refused",
        "dns_failed",
        "dns_timeout",
        "http2_refused",
        "not_sent",
        "proxy_refused",
        "proxy_unreachable",
        "tls_failed",
        "token_unavailable",
    }
)
_WAITING = {
    Scope.MESSAGE: "the message",
    Scope.TARGET: "everything to this address",
    Scope.ENDPOINT: "everything to this host",
    Scope.SINK: "the whole sink",
}


_NOT_SET = frozenset({"E001", "E003"})
"""Codes of variables and secrets' files that are not here."""


def load_for_test(path: str | Path, environment: str | None, sink: str) -> Loaded:
    """A project to test one sink of: what only others read from the environment may be missing."""
    loaded = load_project(path, environment)
    wrong = [problem for problem in loaded.problems if problem.severity is Severity.ERROR]
    own = _lines_of(loaded, sink)
    is_enough = own and all(
        problem.code in _NOT_SET and problem.at is not None and _line(problem.at) not in own
        for problem in wrong
    )
    return load_project(path, environment, offline=True) if wrong and is_enough else loaded


def _lines_of(loaded: Loaded, sink: str) -> set[tuple[str, int]]:
    sinks = loaded.document.get("sinks") if loaded.document else None
    node = loaded.own_sinks.get(sink) or (sinks.get(sink) if sinks else None)
    return {_line(scalar.at) for scalar in scalars(node)} if node else set()


def _line(at: Position) -> tuple[str, int]:
    return at.file, at.line


class NotTestable(Exception):
    """No test message can be made as asked; the text says what to write."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a request sink is to call, where it can be chosen.

    Attributes:
        body: JSON; None sends the text as ``{"text": …}``.
    """

    method: str = "POST"
    path: str = ""
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class SinkTest:
    """What became of the test message.

    Attributes:
        took_s: Seconds, opening the sink included.
        key: The delivery key that it carried, hexadecimal.
    """

    sink: SinkFacts
    target: Target
    outcome: Outcome
    took_s: float
    key: str

    @property
    def is_delivered(self) -> bool:
        return isinstance(self.outcome, Delivered)

    @property
    def was_reached(self) -> bool:
        """False where the message can't have got as far as the provider."""
        match self.outcome:
            case Retry(reason) | Halt(reason):
                return reason.code not in _NOT_REACHED
            case _:
                return True

    def in_words(self) -> str:
        """The provider's answer in a line."""
        took = f"in {self.took_s:.2f} s"
        match self.outcome:
            case Delivered(provider_id, note):
                id = f", its id there is {provider_id}" if provider_id else ""
                return f"delivered {took}{id}{f'; {note}' if note else ''}"
            case Retry(reason, after, scope):
                wait = f", not before {format_duration(after)}" if after else ""
                waits = "" if scope is Scope.MESSAGE else f"; {_WAITING[scope]} would wait"
                return f"not delivered {took}: {reason}; it would be tried again{wait}{waits}"
            case Halt(reason):
                return (
                    f"not delivered {took}: {reason}; the sink would pause and keep its messages"
                    " until credentials or configuration are mended"
                )
            case Rejected(reason, recipient_gone):
                gone = "; the address would not be used again" if recipient_gone else ""
                return f"rejected {took}: {reason}{gone}"
            case InDoubt(reason):
                return f"in doubt after {self.took_s:.2f} s: {reason}; look whether it arrived"

    def as_dict(self) -> dict[str, Any]:
        """The stable JSON form."""
        outcome = self.outcome
        reason = outcome.note if isinstance(outcome, Delivered) else outcome.reason
        return {
            "sink": self.sink.name,
            "type": self.sink.type,
            "channel": str(self.sink.channel),
            "to": self.target.address,
            "key": self.key,
            "outcome": _NAMES[type(outcome)],
            "reason": {"code": reason.code, "text": reason.text} if reason else None,
            "provider_id": outcome.provider_id if isinstance(outcome, Delivered) else None,
            "after_s": outcome.after if isinstance(outcome, Retry) else None,
            "waits": str(outcome.scope) if isinstance(outcome, Retry) else None,
            "recipient_gone": isinstance(outcome, Rejected) and outcome.recipient_gone,
            "reached": self.was_reached,
            "took_s": round(self.took_s, 3),
        }


_NAMES: dict[type[Outcome], str] = {
    Delivered: "delivered",
    Retry: "retry",
    Halt: "halt",
    Rejected: "rejected",
    InDoubt: "in_doubt",
}


def target_of(sink: SinkFacts, to: str | None, platform: str | None = None) -> Target:
    """Where the test message goes.

    Raises:
        NotTestable: an address is needed and missing, or has not the shape of one.
    """
    if sink.is_group:
        members = ", ".join(dict.fromkeys(sink.by_platform.values()))
        raise NotTestable(f'sink "{sink.name}" is a group; test one of its sinks: {members}')
    if sink.channel is Channel.REQUEST:
        return Target("", "request")
    if to is None:
        kind = "a person's id" if sink.channel is Channel.ANALYTICS else _kind_of(sink)
        raise NotTestable(f'sink "{sink.name}" needs --to with {kind}')
    if sink.channel is Channel.ANALYTICS:
        return Target(to, "request")
    if not is_address(to, sink.address_kind):
        raise NotTestable(f'"{to}" is not {_kind_of(sink)}')
    known = [name for name in sink.by_platform if name in ("android", "ios", "web")]
    if sink.address_kind == "device" and platform is None and len(known) == 1:
        platform = known[0]
    return Target(to, sink.address_kind, platform=platform)


def message_for(sink: SinkFacts, text: str, to: str | None, call: Call, now: float) -> Message:
    """A small message of the sink's channel. ``now`` is seconds since the epoch."""
    match sink.channel:
        case Channel.EMAIL:
            return EmailMessage(_TITLE, f"<p>{escape(text)}</p>", text)
        case Channel.CHAT:
            return ChatMessage(escape(text))
        case Channel.PUSH:
            return PushMessage(_TITLE, text)
        case Channel.ANALYTICS:
            return AnalyticsEvent(_TITLE, to or "", now, {"text": text})
        case Channel.REQUEST:
            body = call.body if call.body is not None else _body(sink, text, now)
            return Request(call.method, call.path, body=body)


def _body(sink: SinkFacts, text: str, now: float) -> bytes:
    if sink.type == "http":
        return orjson.dumps({"text": text})
    return orjson.dumps({"type": EVENT_TYPE, "timestamp": now, "data": {"text": text}})


async def send_test(
    project: Project, sink: SinkFacts, target: Target, message: Message, clock: Clock
) -> SinkTest:
    """Sends the message once, for real; no ledger, no policy and no diversion stand between.

    Raises:
        OSError: a file that the sink's configuration names can't be used.
    """
    kind: SinkType[Any] = KINDS.load(sink.type)
    key = secrets.token_bytes(16)
    parcel = Parcel(
        key, message, target, event_time=clock.now(), event_type=EVENT_TYPE, is_test=True
    )
    started = clock.monotonic()
    outcome = await _send(kind, project.sinks[sink.name], SinkTools(sink.name, clock), parcel)
    return SinkTest(sink, target, outcome, clock.monotonic() - started, key.hex())


async def _send(
    kind: SinkType[Any], config: SinkConfig, tools: SinkTools, parcel: Parcel
) -> Outcome:
    async with kind.open(config, tools) as sink:
        try:
            if isinstance(sink, BatchSink):
                return (await sink.send_batch([parcel]))[0]
            assert isinstance(sink, Sink)
            return await sink.send(parcel)
        except Exception as error:
            # A bug of the sink's: as in the daemon, nobody knows how far the message got.
            return InDoubt(Reason("sink_bug", type(error).__name__))


def _kind_of(sink: SinkFacts) -> str:
    match sink.address_kind:
        case "email":
            return "an e-mail address"
        case "telegram":
            return "a Telegram chat id"
        case "max":
            return "a MAX user or chat id"
        case "device":
            return "a device token"
        case "any":
            return "an address"
        case kind:
            return f"an address ({kind})"
