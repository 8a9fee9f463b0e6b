"""From bytes to events: plain JSON and CloudEvents, replays, dead letters, feedback. Pure."""

from router.events.attributes import POISON_CODES, source_and_id
from router.events.config import DecodeConfig, Selector
from router.events.dead_letter import (
    Cut,
    DeadLetter,
    NotADeadLetter,
    dead_letter_from_kafka,
    dead_letter_from_line,
    dead_letter_to_kafka,
    dead_letter_to_line,
)
from router.events.decode import UNREADABLE_HEADER, decode, peek_type
from router.events.feedback import (
    Feedback,
    FeedbackType,
    feedback_from_line,
    feedback_to_kafka,
    feedback_to_line,
)
from router.events.model import Collected, Event, Poison, Record, TopicPartition
from router.events.replay import MAX_HOPS, Replay, unwrap_replay, wrap_replay
from router.events.secret_fields import SecretField

__all__ = [
    "MAX_HOPS",
    "POISON_CODES",
    "UNREADABLE_HEADER",
    "Collected",
    "Cut",
    "DeadLetter",
    "DecodeConfig",
    "Event",
    "Feedback",
    "FeedbackType",
    "NotADeadLetter",
    "Poison",
    "Record",
    "Replay",
    "SecretField",
    "Selector",
    "TopicPartition",
    "dead_letter_from_kafka",
    "dead_letter_from_line",
    "dead_letter_to_kafka",
    "dead_letter_to_line",
    "decode",
    "feedback_from_line",
    "feedback_to_kafka",
    "feedback_to_line",
    "peek_type",
    "source_and_id",
    "unwrap_replay",
    "wrap_replay",
]
