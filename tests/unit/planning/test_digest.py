"""The event that stands for a digest."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from router.events import Event
from router.messages import Channel
from router.planning import MOST_SHOWN, Told, digest_event, plan, select
from router.planning.policies import Digest, RoutePolicy
from tests.unit.planning.builders import NOW, event, person, request_step, route, selection, step

KEY = b"d" * 16
TIMES = st.lists(st.tuples(st.integers(0, 5), st.binary(min_size=2, max_size=2)), min_size=1)


def told(time: float, key: bytes) -> Told:
    return Told(key, event({"at": time}, id=key.hex(), time=NOW + time), item=key)


def test_the_newest_event_stands_for_all_under_the_digests_own_identity() -> None:
    members = [told(2, b"b"), told(3, b"a"), told(3, b"c"), told(1, b"z")]

    found, item = digest_event(KEY, members)

    assert found.data == {"at": 3}
    assert item == b"c"
    assert found.identity == f"digest:{KEY.hex()}"
    assert found.collected is not None
    assert found.collected.count == 4
    assert [item for _, item in found.collected.events] == [b"z", b"b", b"a", b"c"]


def test_a_template_goes_through_the_earliest_hundred() -> None:
    found, _ = digest_event(KEY, [told(n, n.to_bytes(2, "big")) for n in reversed(range(150))])

    assert found.collected is not None
    assert found.collected.count == 150
    assert [e.data["at"] for e, _ in found.collected.events] == list(range(MOST_SHOWN))


@given(TIMES, st.randoms(use_true_random=False))
def test_the_order_in_which_members_are_read_decides_nothing(
    arrivals: list[tuple[int, bytes]], random: Random
) -> None:
    members = [told(time, key) for time, key in {k: (t, k) for t, k in arrivals}.values()]
    shuffled = members[:]
    random.shuffle(shuffled)

    assert digest_event(KEY, members) == digest_event(KEY, shuffled)


def test_whichever_members_are_left_the_deliveries_are_the_same() -> None:
    paid = route(step(), select=selection())

    def keys(members: list[Told]) -> list[bytes]:
        found: Event = digest_event(KEY, members)[0]
        planned = plan(paid, found, select(paid, found).drafts, [person()], is_digest=True)
        return [delivery.key for delivery in planned.deliveries]

    first, second = (
        Told(bytes([n]), event({"user": "u-1"}, id=str(n), time=NOW + n)) for n in (1, 2)
    )

    assert keys([first, second]) == keys([first])


def test_a_digest_is_told_to_people_and_to_nobody_else() -> None:
    policy = RoutePolicy(digest=Digest(900.0))
    steps = (step(), request_step(), step("chat", channel=Channel.CHAT, address_kind="telegram"))
    paid = replace(route(*steps, select=selection()), policy=policy)
    one = event({"user": "u-1"})
    drafts = select(paid, one).drafts

    collected = plan(paid, one, drafts, [person()])
    flushed = plan(
        paid, digest_event(KEY, [Told(b"m", one)])[0], drafts, [person()], is_digest=True
    )

    assert [d.step.id for d in collected.deliveries] == ["hook"]
    assert [m.recipient.id for m in collected.members] == ["u-1"]
    assert [d.step.id for d in flushed.deliveries] == ["mail", "chat"]
    assert not flushed.members
