"""Everything that policies do, as dry-run shows it: golden files in ``rehearsals``.

``NAME.yaml`` is a project's file of routes, ``NAME.jsonl`` events one after the other, and
``NAME.silences.json`` what is silenced meanwhile, if anything. ``NAME.txt`` and ``NAME.json`` are
what must be printed. With ``UPDATE_EXPECTED=1`` they are written anew, for a diff to be read.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.contract.authoring.builders import write_project
from tests.contract.authoring.cli import run

CASES = sorted(Path(__file__).with_name("rehearsals").glob("*.yaml"))
ROUTER = """\
include: [routes.yaml]
sources:
  main: {type: stdin}
ledger: {type: sqlite, path: ledger.db, retention: 30d}
directory: {type: file, path: people.yaml}
sinks:
  push: {type: console, channel: push}
  mail: {type: console, channel: email}
  count: {type: console, channel: request}
categories:
  orders: {description: Orders}
  offers: {description: Offers, throttle: {limit: 1, per: 7d}, priority: bulk}
"""
PEOPLE = """\
ann:
  name: Ann
  email: ann@example.com
  timezone: Europe/Moscow
  devices: [{platform: android, token: phone-of-ann-1}]
bob: {name: Bob, email: bob@example.com, preferences: {orders/email: false}}
eve: {name: Eve, email: eve@example.com, timezone: America/New_York}
"""
LAYOUT = """\
---
subject: {% if digest %}{{ digest.count }} orders{% else %}An order{% endif %}
---
{% if digest %}{% for one in digest.events %}
- {{ one.data.total }}
{% endfor %}{% else %}Total {{ total }}{% endif %}
"""
PUSH = "---\ntitle: An order\n---\nTotal {{ total }}\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
@pytest.mark.parametrize("output", ["text", "json"])
def test_what_would_become_of_events_is_shown_exactly(case: Path, output: str, place: Path) -> None:
    write_project(
        place,
        router=ROUTER,
        routes=case.read_text("utf-8"),
        layout=LAYOUT,
        more={"config/people.yaml": PEOPLE, "templates/note/push.txt": PUSH},
    )
    (place / "events.jsonl").write_bytes(case.with_suffix(".jsonl").read_bytes())
    silences = case.with_suffix(".silences.json")
    options = ["--silences", silences] if silences.exists() else []
    ran = run("dry-run", "events.jsonl", "--output", output, *options)
    assert ran.code == 0, ran
    expected = case.with_suffix(".json" if output == "json" else ".txt")
    if os.environ.get("UPDATE_EXPECTED"):
        expected.write_text(ran.out, "utf-8")
    assert ran.out == expected.read_text("utf-8")


@pytest.mark.parametrize(
    ("silences", "says"),
    [
        ("[", "it is no JSON"),
        ("[1]", "silence 1 is no mapping"),
        ('[{"rout": "paid"}]', 'silence 1 has no key "rout". Did you mean "route"?'),
        ('{"until": 1}', "silence 1 silences everything: say what"),
        ('{"match": {"tipe": 1}}', "silence 1: "),
    ],
)
def test_silences_that_cannot_be_understood_are_told(silences: str, says: str, place: Path) -> None:
    write_project(place)
    (place / "silences.json").write_text(silences, "utf-8")
    ran = run("dry-run", "templates/note/samples/first.yaml", "--silences", "silences.json")
    assert ran.code == 2, ran
    assert ran.err.startswith(f"silences.json: {says}")


def test_a_silence_can_be_tried_before_it_is_added(place: Path) -> None:
    write_project(place)
    why = ("--for", "2h", "--comment", "the bank is down")
    tried = run("silence", "add", "--route", "paid", *why, "--dry-run", "--output", "json")
    assert tried.code == 0, tried
    sample = "templates/note/samples/first.yaml"
    ran = run("dry-run", sample, "--silences", "-", "--no-content", stdin=tried.out)
    assert f"silenced: silence {tried.json['id']}" in ran.out
