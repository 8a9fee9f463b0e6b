"""What can go wrong with Kafka, by what the caller can do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from router.events import TopicPartition

_ASKED: Final = re.compile(r"\('([^']+)', (\d+), <AddressFamily")
"""A server in the client library's text about servers that did not answer."""


class KafkaUnavailable(Exception):
    """The cluster can't be reached, or the client is beyond repair: connect again later."""


class KafkaRefused(Exception):
    """The cluster answers, and refuses (authorisation): the client may go on trying."""


class OutOfRange(Exception):
    """A position that the partition doesn't have, or has no longer."""

    def __init__(self, place: TopicPartition, offset: int) -> None:
        super().__init__(f"{place.topic}/{place.partition} has no offset {offset}")
        self.place = place
        self.offset = offset


class CommitRefused(Exception):
    """Offsets were not committed, or not in time."""


class PublishFailed(Exception):
    """Records that the cluster did not acknowledge; they may have arrived all the same.

    Attributes:
        failed: Indexes into the batch, each with its reason.
        unsent: Those of them that can't have arrived: they did not leave this process.
    """

    def __init__(self, failed: dict[int, str], unsent: Iterable[int] = ()) -> None:
        first = next(iter(failed.values()), "")
        super().__init__(f"{len(failed)} not acknowledged: {first}")
        self.failed = failed
        self.unsent = frozenset(unsent)


class TopicRefused(Exception):
    """The cluster refused to create a topic; the text says why."""


def explain(error: BaseException) -> str:
    """One line about an error of the client library, without its class's boilerplate."""
    name = type(error).__name__
    if name == "CommitFailedError":
        return "the group has rebalanced meanwhile"
    text = str(error).splitlines()[0] if str(error) else ""
    if "Unable to bootstrap from" in text:
        return f"no broker answers at {', '.join(map(':'.join, _ASKED.findall(text)))}"
    return f"{name}: {text}" if text and name not in text else text or name
