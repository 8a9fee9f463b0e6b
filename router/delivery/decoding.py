"""What a record is to a source: an event, poison, or nothing that anybody wants."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace

from router.events import (
    DecodeConfig,
    Event,
    Poison,
    Record,
    Replay,
    decode,
    peek_type,
    unwrap_replay,
)
from router.messages import Reason
from router.planning import Ruleset
from router.sources import Unmatched

log = logging.getLogger("router.delivery")

UNMATCHED = Reason("unmatched", "no route wants it")

Outcomes = Counter[tuple[str, str]]
"""How many records came to what, by topic and outcome."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The router's own topics.

    Attributes:
        replay: Read as replays; None where there is none.
        dead_letters, feedback: Never read, should a pattern match them.
    """

    replay: str | None = None
    dead_letters: str | None = None
    feedback: str | None = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """An event, and the replay that brought it, if one did."""

    event: Event
    replay: Replay | None


@dataclass(frozen=True, slots=True)
class Decoder:
    """How a source's records are read.

    Attributes:
        unmatched: What is done with events that no route wants.
    """

    config: DecodeConfig
    topics: Topics
    unmatched: Unmatched

    def decode(
        self, record: Record, rules: Ruleset, outcomes: Outcomes
    ) -> Incoming | Poison | None:
        """The event, or the poison; None where no route can want the record.

        Args:
            outcomes: Takes what became of the record, if that is known by now.
        """
        replay: Replay | None = None
        if record.topic in (self.topics.dead_letters, self.topics.feedback):
            outcomes[record.topic, "skipped"] += 1
            return None
        if record.topic == self.topics.replay:
            unwrapped = unwrap_replay(record)
            if isinstance(unwrapped, Poison):
                outcomes[record.topic, "poison"] += 1
                return unwrapped
            record, replay = unwrapped
        else:
            kind = peek_type(record, self.config)
            if kind is not None and not rules.matcher.wants(record.topic, kind):
                return self.unwanted(record, None, outcomes)
        decoded = decode(record, self.config)
        if isinstance(decoded, Poison):
            outcomes[record.topic, "poison"] += 1
            log.warning("a record can't be decoded: %s", decoded.reason.code)
            return replace(decoded, hop=replay.hop) if replay else decoded
        return Incoming(decoded, replay)

    def unwanted(
        self, record: Record, incoming: Incoming | None, outcomes: Outcomes
    ) -> Poison | None:
        """What becomes of a record that no route wants: a dead letter, where the source says so."""
        if self.unmatched != "ignore":
            outcomes[record.topic, "unmatched"] += 1
        if self.unmatched != "dead_letter":
            return None
        if incoming is None or incoming.replay is None:
            return Poison(record, UNMATCHED)
        return Poison(incoming.event.record, UNMATCHED, hop=incoming.replay.hop)
