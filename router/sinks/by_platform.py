"""A group of push sinks: each of a person's devices is sent to through its platform's sink.

It sends nothing itself and is never opened: planning puts the platform's sink in its place.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from router.messages import Channel
from router.sinks._contract import Sink, SinkConfig, SinkTools, SinkType

OTHER: Final = "other"
_PLATFORMS: Final = ("android", "ios", "web", OTHER)
_OF_MEMBERS: Final = tuple(name for name in SinkConfig.model_fields if name != "type")


def _without_options_of_members(schema: dict[str, Any]) -> None:
    for name in _OF_MEMBERS:
        schema["properties"].pop(name, None)


class ByPlatformConfig(SinkConfig):
    """The push sink of each platform. Rates, timeouts and retries are those of these sinks."""

    model_config = ConfigDict(json_schema_extra=_without_options_of_members)

    android: str | None = Field(
        None, description="Name of the sink for Android devices.", examples=["mobile"]
    )
    ios: str | None = Field(
        None, description="Name of the sink for iPhones and iPads.", examples=["apple"]
    )
    web: str | None = Field(None, description="Name of the sink for browsers.", examples=["mobile"])
    other: str | None = Field(
        None,
        description="Name of the sink for devices of other platforms, or of none known; without "
        "it nothing is sent to them.",
        examples=["mobile"],
    )
    real: bool = Field(False, description="Whether its sinks reach real people, they say.")

    @field_validator(*_OF_MEMBERS, mode="before")
    @classmethod
    def _said_by_members(cls, value: object) -> object:
        raise ValueError("the sinks of the group have this option, the group has not")

    @model_validator(mode="after")
    def _has_members(self) -> Self:
        if not self.members:
            raise ValueError("name a sink for android, ios, web or other")
        return self

    @property
    def members(self) -> Mapping[str, str]:
        """Platform (or ``other``) to the name of its sink."""
        named = {platform: getattr(self, platform) for platform in _PLATFORMS}
        return {platform: sink for platform, sink in named.items() if sink is not None}


@asynccontextmanager
async def _open(config: ByPlatformConfig, tools: SinkTools) -> AsyncGenerator[Sink]:
    raise RuntimeError(f"sink {tools.name} is a group; its sinks are opened, it is not")
    yield


def _channel(config: ByPlatformConfig) -> Channel:
    return Channel.PUSH


SINK = SinkType("by_platform", ByPlatformConfig, _channel, "device", _open)
