"""Keeps a consumer from asking without pause where a broker does not hold empty fetches back.

Apache Kafka answers a fetch that has nothing to give after ``fetch.max.wait.ms``. Small embedded
brokers answer at once, and the client library asks again at once: an idle consumer then burns a
core. Such an answer is passed on a little later.
"""

from __future__ import annotations

from typing import Any, Final

from router.clock import Clock

_AT_ONCE_S: Final = 0.02
_PAUSE_S: Final = 0.015


def make_patient(consumer: Any, clock: Clock) -> None:
    """Puts the pause into a started consumer's client."""
    client = consumer._client  # pyright: ignore[reportPrivateUsage]
    send = client.send

    async def send_patiently(node_id: Any, request: Any, **options: Any) -> Any:
        asked = clock.monotonic()
        response = await send(node_id, request, **options)
        if (
            type(request).__name__.startswith("FetchRequest")
            and clock.monotonic() - asked < _AT_ONCE_S
            and _is_empty(response)
        ):
            await clock.sleep(_PAUSE_S)
        return response

    client.send = send_patiently


def _is_empty(response: Any) -> bool:
    """Neither records nor errors for any partition."""
    return not any(
        partition[1] or partition[-1]
        for _, partitions in response.topics
        for partition in partitions
    )
