"""Options read from models: their types, defaults and examples in an operator's words."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from router.authoring.options import Option, options_of, summary_of
from router.values import Duration, FilePath, Rate, Secret, Size


class Inner(BaseModel):
    wait: Duration = Field(90.0, description="How long.")
    match: dict[str, str] = Field(description="What.")


class Pace(BaseModel):
    wait: Duration = Field(90.0, description="How long.")
    cap: Duration = Field(1800.0, description="At most.")


class One(BaseModel):
    """One way."""

    type: Literal["one"] = Field(description="One.")
    key: Secret = Field(description="The key.", examples=["!env KEY"])


class Two(BaseModel):
    """Another way."""

    type: Literal["two"] = Field(description="Two.")
    name: str = Field(description="The name.")


class Model(BaseModel):
    """A thing that is
    configured.

    More about it.
    """

    limit: int = Field(5, ge=1, le=9, description="How many.")
    path: FilePath | None = Field(None, description="Where.")
    size: Size = Field(64 * 1024, description="How big.")
    rate: Rate | None = Field(None, description="How fast.", examples=["30/s"])
    mode: Literal["a", "b"] = Field("a", description="Which.")
    host: str = Field(description="Whose.")
    rules: list[Inner] = Field(default=[], description="Rules.")
    pace: Pace = Field(Pace(wait="2s"), description="Waits.")  # pyright: ignore[reportArgumentType]
    auth: One | Two | None = Field(None, description="Who.")


def option(name: str) -> Option:
    return {one.name: one for one in options_of(Model)}[name]


def test_compulsory_options_come_first() -> None:
    assert options_of(Model)[0] == Option("host", "text", None, True, "Whose.")


def test_types_and_defaults_read_as_they_are_written() -> None:
    assert (option("limit").type, option("limit").default) == (
        "whole number, at least 1, at most 9",
        "5",
    )
    assert (option("path").type, option("path").default) == ("path", None)
    assert (option("size").type, option("size").default) == ("size", "64KiB")
    assert (option("rate").type, option("rate").example) == ("rate", "30/s")
    assert (option("mode").type, option("mode").default) == ("`a` or `b`", "a")


def test_options_within_options_are_listed_by_path() -> None:
    assert option("rules").type == "list of mappings"
    wait = Option("rules[].wait", "duration", "1m30s", False, "How long.")
    assert option("rules[].wait") == wait
    assert option("rules[].match").description == "What. Compulsory here."


def test_a_default_of_the_whole_wins_over_those_of_its_parts() -> None:
    assert (option("pace.wait").default, option("pace.cap").default) == ("2s", "30m")


def test_alternatives_say_for_which_type_they_are() -> None:
    assert option("auth.key").description == "With `type: one`: The key. Compulsory here."
    assert option("auth.name").type == "text"
    assert "auth.type" not in {one.name for one in options_of(Model)}


def test_keys_can_be_left_out() -> None:
    names = {one.name for one in options_of(Model, but=frozenset({"auth", "rules", "pace"}))}
    assert names == {"limit", "path", "size", "rate", "mode", "host"}


def test_the_summary_is_the_first_paragraph() -> None:
    assert summary_of(Model) == "A thing that is configured."
