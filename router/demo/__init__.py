"""The demo: broker, providers, daemon and generator on this machine, from empty, and away again."""

from router.demo.once import Arrival, Summary, run_once
from router.demo.people import Whom
from router.demo.running import NoKafkaSource, Running, running_demo
from router.demo.samples import keep_publishing

__all__ = [
    "Arrival",
    "NoKafkaSource",
    "Running",
    "Summary",
    "Whom",
    "keep_publishing",
    "run_once",
    "running_demo",
]
