"""What every sink is: a configuration model, a channel, and an answer for each parcel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, cast, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from router.clock import Clock
from router.messages import Channel, Outcome, Parcel
from router.values import Duration, Rate


class Backoff(BaseModel):
    """How long to wait between attempts: full jitter below a growing bound."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: Duration = Field(
        default=1.0, description="Upper bound of the first wait.", examples=["1s"]
    )
    factor: float = Field(
        default=2.0, ge=1, description="How much the bound grows with each attempt."
    )
    cap: Duration = Field(
        default=1800.0, description="The bound grows no further.", examples=["30m"]
    )
    give_up: Duration = Field(
        default=259200.0,
        description="How long after the first attempt a delivery that never expires is dead.",
        examples=["72h"],
    )


class Breaker(BaseModel):
    """When a sink that keeps failing is left alone for a while."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    failures: float = Field(
        default=0.7, gt=0, le=1, description="Share of failed attempts that opens it."
    )
    at_least: int = Field(
        default=10, ge=1, description="Fewer attempts in the window open nothing."
    )
    window: Duration = Field(
        default=60.0, description="How far back attempts count.", examples=["1m"]
    )
    half_open: Duration = Field(
        default=30.0, description="When one probe is let through.", examples=["30s"]
    )


class SinkConfig(BaseModel):
    """Options that every sink has; each type adds its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    type: str = Field(description="The sink's type.")
    concurrency: int = Field(16, ge=1, le=1000, description="Sends under way at once.")
    rate: Rate | None = Field(
        None, description="Messages through this sink at most.", examples=["30/s"]
    )
    target_rate: Rate | None = Field(
        None, description="Messages to one chat or address at most.", examples=["1/s"]
    )
    timeout: Duration = Field(
        15.0, gt=0, description="One attempt takes at most this long.", examples=["15s"]
    )
    retry: Backoff = Field(Backoff(), description="Waiting between attempts.")
    breaker: Breaker = Field(Breaker(), description="Leaving a failing sink alone.")
    real: bool = Field(
        True,
        description="Reaches real people: lint asks for `divert` outside production.",
    )


ConfigT = TypeVar("ConfigT", bound=SinkConfig)
ConfigT_contra = TypeVar("ConfigT_contra", bound=SinkConfig, contravariant=True)


@runtime_checkable
class Sink(Protocol):
    """An open sink. It sends and answers; it never retries, sleeps, or reads events or ledger."""

    async def send(self, parcel: Parcel) -> Outcome:
        """One attempt. A provider's answer is an outcome, never an exception."""
        ...


@runtime_checkable
class BatchSink(Protocol):
    """A sink whose provider takes many messages in one call."""

    async def send_batch(self, parcels: Sequence[Parcel]) -> Sequence[Outcome]:
        """One outcome for each parcel, in the same order."""
        ...


@dataclass(frozen=True, slots=True)
class SinkTools:
    """What the router lends a sink while it is open: its name in the configuration and a clock."""

    name: str
    clock: Clock


class OpenSink(Protocol[ConfigT_contra]):
    """Opens a sink for its lifetime."""

    def __call__(
        self, config: ConfigT_contra, tools: SinkTools
    ) -> AbstractAsyncContextManager[Sink | BatchSink]: ...


@dataclass(frozen=True, slots=True)
class SinkType(Generic[ConfigT]):
    """One kind of sink: what its module exports as ``SINK``.

    Attributes:
        name: The ``type:`` in configuration.
        config: Its configuration model.
        channel: What kind of message it takes, by its configuration (``console`` takes any).
        address_kind: Which of a recipient's addresses it sends to: ``email``, ``telegram``,
            ``max``, ``device``, ``any`` (whatever there is), ``request`` (none needed), or the
            name of a recipient attribute that holds the address (plugins).
        open: Opens it: an async context manager that gives the sink.
        audiences: Kinds of fixed addresses, for a step's ``to:``, behind which there are many
            people: ``topic``, ``condition``. A target of such an address has this kind.
    """

    name: str
    config: type[ConfigT]
    channel: Callable[[ConfigT], Channel]
    address_kind: str
    open: OpenSink[ConfigT]
    audiences: tuple[str, ...] = ()


def mistake_in(name: str, export: object) -> str | None:
    """What keeps a plugin's export from being used as the sink type of that name, or None."""
    if not isinstance(export, SinkType):
        return f"exports {type(export).__name__}, not a SinkType"
    if export.name != name:
        return f'exports a SinkType called "{export.name}" under the name "{name}"'
    config = cast("object", export.config)
    if not (isinstance(config, type) and issubclass(config, SinkConfig)):
        return "has a config that is not a subclass of SinkConfig"
    if not isinstance(cast("object", export.address_kind), str) or not export.address_kind:
        return "names no address_kind"
    if not callable(export.channel) or not callable(export.open):
        return "has a channel or an open that can't be called"
    return None
