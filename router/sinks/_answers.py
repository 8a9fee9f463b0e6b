"""How a configured ``answers:`` list reads a response: the match language over status and body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from router.messages import Delivered, Halt, Outcome, Reason, Rejected, Retry
from router.nodes import Entry, Node
from router.problems import Position, Problems, Source
from router.routing import Condition, Expression, evaluate, parse_condition
from router.sinks._http import answer_text, json_body, retry_after
from router.transport import HttpResponse
from router.values import Duration

_ROOTS = ("status", "headers", "body")
_NOWHERE = Position(Source("answers", ()), 1, 1)


class AnswerRule(BaseModel):
    """What one kind of answer means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: dict[str, Any] = Field(
        description="A match over `status`, `headers.<name>` and `body` (decoded JSON).",
        examples=[{"status": 409, "body.code": "already_exists"}],
    )
    outcome: Literal["delivered", "retry", "halt", "rejected", "recipient_gone"] = Field(
        description="What the answer means.", examples=["delivered"]
    )
    after: Duration | None = Field(
        None, description="With `retry`: wait at least this long.", examples=["5m"]
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


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule ready to be asked."""

    condition: Condition
    rule: AnswerRule


def compile_rules(rules: Sequence[AnswerRule]) -> tuple[Rule, ...]:
    return tuple(Rule(compile_match(rule.match), rule) for rule in rules)


def first_match(rules: Sequence[Rule], response: HttpResponse, now: float) -> Outcome | None:
    """What the first rule that holds says, or None where none does."""
    if not rules:
        return None
    subject = _Subject(response.status, _Headers(response.headers), json_body(response))
    for rule in rules:
        if evaluate(rule.condition, subject):
            return _outcome(rule.rule, response, now)
    return None


def compile_match(match: Mapping[str, Any]) -> Condition:
    """The condition that plain YAML values describe.

    Raises:
        ValueError: it can't be read; the message says what to write.
    """
    problems = Problems()
    condition = parse_condition(
        _node(match), problems, compile_expression=_no_expressions, roots=_ROOTS
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


class _Headers(dict[str, str]):
    """Response headers, whose names are asked for in any case."""

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key.lower(), default)


def _outcome(rule: AnswerRule, response: HttpResponse, now: float) -> Outcome:
    reason = Reason("answer_rule", rule.reason or answer_text(response))
    match rule.outcome:
        case "delivered":
            return Delivered(note=reason if rule.reason else None)
        case "retry":
            return Retry(reason, rule.after or retry_after(response, now))
        case "halt":
            return Halt(reason)
        case "rejected":
            return Rejected(reason)
        case "recipient_gone":
            return Rejected(reason, recipient_gone=True)


def _node(value: Any) -> Node:
    match value:
        case dict():
            entries = {str(key): Entry(_NOWHERE, _node(item)) for key, item in value.items()}
            return Node(entries, _NOWHERE)
        case list() | tuple():
            return Node(tuple(_node(item) for item in value), _NOWHERE)
        case _:
            return Node(value, _NOWHERE)


def _no_expressions(text: str, at: Position, problems: Problems) -> Expression | None:
    problems.error("S101", "when is not available here; write conditions on status and body", at)
    return None
