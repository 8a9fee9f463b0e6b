"""SMTP: what every refusal and every loss means, at every stage."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from router.messages import Delivered, Halt, InDoubt, Rejected, Retry, Scope
from router.sinks._smtp_answers import accepted, broken, refused
from router.sinks._smtp_session import Stage
from router.sinks.smtp import SmtpConfig
from tests.unit.sinks.builders import config, kind

GONE, KEPT = True, False
MESSAGE, TARGET, SINK = Scope.MESSAGE, Scope.TARGET, Scope.SINK

REFUSALS: list[tuple[Stage, int, str | None, tuple[Any, ...]]] = [
    *((stage, 421, "4.3.2", (Retry, "server_closing", None, MESSAGE)) for stage in Stage),
    (Stage.CONNECT, 554, None, (Retry, "connect_refused", None, MESSAGE)),
    (Stage.CONNECT, 450, None, (Retry, "connect_refused", None, MESSAGE)),
    (Stage.EHLO, 502, None, (Halt, "session_refused")),
    (Stage.EHLO, 451, None, (Retry, "temporary", None, MESSAGE)),
    (Stage.STARTTLS, 454, "4.7.0", (Retry, "temporary", None, MESSAGE)),
    (Stage.STARTTLS, 501, None, (Halt, "session_refused")),
    (Stage.AUTH, 454, "4.7.0", (Retry, "temporary", None, MESSAGE)),
    (Stage.AUTH, 535, "5.7.8", (Halt, "auth_refused")),
    (Stage.AUTH, 535, None, (Halt, "auth_refused")),
    (Stage.AUTH, 534, "5.7.9", (Halt, "auth_refused")),
    (Stage.AUTH, 504, "5.5.4", (Halt, "auth_refused")),
    (Stage.MAIL, 530, "5.7.0", (Halt, "auth_refused")),
    (Stage.RCPT, 530, "5.7.1", (Halt, "auth_refused")),
    *(
        (stage, code, enhanced, (Retry, "greylisted", 300, TARGET))
        for stage in (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT)
        for code, enhanced in ((450, None), (451, "4.7.1"), (450, "4.2.0"), (451, None))
    ),
    (Stage.MAIL, 452, "4.3.1", (Retry, "temporary", None, MESSAGE)),
    (Stage.RCPT, 451, "4.3.0", (Retry, "temporary", None, MESSAGE)),
    (Stage.RCPT, 450, "4.4.1", (Retry, "temporary", None, MESSAGE)),
    (Stage.RCPT, 452, None, (Retry, "temporary", None, MESSAGE)),
    (Stage.DOT, 452, "4.3.1", (Retry, "temporary", None, MESSAGE)),
    (Stage.RCPT, 452, "4.2.2", (Retry, "mailbox_full", 3600, TARGET)),
    (Stage.RCPT, 552, "5.2.2", (Retry, "mailbox_full", 3600, TARGET)),
    (Stage.DOT, 552, "5.2.2", (Retry, "mailbox_full", 3600, TARGET)),
    (Stage.RCPT, 552, None, (Retry, "mailbox_full", 3600, TARGET)),
    (Stage.RCPT, 550, "5.1.1", (Rejected, "no_such_mailbox", GONE)),
    (Stage.RCPT, 551, "5.1.6", (Rejected, "no_such_mailbox", GONE)),
    (Stage.RCPT, 553, "5.1.3", (Rejected, "no_such_mailbox", GONE)),
    (Stage.RCPT, 501, "5.1.3", (Rejected, "no_such_mailbox", GONE)),
    (Stage.RCPT, 550, None, (Rejected, "refused", KEPT)),
    (Stage.RCPT, 550, "5.7.1", (Rejected, "policy_refused", KEPT)),
    (Stage.MAIL, 550, "5.7.1", (Rejected, "policy_refused", KEPT)),
    (Stage.DOT, 550, "5.7.1", (Rejected, "policy_refused", KEPT)),
    (Stage.DOT, 554, "5.7.1", (Rejected, "policy_refused", KEPT)),
    (Stage.DOT, 552, "5.7.0", (Rejected, "policy_refused", KEPT)),
    (Stage.DOT, 550, "5.1.1", (Rejected, "refused", KEPT)),
    (Stage.DOT, 554, None, (Rejected, "refused", KEPT)),
    (Stage.MAIL, 552, "5.3.4", (Rejected, "too_large", KEPT)),
    (Stage.DOT, 552, "5.3.4", (Rejected, "too_large", KEPT)),
    (Stage.DOT, 552, None, (Rejected, "too_large", KEPT)),
    (Stage.DOT, 554, "5.3.4", (Rejected, "too_large", KEPT)),
    (Stage.MAIL, 553, "5.1.8", (Halt, "sender_refused")),
    (Stage.RCPT, 550, "5.1.8", (Halt, "sender_refused")),
    *((Stage.MAIL, code, None, (Halt, "protocol_error")) for code in range(500, 505)),
    (Stage.RCPT, 503, "5.5.1", (Halt, "protocol_error")),
    (Stage.DATA, 503, None, (Halt, "protocol_error")),
]


@pytest.mark.parametrize(("stage", "code", "enhanced", "expected"), REFUSALS)
def test_refusal(stage: Stage, code: int, enhanced: str | None, expected: tuple[Any, ...]) -> None:
    assert kind(refused(stage, code, enhanced)) == expected


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.DOT])
def test_a_connection_lost_before_the_final_dot_is_safe_to_repeat(stage: Stage) -> None:
    lost = broken(stage, "connection_lost")
    assert kind(lost) == (Retry, "connection_lost", None, MESSAGE)


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.DOT])
def test_a_timeout_before_the_final_dot_rests_the_sink(stage: Stage) -> None:
    assert kind(broken(stage, "timeout")) == (Retry, "timeout", 60, SINK)


@pytest.mark.parametrize("code", ["connection_lost", "timeout", "answer_malformed"])
def test_whatever_breaks_after_the_final_dot_is_in_doubt(code: str) -> None:
    assert kind(broken(Stage.DOT, code)) == (InDoubt, "answer_lost")


@pytest.mark.parametrize(
    ("text", "queue_id"),
    [("2.0.0 Ok: queued as 4XyZ1", "4XyZ1"), ("OK anna@example.com", None), ("", None)],
)
def test_acceptance_keeps_the_queue_id_alone(text: str, queue_id: str | None) -> None:
    assert accepted(text) == Delivered(queue_id)


class TestConfig:
    def test_starttls_is_demanded_by_default(self) -> None:
        assert config(SmtpConfig).security == "starttls"

    @pytest.mark.parametrize(
        "changes",
        [
            {"from": "not an address"},
            {"from": "A\r\nBcc: b@example.com <a@example.com>"},
            {"from": "a@example.com, b@example.com"},
            {"from": "имя@example.com"},
            {"username": "u"},
            {"password": "p"},
            {"ehlo": "a b"},
            {"host": ""},
            {"security": "maybe"},
        ],
    )
    def test_what_can_not_work_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            config(SmtpConfig, **changes)
