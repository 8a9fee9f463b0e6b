"""A look-alike of the Telegram Bot API."""

from router.sandbox.telegram.server import TOKEN, TelegramApi, TelegramSettings

__all__ = ["TOKEN", "TelegramApi", "TelegramSettings"]
