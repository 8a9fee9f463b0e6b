"""Decoders: records with headers, and the lines of files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from router.authoring.inputs import read_events
from router.events import (
    POISON_CODES,
    DeadLetter,
    DecodeConfig,
    Event,
    NotADeadLetter,
    Poison,
    Record,
    SecretField,
    Selector,
    dead_letter_from_kafka,
    dead_letter_from_line,
    dead_letter_to_kafka,
    dead_letter_to_line,
    decode,
    peek_type,
    unwrap_replay,
    wrap_replay,
)
from router.problems import ConfigError
from router.sources._lines import LineSplitter
from tests.fuzz.parts import split
from tests.fuzz.targets.checks import check_problems

_CONFIGS = (
    DecodeConfig(),
    DecodeConfig(format="json", require_type=False, data=Selector.parse("data.0")),
    DecodeConfig(format="cloudevents"),
    DecodeConfig(
        id=Selector.parse("header:id"),
        type=Selector.parse('header:"type"'),
        time=Selector.parse("meta.time"),
        source=Selector.parse("meta.source"),
        subject=Selector.parse("a.0.b"),
        secret_fields=(SecretField.parse("data.a[*].secrets"), SecretField.parse("data.b")),
        max_size=20_000,
    ),
)


def record(content: bytes) -> None:
    """A record of a topic: ``headers``, ``key`` and ``value`` are parts of the input.

    It is decoded as each kind of event, as a replay, and as a dead letter.
    """
    read = _record(content)
    for config in _CONFIGS:
        check_decoded(read, config)
    unwrapped = unwrap_replay(read)
    if isinstance(unwrapped, Poison):
        assert unwrapped.reason.code in POISON_CODES
    else:
        original, replay = unwrapped
        again = wrap_replay(original, replay.routes, replay.delivery_key, replay.hop)
        assert unwrap_replay(_of("replay", *again)) == (original, replay)
    with suppress(NotADeadLetter):
        _check_letter(dead_letter_from_kafka(read))


def check_decoded(read: Record, config: DecodeConfig) -> Event | Poison:
    """An event, or poison with a reason of its own; a glimpse of its type tells no other."""
    found = decode(read, config)
    if isinstance(found, Poison):
        assert found.reason.code in POISON_CODES
        assert len(found.reason.text) < 2_000 + len(read.headers)
        return found
    glimpse = peek_type(read, config)
    assert glimpse in (None, found.type)
    assert found.identity
    assert found.time <= max(read.timestamp, 0) + 1e9
    return found


def _check_letter(letter: DeadLetter) -> None:
    if letter.cut is None:
        line = dead_letter_from_line(dead_letter_to_line(letter))
        assert dead_letter_to_line(line) == dead_letter_to_line(letter)
    dead_letter_from_kafka(_of("dead", *dead_letter_to_kafka(letter)))


def _of(
    topic: str, key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...]
) -> Record:
    return Record(topic, 0, 0, 1_780_000_000.0, key, value, headers)


def _record(content: bytes) -> Record:
    parts = split(content)
    headers = tuple(_headers(parts.get("headers", b"")))
    value = parts.get("value")
    return _of("orders", parts.get("key"), value and value.removesuffix(b"\n"), headers)


def _headers(part: bytes) -> Iterator[tuple[str, bytes]]:
    for line in part.split(b"\n"):
        name, colon, value = line.partition(b": ")
        if colon:
            yield name.decode("utf-8", "replace"), value


def lines(content: bytes) -> None:
    """A file of events, as `dry-run` and `explain` read it, and as the daemon's sources do."""
    for config in _CONFIGS:
        for given in read_events("a.jsonl", content, config, topic="t", timestamp=1e9):
            assert given.label
            assert given.moment == given.moment
    splitter = LineSplitter(100)
    chunks = (content[i : i + 777] for i in range(0, len(content), 777))
    found = [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.finish()
    assert all(len(line) <= 101 for line in found)
    for line in content.split(b"\n"):
        with suppress(NotADeadLetter):
            _check_letter(dead_letter_from_line(line))


def sample(content: bytes) -> None:
    """A sample file of a template, given to `dry-run`."""
    try:
        read_events("a.yaml", content, _CONFIGS[0], topic="t", timestamp=1e9)
    except ConfigError as error:
        check_problems(error.problems)
