"""Directories: profiles from the event alone, or from a file."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from router.clock import ManualClock
from router.directories import KINDS, Directory
from router.recipients import Device, Recipient, Unavailable, Unknown

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def a_directory(
    type: str, clock: ManualClock | None = None, **config: Any
) -> AsyncGenerator[Directory]:
    kind = KINDS.load(type)
    model = kind.config.model_validate({"type": type} | config)
    async with kind.open(model, clock=clock or ManualClock()) as directory:
        yield directory


async def lookup(path: Path, *ids: str) -> list[Any]:
    async with a_directory("file", path=str(path)) as directory:
        return list(await directory.lookup(ids))


async def trouble(path: Path) -> str:
    [answer] = await lookup(path, "1")
    assert isinstance(answer, Unavailable)
    assert answer.reason.code == "directory_unreadable"
    return answer.reason.text.removeprefix(str(path)).removeprefix(": ")


ANNA = Recipient(
    "42",
    email="anna@example.ru",
    locale="ru",
    telegram="100500",
    devices=(Device("d", "t", "ios", registered_at=5.0),),
    attributes={"city": "Omsk", "phone": "0079"},
    preferences={"news/email": False},
)

YAML = """\
- id: 42
  email: anna@example.ru
  locale: ru
  telegram: 100500
  devices: [{id: d, token: t, platform: ios, registered_at: 5}]
  attributes: {city: Omsk, phone: 0079}
  preferences: {news/email: false}
- id: bob
"""


async def test_the_event_directory_knows_everybody_by_id_only():
    async with a_directory("event") as directory:
        assert await directory.lookup(["a", "b"]) == [Recipient("a"), Recipient("b")]


async def test_people_are_found_in_the_order_asked(tmp_path: Path):
    path = tmp_path / "people.yaml"
    path.write_text(YAML)
    assert await lookup(path, "bob", "nobody", "42") == [
        Recipient("bob"),
        Unknown("nobody"),
        ANNA,
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.yaml", "42: {email: anna@example.ru}\n"),
        ("p.yml", "- {id: 42, email: anna@example.ru}\n"),
        ("p.json", '[{"id": 42, "email": "anna@example.ru"}]'),
        ("p.JSON", '{"42": {"email": "anna@example.ru"}}'),
        ("p.csv", "id,email,attributes.city\n42,anna@example.ru,\n"),
        ("p.csv", "\ufeffid,email\r\n42,anna@example.ru\r\n"),
    ],
)
async def test_every_format_and_shape(tmp_path: Path, name: str, text: str):
    (tmp_path / name).write_text(text, "utf-8")
    assert await lookup(tmp_path / name, "42") == [Recipient("42", email="anna@example.ru")]


async def test_csv_columns_reach_attributes_and_preferences(tmp_path: Path):
    path = tmp_path / "p.csv"
    path.write_text("id,attributes.city,preferences.news\n1,Omsk,false\n2,,true\n")
    assert await lookup(path, "1", "2") == [
        Recipient("1", attributes={"city": "Omsk"}, preferences={"news": False}),
        Recipient("2", preferences={"news": True}),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.yaml", "- id: 1\n  emial: x", 'line 1: unknown field "emial". Did you mean "email"?'),
        ("p.yaml", "- email: x", "line 1: id is missing"),
        ("p.yaml", "- {id: 1}\n- {id: 1}", "line 2: this id stands twice"),
        ("p.yaml", "1: {}\n1: {}", "line 2: this key stands twice"),
        ("p.yaml", "- a", "line 1: not a map of fields"),
        ("p.yaml", "text", "neither a list of people nor a map"),
        ("p.yaml", "- {id: 1", "line 2: did not find"),
        ("p.yaml", "- {id: 1, preferences: {news: maybe}}", "line 1: preferences.news: input"),
        ("p.yaml", "- {id: 1, devices: [{tokn: x}]}", 'Did you mean "token"?'),
        ("p.json", '[{"id": 1}', "line 1: "),
        ("p.csv", "id\n1,2\n", "line 2: more values than columns"),
        ("p.csv", "id,emial\n1,x\n", 'line 2: unknown field "emial"'),
    ],
)
async def test_a_mistake_is_named_with_its_place(
    tmp_path: Path, name: str, text: str, message: str
):
    (tmp_path / name).write_text(text)
    assert message in await trouble(tmp_path / name)


async def test_a_missing_file_makes_everybody_unavailable(tmp_path: Path):
    assert "can't be read: No such file" in await trouble(tmp_path / "p.yaml")


async def test_bytes_that_are_not_text_are_named(tmp_path: Path):
    (tmp_path / "p.yaml").write_bytes(b"- id: \xff")
    assert "not UTF-8 at byte 6" in await trouble(tmp_path / "p.yaml")


async def test_changes_are_read_and_mistakes_keep_the_old_people(tmp_path: Path):
    path, clock = tmp_path / "p.yaml", ManualClock()
    path.write_text("- id: 1\n")

    async def ask() -> list[Any]:
        clock.advance(2)
        return list(await directory.lookup(["1", "2"]))

    async with a_directory("file", clock, path=str(path)) as directory:
        assert await ask() == [Recipient("1"), Unknown("2")]
        path.write_text("- id: 2\n- id: 3\n")
        assert await ask() == [Unknown("1"), Recipient("2")]
        path.write_text("- id: 2\n  oops: 3\n")
        assert await ask() == [Unknown("1"), Recipient("2")]
        path.unlink()
        gone = await ask()
        assert all(isinstance(answer, Unavailable) for answer in gone)
        path.write_text("- id: 1\n")
        assert await ask() == [Recipient("1"), Unknown("2")]


async def test_the_file_is_looked_at_once_a_second_at_most(tmp_path: Path):
    path, clock = tmp_path / "p.yaml", ManualClock()
    path.write_text("- id: 1\n")
    async with a_directory("file", clock, path=str(path)) as directory:
        await directory.lookup(["1"])
        os.truncate(path, 0)
        assert await directory.lookup(["1"]) == [Recipient("1")]
        clock.advance(1)
        assert await directory.lookup(["1"]) == [Unknown("1")]


def test_a_file_of_another_kind_is_refused():
    with pytest.raises(ValidationError, match=r"ends in one of \.yaml"):
        KINDS.load("file").config.model_validate({"type": "file", "path": "people.txt"})
