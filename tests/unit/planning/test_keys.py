"""Delivery keys: stable names decide, positions in a file never."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from router.planning import delivery_key, derived_key, family_key, plan, record_hash, select
from tests.unit.planning.builders import event, person, request_step, route, step

_PARTS = {
    "tenant": "",
    "identity": "orders/e-1",
    "route": "paid",
    "step": "mail",
    "recipient": "u-1",
    "endpoint": "",
}


def key(**changes: str) -> bytes:
    return delivery_key(**{**_PARTS, **changes})


def keys_of(*steps: Any, **fields: Any) -> dict[str, bytes]:
    """The delivery key of each step, as planned for one person."""
    made = route(*steps, **fields)
    happened = event({"user": "u-1"})
    drafts = select(made, happened).drafts
    planned = plan(made, happened, drafts, [person() for _ in drafts])
    return {d.step.id: d.key for d in planned.deliveries}


def test_golden_values() -> None:
    assert key().hex() == "86d56b2ff869f76c12d58836d108781c"
    assert key(endpoint="token-1", part="2").hex() == "f5532651185d67b930f3e66147a1b93b"
    assert derived_key(key(), "dead-letter:1").hex() == "7bad5510e63829f94820b6081a48cafa"
    assert record_hash("orders/0/42", 1_767_323_045.0).hex() == "92b26e2d44b07b4e9988f76736e21d39"


@given(
    st.lists(st.text(max_size=3), min_size=6, max_size=6),
    st.lists(st.text(max_size=3), min_size=6, max_size=6),
)
def test_different_parts_give_different_keys(one: list[str], other: list[str]) -> None:
    assert (key_of(one) == key_of(other)) is (one == other)


def key_of(parts: list[str]) -> bytes:
    return delivery_key(**dict(zip(_PARTS, parts, strict=True)))


def test_text_can_not_move_between_parts() -> None:
    assert key(route="ab", step="c") != key(route="a", step="bc")


def test_a_family_is_no_delivery_and_knows_no_endpoint() -> None:
    named = {k: v for k, v in _PARTS.items() if k != "endpoint"}
    assert family_key(**named) != key()


def test_a_record_is_told_from_one_at_the_same_position_of_a_recreated_topic() -> None:
    assert record_hash("orders/0/1", 1.0) != record_hash("orders/0/1", 2.0)


def test_moving_and_inserting_steps_changes_no_key() -> None:
    mail, chat, hook = step(), step("chat", address_kind="telegram"), request_step()
    before = keys_of(mail, chat)
    after = keys_of(hook, chat, mail)
    assert {id: after[id] for id in before} == before


def test_a_step_and_a_route_keep_their_keys_when_they_are_renamed() -> None:
    before = keys_of(step("mail"))["mail"]
    assert keys_of(step("post", was="mail"))["post"] == before
    assert keys_of(step("mail"), id="payment-received", was="paid")["mail"] == before
    assert keys_of(step("post"))["post"] != before


def test_the_sink_of_a_step_is_no_part_of_its_key() -> None:
    assert keys_of(step("mail", sink="other")) == keys_of(step("mail"))


def test_an_event_with_the_same_identity_has_the_same_keys() -> None:
    made = route(request_step())
    first, second = event(offset=1), event(offset=2)
    (one,), (two,) = (plan(made, e, (), ()).deliveries for e in (first, second))
    assert one.key == two.key
    assert plan(made, replace(first, identity="other"), (), ()).deliveries[0].key != one.key
