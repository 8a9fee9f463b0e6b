"""Replays travel with their original identity."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from router.events import Poison, Record, Replay, unwrap_replay, wrap_replay
from tests.unit.events.builders import a_record, decoded

KEY = bytes(range(16))


def published(wrapped: Any, offset: int = 7) -> Record:
    key, value, headers = wrapped
    return Record("router.replay", 0, offset, 2e9, key, value, headers)


def poison_code(record: Record) -> str:
    result = unwrap_replay(record)
    assert isinstance(result, Poison)
    return result.reason.code


def with_header(record: Record, name: str, value: bytes | None) -> Record:
    rest = tuple(h for h in record.headers if h[0] != name)
    added = () if value is None else ((name, value),)
    return Record("t", 0, 0, 0.0, record.key, record.value, rest + added)


@given(
    headers=st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=4),
    routes=st.frozensets(st.text(max_size=8), max_size=4),
    key=st.none() | st.binary(max_size=4),
    value=st.none() | st.binary(max_size=4),
    delivery_key=st.none() | st.just(KEY),
    hop=st.integers(1, 8),
    timestamp=st.floats(0, 4e9),
)
def test_unwrapping_gives_back_what_was_wrapped(
    headers: list[tuple[str, bytes]],
    routes: frozenset[str],
    key: bytes | None,
    value: bytes | None,
    delivery_key: bytes | None,
    hop: int,
    timestamp: float,
):
    original = Record("payments", 3, 41, timestamp, key, value, tuple(headers))
    wrapped = published(wrap_replay(original, routes, delivery_key, hop))
    assert unwrap_replay(wrapped) == (original, Replay(routes, delivery_key, hop))


def test_identity_survives_a_replay_of_an_event_without_id():
    original = a_record({"type": "a"}, headers=(("traceparent", b"00-1"),))
    unwrapped = unwrap_replay(published(wrap_replay(original, ["r"], None, 1)))
    assert not isinstance(unwrapped, Poison)
    assert decoded(unwrapped[0]).identity == decoded(original).identity
    assert unwrapped[0].header("traceparent") == b"00-1"


def test_a_replay_of_a_replay_replaces_its_headers():
    once = published(wrap_replay(a_record({"type": "a"}), ["r"], KEY, 1))
    twice = published(wrap_replay(once, [], None, 2))
    assert unwrap_replay(twice) == (
        a_record({"type": "a"}, topic="router.replay", partition=0, offset=7, timestamp=2e9),
        Replay(frozenset(), None, 2),
    )


def test_the_ninth_hop_is_a_loop():
    assert poison_code(published(wrap_replay(a_record({}), [], None, 9))) == "replay_loop"


def test_broken_replay_headers_are_poison():
    good = published(wrap_replay(a_record({}), ["r"], KEY, 1))
    assert poison_code(a_record({})) == "invalid_replay"
    for name, value in [
        ("router-replay-offset", None),
        ("router-replay-offset", b"x"),
        ("router-replay-topic", b"\xff"),
        ("router-replay-timestamp", b"nan"),
        ("router-replay-routes", b"{"),
        ("router-replay-routes", b'"r"'),
        ("router-replay-routes", b"[1]"),
        ("router-replay-delivery-key", b"zz"),
        ("router-replay-delivery-key", b"00"),
        ("router-replay-hop", b""),
    ]:
        assert poison_code(with_header(good, name, value)) == "invalid_replay", name
