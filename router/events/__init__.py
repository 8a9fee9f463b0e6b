"""From bytes to events: plain JSON and CloudEvents, pure."""

from router.events.model import Event, Poison, Record, TopicPartition

__all__ = ["Event", "Poison", "Record", "TopicPartition"]
