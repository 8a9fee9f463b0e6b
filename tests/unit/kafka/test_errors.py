"""Errors of the client library in an operator's words."""

from __future__ import annotations

from aiokafka.errors import CommitFailedError, KafkaConnectionError, TopicAuthorizationFailedError

from router.kafka.errors import explain


def test_brokers_that_do_not_answer_are_named() -> None:
    error = KafkaConnectionError(
        "Unable to bootstrap from [('kafka-1', 9092, <AddressFamily.AF_UNSPEC: 0>),"
        " ('10.0.0.2', 9093, <AddressFamily.AF_INET: 2>)]"
    )
    assert explain(error) == "no broker answers at kafka-1:9092, 10.0.0.2:9093"


def test_others_keep_their_text() -> None:
    assert explain(CommitFailedError()) == "the group has rebalanced meanwhile"
    assert "TopicAuthorizationFailedError" in explain(TopicAuthorizationFailedError("payments"))
    assert explain(OSError()) == "OSError"
