"""Chats that a provider told to wait, and when that is a limit of the whole bot."""

from __future__ import annotations

from dataclasses import dataclass, replace

from router.messages import Outcome, Retry, Scope


@dataclass(slots=True)
class ChatLimits:
    """The chat that was last told to wait, and until when (monotonic seconds)."""

    chat: str = ""
    until: float = 0.0

    def widened(self, chat: str, outcome: Outcome, now: float) -> Outcome:
        """The outcome; a limit while another chat is still under one holds for the sink.

        Args:
            now: Monotonic seconds.
        """
        if not isinstance(outcome, Retry) or outcome.scope is not Scope.TARGET or not outcome.after:
            return outcome
        is_repeated = self.chat != chat and now < self.until
        self.chat, self.until = chat, now + outcome.after
        return replace(outcome, scope=Scope.SINK) if is_repeated else outcome
