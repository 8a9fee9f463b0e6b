"""Whom a route finds in an event."""

from __future__ import annotations

from typing import Any

import pytest

from router.planning import Selected, select
from tests.unit.planning.builders import event, request_step, route, selection, step


def selected(data: Any, each: str | None = "data.watchers", **fields: Any) -> Selected:
    return select(route(step(), select=selection(each, **fields)), event(data))


def ids(found: Selected) -> list[str]:
    return [draft.id for draft in found.drafts]


def codes(found: Selected) -> list[tuple[str, str]]:
    return [(failure.reason.code, failure.member) for failure in found.failures]


def test_one_recipient_by_a_path() -> None:
    assert ids(selected({"user": "u-1"}, None)) == ["u-1"]
    assert ids(selected({"user": 7}, None)) == ["7"]


@pytest.mark.parametrize("value", [None, "", True, 1.5, {}, ["u-1"]])
def test_what_is_no_id_is_a_failure_and_nobody(value: Any) -> None:
    found = selected({"user": value}, None)
    assert found.drafts == ()
    assert codes(found) == [("recipient_without_id", "0")]


def test_a_route_without_recipients_selects_nobody() -> None:
    assert select(route(request_step()), event()) == Selected(())


def test_each_element_is_a_recipient_once_and_in_order() -> None:
    found = selected({"watchers": ["u-2", "u-1", "u-2", 1, "1"]})
    assert ids(found) == ["u-2", "u-1", "1"]
    assert [draft.item for draft in found.drafts] == ["u-2", "u-1", 1]


def test_a_member_without_an_id_dies_alone() -> None:
    found = selected({"watchers": ["u-1", None, "u-2"]})
    assert ids(found) == ["u-1", "u-2"]
    assert codes(found) == [("recipient_without_id", "1")]


@pytest.mark.parametrize("data", [{}, {"watchers": None}, {"watchers": []}])
def test_a_missing_list_means_nobody(data: Any) -> None:
    assert selected(data) == Selected(())


def test_what_is_no_list_is_a_failure_of_the_route() -> None:
    assert codes(selected({"watchers": "u-1"})) == [("recipients_not_a_list", "")]


def test_any_element_is_found_by_a_wildcard() -> None:
    found = selected({"boards": [{"owner": "u-1"}, {}, {"owner": "u-2"}]}, "data.boards[*].owner")
    assert ids(found) == ["u-1", "u-2"]


def test_ids_to_leave_out_may_be_one_or_many() -> None:
    one = selected({"watchers": ["u-1", "u-2"], "author": "u-1"}, excluded="data.author")
    assert (ids(one), one.excluded) == (["u-2"], ("u-1",))
    many = selected({"watchers": ["u-1", "2"], "muted": ["u-1", 2]}, excluded="data.muted")
    assert ids(many) == []


def test_a_condition_on_the_element_leaves_out_without_a_trace() -> None:
    watchers = [{"id": "u-1", "active": True}, {"id": "u-2", "active": False}, {"id": "u-3"}]
    found = selected({"watchers": watchers}, where={"item.active": True}, id="item.id")
    assert ids(found) == ["u-1"]
    assert (found.failures, found.excluded) == ((), ())


def test_fields_of_the_route_come_with_the_recipient() -> None:
    data = {"watchers": [{"id": "u-1", "mail": "a@example.org", "tg": None}]}
    found = selected(data, id="item.id", email="item.mail", telegram="item.tg")
    assert found.drafts[0].fields == {"email": "a@example.org"}


def test_above_the_maximum_nobody_is_sent_to() -> None:
    data = {"watchers": ["u-1", "u-2", None]}
    assert ids(selected(data, maximum=2)) == ["u-1", "u-2"]
    found = selected(data, maximum=1)
    assert found.drafts == ()
    assert codes(found) == [("too_many_recipients", "")]


def test_the_maximum_counts_people_not_elements() -> None:
    assert ids(selected({"watchers": ["u-1"] * 5}, maximum=1)) == ["u-1"]
