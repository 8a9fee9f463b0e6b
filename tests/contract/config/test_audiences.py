"""Pushes to topics and conditions: a step's fixed address behind which there are many devices."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from router.messages import Target
from tests.contract.config.test_loading import append, load, messages, root, steps

__all__ = ["root"]

ACCOUNT = json.dumps(
    {"type": "service_account", "client_email": "r@acme.example", "private_key": "k"}
)


@pytest.fixture
def push_root(root: Path) -> Path:
    router = root / "config/router.yaml"
    text = router.read_text("utf-8")
    kinds = (
        f"  phones: {{type: fcm, project_id: acme, credentials: !secret '{ACCOUNT}'}}\n"
        "  apple: {type: apns, cert_file: apns.pem}\n"
    )
    router.write_text(text.replace("sinks:\n", f"sinks:\n{kinds}"), "utf-8")
    (root / "templates/payment-failed/push.txt").write_text("---\ntitle: Hi\n---\nthere\n", "utf-8")
    return root


def test_topics_and_conditions_are_targets_of_their_own_kind(push_root: Path) -> None:
    found = steps(
        push_root,
        """
        - {id: news, sink: phones, to: {topic: news}}
        - {id: both, sink: phones, to: {condition: "'news' in topics && 'ru' in topics"}}
        - {id: one, sink: phones, to: {device: token-1}}
        """,
    )
    assert found["news"].to == Target("news", "topic")
    assert found["both"].to == Target("'news' in topics && 'ru' in topics", "condition")
    assert found["one"].to == Target("token-1", "device")
    assert not any(step.per_recipient for step in found.values())


def test_a_sink_without_topics_takes_none(push_root: Path) -> None:
    routes = push_root / "config/routes/payments.yaml"
    routes.write_text("", "utf-8")
    append(
        routes,
        """
        routes:
          r:
            match: {type: a}
            template: payment-failed
            deliver: [{sink: apple, to: {topic: news}}]
        """,
    )
    assert any("R213" in message and "apple" in message for message in messages(load(push_root)))
