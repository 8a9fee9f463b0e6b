"""The worker: from records read to messages settled and offsets committed."""

from router.delivery.dead_letters import DEAD_LETTERS, Outbox, Publisher, PublishFailed
from router.delivery.dispatch import Dispatcher
from router.delivery.gates import By, Gate, Gates
from router.delivery.input_rows import INPUTS
from router.delivery.intake import Intake, Topics, Window
from router.delivery.lane import Lane
from router.delivery.lanes import Lanes, SpillBudget
from router.delivery.resume import Resumer
from router.delivery.settling import Settler
from router.delivery.watched import WatchedLedger

__all__ = [
    "DEAD_LETTERS",
    "INPUTS",
    "By",
    "Dispatcher",
    "Gate",
    "Gates",
    "Intake",
    "Lane",
    "Lanes",
    "Outbox",
    "PublishFailed",
    "Publisher",
    "Resumer",
    "Settler",
    "SpillBudget",
    "Topics",
    "WatchedLedger",
    "Window",
]
