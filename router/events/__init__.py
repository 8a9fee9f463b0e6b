"""From bytes to events: plain JSON and CloudEvents, pure."""

from router.events.config import DecodeConfig, Selector
from router.events.model import Event, Poison, Record, TopicPartition

__all__ = ["DecodeConfig", "Event", "Poison", "Record", "Selector", "TopicPartition"]
