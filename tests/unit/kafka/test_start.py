"""Where reading starts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.kafka.start import Note, Why, decide_start, first_partition_count


def decide(**given: Any):
    facts = {
        "committed": None,
        "progress": None,
        "beginning": 10,
        "end": 100,
        "configured": 100,
        "is_new_partition": False,
    }
    return decide_start(**(facts | given))


@pytest.mark.parametrize(
    ("facts", "offset", "why", "severity"),
    [
        # committed offsets decide
        ({"committed": 50}, 50, Why.RESUMED, "info"),
        ({"committed": 10}, 10, Why.RESUMED, "info"),
        ({"committed": 100}, 100, Why.RESUMED, "info"),
        ({"committed": 50, "progress": 50}, 50, Why.RESUMED, "info"),
        ({"committed": 50, "progress": 40}, 50, Why.RESUMED, "info"),
        ({"committed": 50, "is_new_partition": True}, 50, Why.RESUMED, "info"),
        ({"committed": 0, "beginning": 0, "end": 0}, 0, Why.RESUMED, "info"),
        # Kafka lies behind the ledger: somebody turned it back
        ({"committed": 50, "progress": 51}, 50, Why.REWIND, "alert"),
        # retention overtook the group
        ({"committed": 9}, 10, Why.RETENTION, "alert"),
        ({"committed": 3, "progress": 50}, 10, Why.RETENTION, "alert"),
        # the topic is another one now
        ({"committed": 101}, 10, Why.OUT_OF_RANGE, "alert"),
        # the group's offsets expired: the ledger knows
        ({"progress": 50}, 50, Why.OFFSETS_GONE, "alert"),
        ({"progress": 50, "is_new_partition": True}, 50, Why.OFFSETS_GONE, "alert"),
        ({"progress": 9}, 10, Why.RETENTION, "alert"),
        ({"progress": 101}, 10, Why.OUT_OF_RANGE, "alert"),
        # the topic grew
        ({"is_new_partition": True}, 10, Why.NEW_PARTITION, "notice"),
        # the first start ever
        ({}, 100, Why.FIRST_START, "notice"),
        ({"configured": 10}, 10, Why.FIRST_START, "notice"),
        ({"configured": 70}, 70, Why.FIRST_START, "notice"),
    ],
)
def test_the_whole_table(facts: dict[str, Any], offset: int, why: Why, severity: str):
    start = decide(**facts)
    assert (start.offset, start.why, start.severity) == (offset, why, severity)
    assert bool(start.text) == (severity != "info")


def test_a_loss_by_retention_is_counted():
    assert decide(committed=3).text.startswith("7 offsets from 3 on were deleted")


OFFSETS = st.none() | st.integers(0, 120)


@given(
    committed=OFFSETS,
    progress=OFFSETS,
    beginning=st.integers(0, 50),
    length=st.integers(0, 50),
    is_new=st.booleans(),
)
def test_reading_starts_within_the_partition_and_skips_nothing_unseen(
    committed: int | None, progress: int | None, beginning: int, length: int, is_new: bool
):
    end = beginning + length
    start = decide_start(
        committed=committed,
        progress=progress,
        beginning=beginning,
        end=end,
        configured=end,
        is_new_partition=is_new,
    )
    assert beginning <= start.offset <= end
    known = committed if committed is not None else progress
    if known is not None:
        assert start.offset <= max(known, beginning)
    elif is_new:
        assert start.offset == beginning


@pytest.mark.parametrize("note", [Note(), Note("u-1", 4), Note(None, 0), Note("u-1", None)])
def test_a_note_reads_back(note: Note):
    assert Note.parse(note.dump()) == note


@pytest.mark.parametrize("metadata", ["", "x", "[]", "null", '{"ledger":5,"partitions":true}'])
def test_what_others_wrote_is_an_empty_note(metadata: str):
    assert Note.parse(metadata) == Note()


def test_partitions_beyond_the_first_count_are_new():
    assert first_partition_count({}, 4) == 4
    assert first_partition_count({0: Note("u", 2), 1: Note("u", 2)}, 4) == 2
    assert first_partition_count({0: Note("u", 3), 1: Note("u", 2)}, 4) == 2
    assert first_partition_count({0: Note("u", None), 1: Note("u", 2)}, 4) == 2


def test_without_a_count_what_was_never_committed_is_new():
    assert first_partition_count({0: Note()}, 4) == 0
