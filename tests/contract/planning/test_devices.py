"""One step to a person's devices: which of them, and through which platform's sink."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.authoring.rehearsed import Rehearsed, Verdict
from router.config import Project, load_project
from router.planning import fan_out
from router.recipients import Device, Recipient
from tests.contract.planning.builders import lay_out, lines_of, load, record

SINKS = """\
mobile: {type: console, channel: push}
apple: {type: console, channel: push}
mail: {type: console, channel: email}
phones: {type: by_platform, android: mobile, ios: apple}
everywhere: {type: by_platform, ios: apple, other: mobile}
"""
ROUTE = """\
failed:
  match: {{type: payment.failed}}
  recipient: {{id: data.user_id, email: data.email}}
  template: failed
  deliver:
    - {step}
    - {{id: mail, sink: mail, fallback_for: push, causes: [unreachable]}}
"""
FILES = {
    "templates/failed/template.yaml": "description: Failed\n",
    "templates/failed/push.txt": "---\ntitle: Payment failed\n---\nTry again\n",
    "templates/failed/email.txt": "---\nsubject: Payment failed\n---\nTry again\n",
}
PHONE = Device("phone", "token-a", "android", registered_at=100)
TABLET = Device("tablet", "token-b", "ios", registered_at=300)
BROWSER = Device("browser", "token-c", "web", registered_at=200)
BARE = Device("token-d", "token-d", "")


def project(root: Path, step: str) -> Project:
    return load(root, SINKS, ROUTE.format(step=step), FILES)


def lines(root: Path, step: str, *devices: Device) -> list[Rehearsed]:
    person = Recipient("u1", email="u@acme.example", devices=devices)
    event = record("payment.failed", {"user_id": "u1"})
    return lines_of(project(root, step), event, {"u1": person})


def sent(found: list[Rehearsed]) -> list[tuple[str, str]]:
    return [(line.sink, line.target) for line in found if line.verdict is Verdict.NOW]


def test_each_device_goes_through_its_platforms_sink(tmp_path: Path) -> None:
    found = lines(tmp_path, "{id: push, sink: phones}", PHONE, TABLET, BROWSER, BARE)
    assert sent(found) == [("mobile", "token-a"), ("apple", "token-b")]
    assert [(line.step, line.verdict) for line in found] == [
        ("push", Verdict.NOW),
        ("push", Verdict.NOW),
        ("mail", Verdict.IF),
    ]


def test_other_takes_what_no_platform_is_named_for(tmp_path: Path) -> None:
    found = lines(tmp_path, "{id: push, sink: everywhere}", TABLET, BROWSER, BARE)
    assert sent(found) == [("apple", "token-b"), ("mobile", "token-c"), ("mobile", "token-d")]


def test_without_a_device_of_its_platforms_a_person_is_unreachable(tmp_path: Path) -> None:
    found = lines(tmp_path, "{id: push, sink: phones}", BROWSER)
    assert [(line.step, line.verdict) for line in found] == [
        ("push", Verdict.SUPPRESSED),
        ("mail", Verdict.NOW),
    ]


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ("first", ["token-a"]),
        ("latest", ["token-b"]),
        ("all", ["token-a", "token-b"]),
    ],
)
def test_a_step_chooses_among_devices(tmp_path: Path, devices: str, expected: list[str]) -> None:
    step = f"{{id: push, sink: phones, devices: {devices}}}"
    found = lines(tmp_path, step, PHONE, BROWSER, TABLET)
    assert [target for _, target in sent(found)] == expected


def test_the_key_is_the_devices_not_its_tokens(tmp_path: Path) -> None:
    step = "{id: push, sink: phones}"
    before = lines(tmp_path, step, PHONE)[0]
    replaced = lines(tmp_path, step, Device("phone", "token-new", "android"))[0]
    bare = lines(tmp_path, step, Device("token-a", "token-a", "android"))[0]
    assert before.key == replaced.key
    assert before.key != bare.key


def test_dead_addresses_are_not_chosen_while_there_are_others(tmp_path: Path) -> None:
    (step, _) = (
        project(tmp_path, "{id: push, sink: phones, devices: latest}").routes["failed"].steps
    )
    person = Recipient("u1", devices=(PHONE, TABLET))
    (chosen,) = fan_out(step, person, {("apple", "token-b")})
    assert (chosen.target.address, chosen.is_gone) == ("token-a", False)
    (none_left,) = fan_out(step, person, {("apple", "token-b"), ("mobile", "token-a")})
    assert (none_left.target.address, none_left.is_gone) == ("token-b", True)


def test_a_token_that_is_dead_for_one_sink_is_not_for_another(tmp_path: Path) -> None:
    (step, _) = project(tmp_path, "{id: push, sink: phones}").routes["failed"].steps
    person = Recipient("u1", devices=(PHONE,))
    assert not fan_out(step, person, {("apple", "token-a")})[0].is_gone


def test_a_group_has_no_fixed_target(tmp_path: Path) -> None:
    step = "{id: push, sink: phones, to: {device: abc}}"
    loaded = load_project(lay_out(tmp_path, SINKS, ROUTE.format(step=step), FILES), environ={})
    assert [problem.code for problem in loaded.problems] == ["R213", "R219"]
