"""MAX: a bot's dialogs and chats behind the Bot API's paths."""

from router.sandbox.max.server import TOKEN, MaxApi, MaxSettings

__all__ = ["TOKEN", "MaxApi", "MaxSettings"]
