"""The worker: from records read to messages settled and offsets committed."""

from router.delivery.dead_letters import DEAD_LETTERS, Publisher
from router.delivery.decoding import Topics
from router.delivery.feedback import FEEDBACK, Reporting
from router.delivery.gates import By
from router.delivery.input_rows import INPUTS
from router.delivery.intake import Intake, Window
from router.delivery.outbox import PublishFailed
from router.delivery.worker import Limits, Worker

__all__ = [
    "DEAD_LETTERS",
    "FEEDBACK",
    "INPUTS",
    "By",
    "Intake",
    "Limits",
    "PublishFailed",
    "Publisher",
    "Reporting",
    "Topics",
    "Window",
    "Worker",
]
