"""Publishes records, acknowledged by all in-sync replicas."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, final

import anyio
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, UnknownError, UnsupportedVersionError

from router.kafka.connection import KafkaConnection
from router.kafka.errors import PublishFailed, explain
from router.kafka.extension import has_compiled_extension

log = logging.getLogger("router.kafka")

Outgoing: TypeAlias = tuple[bytes | None, bytes | None, Iterable[tuple[str, bytes]]]
"""Key, value and headers."""

_REQUEST_TIMEOUT_MS = 10_000
_STOP_DEADLINE_S = 2.0
_MAX_REQUEST = 100 * 1024**2


@final
class Producer:
    """Publishes batches. It connects with the first one, and again after a broken connection."""

    def __init__(self, connection: KafkaConnection, linger_s: float) -> None:
        self._connection = connection
        self._linger_ms = round(linger_s * 1000)
        self._client: AIOKafkaProducer | None = None
        self._connecting = anyio.Lock()
        self._is_idempotent = True

    async def publish(
        self, topic: str, batch: Sequence[Outgoing], *, timeout_s: float = 15.0
    ) -> None:
        """Publishes all of a batch; returns when every record is acknowledged.

        Raises:
            PublishFailed: some are not, and which; those may have arrived all the same.
        """
        late = f"no acknowledgement within {timeout_s:g} s"
        outcome: dict[int, str | None] = dict.fromkeys(range(len(batch)), late)
        pending: dict[int, Future[Any]] = {}
        client: AIOKafkaProducer | None = None
        with anyio.move_on_after(timeout_s):
            try:
                client = await self._connected()
            except (KafkaError, OSError) as error:
                raise PublishFailed(dict.fromkeys(outcome, explain(error)), outcome) from error
            for index, (key, value, headers) in enumerate(batch):
                try:
                    pending[index] = await client.send(topic, value, key, headers=list(headers))
                except (KafkaError, ValueError, AssertionError) as error:
                    outcome[index] = explain(error)
            if pending:
                await asyncio.wait(pending.values())
        for index, sent in pending.items():
            if sent.done():
                error = sent.exception()
                outcome[index] = explain(error) if error else None
            else:
                sent.add_done_callback(_mark_seen)
        failed = {index: text for index, text in outcome.items() if text is not None}
        if failed:
            await self._drop(client)
            raise PublishFailed(failed, failed.keys() - pending.keys())

    async def close(self) -> None:
        """Ends the connection; records under way have a moment to leave."""
        await self._drop(self._client)

    async def _drop(self, client: AIOKafkaProducer | None) -> None:
        """Makes the next batch connect anew.

        After a refused record, too: the library counts it in the idempotent producer's sequence,
        so that the broker would refuse all that follow it.
        """
        if client is None:
            return
        if client is self._client:
            self._client = None
        with anyio.move_on_after(_STOP_DEADLINE_S, shield=True):
            await client.stop()

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._client is None:
                self._client = await self._connect()
            return self._client

    async def _connect(self) -> AIOKafkaProducer:
        has_compiled_extension()
        try:
            return await self._start(self._is_idempotent)
        except (UnknownError, UnsupportedVersionError):
            if not self._is_idempotent:
                raise
        client = await self._start(False)
        log.warning("the brokers support no idempotent producer: a record may arrive twice")
        self._is_idempotent = False
        return client

    async def _start(self, is_idempotent: bool) -> AIOKafkaProducer:
        client = AIOKafkaProducer(
            **self._connection.client_options(),
            acks="all",
            enable_idempotence=is_idempotent,
            linger_ms=self._linger_ms,
            max_request_size=_MAX_REQUEST,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
        )
        is_started = False
        try:
            await client.start()
            is_started = True
        finally:
            if not is_started:
                with anyio.move_on_after(_STOP_DEADLINE_S, shield=True):
                    await client.stop()
        return client


def _mark_seen(late: Future[Any]) -> None:
    """Nobody waits for this one any more; asyncio would complain of a failure not looked at."""
    if not late.cancelled():
        late.exception()


@asynccontextmanager
async def producer(
    connection: KafkaConnection, *, linger_s: float = 0.0
) -> AsyncGenerator[Producer]:
    """A producer for the length of the block; needs no broker to open."""
    opened = Producer(connection, linger_s)
    try:
        yield opened
    finally:
        await opened.close()
