"""Ends what runs in the foreground when it is told to."""

from __future__ import annotations

import signal

import anyio


async def stop_on_signal(scope: anyio.CancelScope) -> None:
    """Cancels the scope at the first SIGINT or SIGTERM; run it as a task."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return
