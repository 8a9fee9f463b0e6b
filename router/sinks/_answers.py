"""How the http sink reads an answer: rules in the match language, and paths of what it tells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from router.messages import Delivered, Halt, Outcome, Reason, Rejected, Retry, Scope
from router.nodes import plain_node
from router.problems import Position, Problems, Source
from router.routing import (
    Condition,
    Expression,
    Path,
    evaluate,
    parse_condition,
    parse_path,
)
from router.sinks._http import QUIET_S, RETRY_AFTER_CAP_S, answer_text, json_body, retry_after
from router.transport import HttpResponse
from router.values import Duration

_ROOTS = ("status", "headers", "body", "text")
_NOWHERE = Position(Source("answers", ()), 1, 1)
_MAX_TEXT = 4096
_MAX_ID = 200


class AnswerRule(BaseModel):
    """What one kind of answer means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: dict[str, Any] = Field(
        description="A match over `status`, `headers.<name>`, `body` (decoded JSON) and `text` "
        "(the body as it is, without spaces around).",
        examples=[{"status": 409, "body.code": "already_exists"}],
    )
    outcome: Literal["delivered", "retry", "halt", "rejected", "recipient_gone"] = Field(
        description="What the answer means.", examples=["delivered"]
    )
    after: Duration | None = Field(
        None,
        description="With `retry`: wait at least this long; by default what `Retry-After` asks.",
        examples=["5m"],
    )
    after_seconds: str | None = Field(
        None,
        description="With `retry`: path in the answer of the seconds to wait.",
        examples=["body.retry_after"],
    )
    after_milliseconds: str | None = Field(
        None,
        description="With `retry`: path in the answer of the milliseconds to wait.",
        examples=["body.retry_after_ms"],
    )
    scope: Literal["message", "endpoint", "sink"] | None = Field(
        None,
        description="With `retry`: what has to wait, this message or everything to the host or "
        "through the sink; by default the message, with status 429 the host.",
        examples=["sink"],
    )
    reason: str | None = Field(
        None,
        max_length=120,
        description="Text for operators; without personal data.",
        examples=["contact exists already"],
    )

    @field_validator("match")
    @classmethod
    def _readable(cls, match: dict[str, Any]) -> dict[str, Any]:
        compile_match(match)
        return match

    @field_validator("after_seconds", "after_milliseconds")
    @classmethod
    def _readable_path(cls, text: str | None) -> str | None:
        if text is not None:
            read_path(text)
        return text

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        waits = ("after", "after_seconds", "after_milliseconds")
        given = [name for name in waits if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: say once how long to wait")
        given += ["scope"] if self.scope is not None else []
        if given and self.outcome != "retry":
            raise ValueError(f"{given[0]} goes with outcome: retry")
        return self


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule ready to be asked. ``after`` is the path of the wait, ``unit`` its seconds."""

    condition: Condition
    rule: AnswerRule
    after: Path | None = None
    unit: float = 1.0

    @classmethod
    def of(cls, rule: AnswerRule) -> Rule:
        condition = compile_match(rule.match)
        if rule.after_seconds is not None:
            return cls(condition, rule, read_path(rule.after_seconds))
        if rule.after_milliseconds is not None:
            return cls(condition, rule, read_path(rule.after_milliseconds), 0.001)
        return cls(condition, rule)


@dataclass(frozen=True, slots=True)
class Answers:
    """How answers are read: the rules in their order, and where the API's own id stands."""

    rules: tuple[Rule, ...] = ()
    id: Path | None = None

    @classmethod
    def of(cls, rules: Sequence[AnswerRule], message_id: str | None = None) -> Answers:
        return cls(
            tuple(map(Rule.of, rules)), None if message_id is None else read_path(message_id)
        )

    def first_match(self, response: HttpResponse, now: float) -> Outcome | None:
        """What the first rule that holds says, or None where none does."""
        if not self.rules:
            return None
        subject = _Subject.of(response)
        for rule in self.rules:
            if evaluate(rule.condition, subject):
                return self._outcome(rule, subject, response, now)
        return None

    def message_id(self, response: HttpResponse) -> str | None:
        """The API's own id of what it took, where the answer has one."""
        return None if self.id is None else _id(self.id, _Subject.of(response))

    def _outcome(
        self, found: Rule, subject: _Subject, response: HttpResponse, now: float
    ) -> Outcome:
        rule = found.rule
        reason = Reason("answer_rule", rule.reason or answer_text(response))
        match rule.outcome:
            case "delivered":
                id = None if self.id is None else _id(self.id, subject)
                return Delivered(id, reason if rule.reason else None)
            case "retry":
                return _retry(found, subject, response, reason, now)
            case "halt":
                return Halt(reason)
            case "rejected":
                return Rejected(reason)
            case "recipient_gone":
                return Rejected(reason, recipient_gone=True)


def read_path(text: str) -> Path:
    """A path into an answer.

    Raises:
        ValueError: it can't be read; the message says what to write.
    """
    path = parse_path(text, _ROOTS)
    if path.has_wildcard:
        raise ValueError(f"{text} could be several values; name one")
    return path


def compile_match(match: Mapping[str, Any]) -> Condition:
    """The condition that plain YAML values describe.

    Raises:
        ValueError: it can't be read; the message says what to write.
    """
    problems = Problems()
    condition = parse_condition(
        plain_node(match, _NOWHERE), problems, compile_expression=_no_expressions, roots=_ROOTS
    )
    if condition is None or problems.has_errors:
        raise ValueError("; ".join(problem.message for problem in problems.found))
    return condition


@dataclass(frozen=True, slots=True)
class _Subject:
    """A response as the match language sees it."""

    status: int
    headers: Mapping[str, str]
    body: Any
    text: str

    @classmethod
    def of(cls, response: HttpResponse) -> _Subject:
        text = response.body[:_MAX_TEXT].decode("utf-8", "replace").strip()
        return cls(response.status, _Headers(response.headers), json_body(response), text)


class _Headers(dict[str, str]):
    """Response headers, whose names are asked for in any case."""

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key.lower(), default)


def _retry(
    found: Rule, subject: _Subject, response: HttpResponse, reason: Reason, now: float
) -> Retry:
    rule = found.rule
    is_limit = response.status == 429
    scope = Scope(rule.scope) if rule.scope else Scope.ENDPOINT if is_limit else Scope.MESSAGE
    after = rule.after
    if after is None and found.after is not None:
        after = _seconds(_value(found.after, subject), found.unit)
    if after is None:
        after = retry_after(response, now)
    return Retry(reason, QUIET_S if after is None and scope is not Scope.MESSAGE else after, scope)


def _value(path: Path, subject: _Subject) -> Any:
    return next(iter(path.values(subject)), None)


def _seconds(value: Any, unit: float) -> float | None:
    """A wait that an answer asks for, capped; None where it is no time to wait."""
    try:
        seconds = float(value) * unit if isinstance(value, int | float | str) else math.nan
    except ValueError:
        return None
    return min(seconds, RETRY_AFTER_CAP_S) if seconds >= 0 else None


def _id(path: Path, subject: _Subject) -> str | None:
    value = _value(path, subject)
    is_id = isinstance(value, str | int) and not isinstance(value, bool)
    return str(value)[:_MAX_ID] if is_id else None


def _no_expressions(text: str, at: Position, problems: Problems) -> Expression | None:
    problems.error("S101", "when is not available here; write conditions on status and body", at)
    return None
