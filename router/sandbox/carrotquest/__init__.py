"""Carrot quest: people of an app, their events and properties."""

from router.sandbox.carrotquest.server import (
    TOKEN,
    CarrotquestApi,
    CarrotquestSettings,
    PersonEvent,
)

__all__ = ["TOKEN", "CarrotquestApi", "CarrotquestSettings", "PersonEvent"]
