"""One request on its way: it waits for a stream, becomes one, ends in an answer or a failure."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from router.messages import Reason
from router.transport.model import AnswerLost, HttpResponse, NotSent

if TYPE_CHECKING:
    from router.transport.http2.connection import Connection


@final
@dataclass(slots=True, eq=False)
class Exchange:
    """A request and what has come of it so far.

    Attributes:
        head: The request's header fields, pseudo-header fields first.
        body: The request's body; empty for none.
        result: The answer, or :class:`NotSent` or :class:`AnswerLost`.
        max_body: Bytes of the answer that are kept.
        connection: Where it became a stream; None as long as it waits.
        window: Bytes of the body that the stream's peer still takes.
        sent: Bytes of the body that went out.
        is_whole: The request went out to its last byte.
        status: Of the answer, once it has come.
    """

    head: list[tuple[str, str]]
    body: bytes
    result: asyncio.Future[HttpResponse]
    max_body: int
    connection: Connection | None = None
    stream_id: int = 0
    window: int = 0
    sent: int = 0
    is_whole: bool = False
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    parts: list[bytes] = field(default_factory=list[bytes])
    size: int = 0

    def take(self, data: bytes) -> bool:
        """Keeps a piece of the answer's body; False when that is more than it may."""
        if self.size + len(data) > self.max_body:
            data = data[: self.max_body - self.size]
            self.parts.append(data)
            self.size += len(data)
            return False
        self.parts.append(data)
        self.size += len(data)
        return True

    def finish(self) -> None:
        """The answer has ended as it should."""
        stated = self.headers.get("content-length", "")
        self._answer(truncated=stated.isdigit() and int(stated) != self.size)

    def break_off(self, reason: Reason, *, was_refused: bool = False) -> None:
        """The stream ended early. An answer whose status has come holds all the same.

        A request that did not go out to its end can't have been served: its content is shorter
        than its ``content-length`` says, which makes it malformed (RFC 9113 §8.1.1).

        Args:
            was_refused: The peer says that it did not process the request.
        """
        if self.result.done():
            return
        if self.status:
            self._answer(truncated=True)
        elif was_refused or not self.is_whole:
            self.result.set_exception(NotSent(reason))
        else:
            self.result.set_exception(AnswerLost(reason))

    def _answer(self, *, truncated: bool) -> None:
        if not self.result.done():
            body = b"".join(self.parts)
            self.result.set_result(HttpResponse(self.status, self.headers, body, truncated))
