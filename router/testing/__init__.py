"""Conformance suites: what every sink and directory has to do, as tests that a plugin can run.

They need pytest, and the ``demo`` extra for nothing but built-in kinds.
"""

from router.testing import _asserts as _asserts
from router.testing.directories import DirectoryConformance, DirectoryScenario, People
from router.testing.providers import (
    REFUSALS,
    Answer,
    Call,
    HttpProvider,
    Provider,
    Situation,
    closed_port,
    http_provider,
    json_answer,
)
from router.testing.rules import mistakes_in
from router.testing.sinks import SinkConformance, SinkScenario, SinkTypeConformance

__all__ = [
    "REFUSALS",
    "Answer",
    "Call",
    "DirectoryConformance",
    "DirectoryScenario",
    "HttpProvider",
    "People",
    "Provider",
    "SinkConformance",
    "SinkScenario",
    "SinkTypeConformance",
    "Situation",
    "closed_port",
    "http_provider",
    "json_answer",
    "mistakes_in",
]
