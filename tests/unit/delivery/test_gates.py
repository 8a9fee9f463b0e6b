"""Gates: what closes a sink, what opens it, and who obeys whom."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from router.delivery.gates import By, Gates, scopes_of, sink_of
from router.ledger import Fact
from router.messages import Reason
from tests.unit.delivery.builders import NOW

R = Reason("unauthorized", "the token is wrong")
A, B, C = (bytes([n]) * 16 for n in (1, 2, 3))


def gates(config: str = "c1", writer: str = "one") -> Gates:
    return Gates("mail", config, writer)


def halted(made: Gates | None = None) -> Gates:
    made = made or gates()
    made.halt(A, R, NOW)
    made.halt(B, R, NOW)
    return made


def why(made: Gates, now: float = NOW) -> By | None:
    gate = made.closed(now)
    return gate.by if gate else None


# Halt ----------------------------------------------------------------------------------------


def test_one_delivery_alone_halts_nothing_however_often() -> None:
    made = gates()
    assert all(made.halt(A, R, NOW + i) for i in range(5))
    assert why(made) is None


def test_two_deliveries_in_a_row_halt_the_sink() -> None:
    assert why(halted()) is By.HALT


def test_a_success_in_between_breaks_the_row() -> None:
    made = gates()
    made.halt(A, R, NOW)
    made.worked(NOW)
    made.halt(B, R, NOW)
    assert why(made) is None


def test_a_delivery_that_halts_again_after_another_succeeded_is_to_blame() -> None:
    made = gates()
    made.halt(A, R, NOW)
    made.worked(NOW)
    assert not made.halt(A, R, NOW)
    assert why(made) is None


def test_deliveries_halted_with_the_sink_are_not_to_blame_when_it_fails_again() -> None:
    made = halted()
    made.probe()
    made.probe_ended()
    assert made.worked(NOW + 31, is_probe=True)
    assert made.halt(A, R, NOW + 60)
    assert made.halt(B, R, NOW + 60)
    assert why(made, NOW + 60) is By.HALT


def test_two_deliveries_that_halt_the_sink_again_and_again_are_to_blame_in_the_end() -> None:
    made, now, verdicts = gates(), NOW, [True]
    for _ in range(10):
        verdicts = [made.halt(A, R, now), made.halt(B, R, now)]
        if not any(verdicts):
            break
        now += 1000
        made.worked(now, is_probe=True)
    assert verdicts == [False, False]


def test_a_halt_lets_a_probe_through_in_time_and_rarer_each_time() -> None:
    made, now = halted(), NOW
    waits: list[float] = []
    for _ in range(7):
        gate = made.closed(now)
        assert gate is not None
        waits.append(gate.until - now)
        assert not made.wants_probe(gate.until - 0.001)
        now = gate.until
        assert made.wants_probe(now)
        assert why(made, now) is None
        made.probe()
        assert not made.wants_probe(now)
        assert why(made, now) is By.HALT
        made.probe_ended()
        made.halt(C, R, now, is_probe=True)
    assert waits == [30, 60, 120, 240, 480, 600, 600]


def test_only_a_probe_ends_a_halt() -> None:
    made = halted()
    assert not made.worked(NOW + 1)
    assert why(made, NOW + 1) is By.HALT
    assert made.worked(NOW + 31, is_probe=True)
    assert why(made, NOW + 31) is None


def test_a_probe_that_tells_nothing_makes_the_next_one_wait() -> None:
    made = halted()
    made.probe()
    made.probe_ended()
    made.failed(NOW + 30)
    assert not made.wants_probe(NOW + 59)
    assert made.wants_probe(NOW + 60)


def test_giving_up_stands_still_while_halted() -> None:
    made = halted()
    assert made.halted_since(NOW - 10, NOW + 20) == 20
    made.worked(NOW + 40, is_probe=True)
    assert made.halted_since(NOW - 10, NOW + 100) == 40
    assert made.halted_since(NOW + 30, NOW + 100) == 10


# Others --------------------------------------------------------------------------------------


def test_retry_after_ends_by_itself_and_the_longest_holds() -> None:
    made = gates()
    made.wait(NOW + 60, R, NOW)
    made.wait(NOW + 10, R, NOW)
    assert why(made, NOW + 59) is By.RETRY_AFTER
    assert why(made, NOW + 60) is None


def test_a_target_waits_alone() -> None:
    made = gates()
    made.wait(NOW + 60, R, NOW, "chat-1")
    assert made.target_until("chat-1", NOW) == NOW + 60
    assert made.target_until("chat-2", NOW) is None
    assert made.target_until("chat-1", NOW + 60) is None
    assert why(made) is None


def test_a_breaker_wants_a_probe() -> None:
    made = gates()
    made.trip(NOW + 30, R, NOW)
    assert why(made) is By.BREAKER
    assert made.wants_probe(NOW + 30)
    made.worked(NOW + 30, is_probe=True)
    assert why(made, NOW + 30) is None


def test_a_sink_that_works_again_is_given_as_much_as_went_through() -> None:
    made = halted()
    assert made.at_once(8) == 8
    made.probe()
    made.probe_ended()
    made.worked(NOW + 30, is_probe=True)
    assert [made.at_once(8), made.worked(NOW + 31), made.at_once(8)] == [1, False, 2]
    for _ in range(6):
        made.worked(NOW + 32)
    assert [made.at_once(8), made.at_once(100)] == [8, 100]


def test_a_replica_that_hears_of_it_begins_with_little_too() -> None:
    one, two = halted(), gates(writer="two")
    for fact in one.take_changes():
        two.hear(fact, NOW)
    one.resume(NOW + 1)
    for fact in one.take_changes():
        two.hear(fact, NOW + 1)
    assert (why(two), two.at_once(8)) == (None, 1)


def test_a_pause_ends_by_resume_alone() -> None:
    made = gates()
    made.pause(R, NOW)
    made.worked(NOW, is_probe=True)
    assert why(made, NOW + 86400) is By.PAUSE
    made.resume(NOW)
    assert why(made) is None


def test_resume_opens_whatever_is_closed() -> None:
    made = halted()
    made.trip(NOW + 30, R, NOW)
    made.wait(NOW + 30, R, NOW)
    made.resume(NOW)
    assert why(made) is None


# The ledger ----------------------------------------------------------------------------------


def heard(made: Gates, *facts: Fact, now: float = NOW) -> list[bool]:
    return [made.hear(fact, now) for fact in facts]


def test_gates_outlive_a_restart() -> None:
    first = halted()
    first.wait(NOW + 60, R, NOW, "chat-1")
    second = gates()
    second.load(first.take_changes(), NOW)
    assert why(second) is By.HALT
    assert second.target_until("chat-1", NOW) == NOW + 60
    assert second.halt(C, R, NOW + 31, is_probe=True)
    gate = second.closed(NOW + 31)
    assert gate is not None
    assert (gate.strikes, gate.since) == (2, NOW)


def test_another_configuration_ends_a_halt_but_remembers_it() -> None:
    second = gates(config="c2")
    second.load(halted().take_changes(), NOW + 50)
    assert why(second, NOW + 50) is None
    assert second.halted_since(NOW, NOW + 100) == 50
    third = gates(config="c2")
    third.load(second.take_changes(), NOW + 60)
    assert why(third, NOW + 60) is None
    assert third.halted_since(NOW, NOW + 100) == 50


def test_replicas_obey_each_other() -> None:
    one, two = halted(), gates(writer="two")
    assert any(heard(two, *one.take_changes()))
    assert why(two) is By.HALT
    two.worked(NOW + 31, is_probe=True)
    heard(one, *two.take_changes(), now=NOW + 31)
    assert why(one, NOW + 31) is None
    assert one.halted_since(NOW, NOW + 100) == 31


def test_a_replica_with_an_old_secret_does_not_halt_the_others() -> None:
    two = gates(config="c2", writer="two")
    assert heard(two, *halted().take_changes()) == [False]
    assert why(two) is None


def test_a_gate_that_was_just_opened_is_not_closed_again_by_older_words() -> None:
    one, two = halted(), gates(writer="two")
    closing = one.take_changes()
    heard(two, *closing)
    two.worked(NOW + 31, is_probe=True)
    assert heard(two, *closing, now=NOW + 31) == [False]
    assert heard(one, *closing) == [False]
    assert why(two, NOW + 31) is None


def test_what_a_newer_router_wrote_is_passed_over() -> None:
    made = gates()
    for value in ("", "[]", "{}", '{"by": "quota", "since": 1, "until": 2}', "null"):
        assert heard(made, Fact("gate:sink:mail", "quota", value)) == [False]
    made.load([Fact("gate:sink:mail", "quota", "{}")], NOW)
    assert why(made) is None


def test_scopes_name_their_sink() -> None:
    assert {sink_of(scope) for scope in scopes_of("a:b")} == {"a:b"}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(range(7))), max_size=30))
def test_replicas_that_have_heard_everything_agree(steps: list[tuple[str, int]]) -> None:
    replicas = {name: gates(writer=name) for name in "ab"}
    now, log = NOW, list[Fact]()
    for name, action in steps:
        made, now = replicas[name], now + 1
        match action:
            case 0:
                made.wait(now + 10_000, R, now)
            case 1:
                made.trip(now + 10_000, R, now)
            case 2:
                made.pause(R, now)
            case 3:
                made.resume(now)
            case 4:
                made.halt(A, R, now)
                made.halt(B, R, now)
            case 5:
                made.worked(now, is_probe=True)
            case _:
                for fact in log:
                    made.hear(fact, now)
        log += made.take_changes()
    for made in replicas.values():
        heard(made, *log, now=now)
    a, b = ({by for by in By if made.is_closed_by(by)} for made in replicas.values())
    assert a == b
