"""What a sink answers for one message."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something ended as it did.

    Attributes:
        code: Bounded set, snake_case: a metric label.
        text: One line for operators, without personal data or secrets.
    """

    code: str
    text: str = ""

    def __str__(self) -> str:
        return f"{self.code}: {self.text}" if self.text else self.code


class Scope(StrEnum):
    """What has to wait after a refusal."""

    MESSAGE = "message"
    TARGET = "target"
    ENDPOINT = "endpoint"
    SINK = "sink"


@dataclass(frozen=True, slots=True)
class Delivered:
    """The provider accepted the message.

    Attributes:
        provider_id: The provider's id of the message, where it gives one.
        note: What the operator should know all the same (a chat moved, an address was corrected).
    """

    provider_id: str | None = None
    note: Reason | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """The provider may accept this later.

    Attributes:
        reason: Bounded code and one line for operators, without personal data.
        after: Seconds to wait at least, from ``Retry-After`` or the provider's documented
            minimum; None lets the retry policy choose.
        scope: What has to wait: the message, its target, the endpoint or the whole sink.
    """

    reason: Reason
    after: float | None = None
    scope: Scope = Scope.MESSAGE


@dataclass(frozen=True, slots=True)
class Halt:
    """Credentials or configuration are wrong: the sink pauses and keeps its messages."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Rejected:
    """The provider will never accept this message.

    Attributes:
        reason: Why.
        recipient_gone: The address is dead, not the message wrong: it must not be used again.
    """

    reason: Reason
    recipient_gone: bool = False


@dataclass(frozen=True, slots=True)
class InDoubt:
    """The attempt broke after the provider may have accepted the message."""

    reason: Reason


Outcome: TypeAlias = Delivered | Retry | Halt | Rejected | InDoubt
