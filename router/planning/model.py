"""Routes as linked from configuration, and the deliveries that come of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal, TypeAlias

from router.events import Event
from router.messages import Channel, Reason, Target
from router.planning.policies import (
    AT_ONCE,
    FREE,
    Bypass,
    CancelOn,
    Mode,
    QuietHours,
    RoutePolicy,
    StepPolicy,
)
from router.problems import Position
from router.recipients import Recipient
from router.routing import Condition, Path
from router.templating import Value
from router.values import Secret

InDoubtRule = Literal["resend", "dead_letter"]
OnUnknown = Literal["dead_letter", "suppress", "wait"]
Devices = Literal["first", "all", "latest"]
OTHER_PLATFORM: Final = "other"
UNKNOWN_PLATFORM: Final = ""


class Cause(StrEnum):
    """Why a fallback starts.

    ``unsettled``: its primary is neither delivered nor has failed some time after it was free to
    go. ``opted_out``: the recipient wants nothing on the primary's channel.
    """

    UNREACHABLE = "unreachable"
    REJECTED = "rejected"
    UNSETTLED = "unsettled"
    OPTED_OUT = "opted_out"


@dataclass(frozen=True, slots=True)
class Category:
    """What a notification is about, for preferences and owners.

    Attributes:
        optional: People may opt out; mails of it carry unsubscribe headers.
        bypass: What its notifications pass by.
    """

    name: str
    description: str
    owner: str | None = None
    optional: bool = True
    bypass: frozenset[Bypass] = frozenset()


@dataclass(frozen=True, slots=True)
class SinkFacts:
    """What planning must know of a sink; nothing of how it sends.

    Attributes:
        address_kind: See :class:`router.sinks.SinkType`.
        is_real: Reaches real people.
        by_platform: Of a group, platform to the sink that takes its place; of a sink that takes
            certain platforms only, each of them to itself. Empty: it takes every device. Devices
            of no known platform are ``UNKNOWN_PLATFORM``, of any other ``OTHER_PLATFORM``.
        is_group: It sends nothing itself.
        event_hosts: Of a sink to customers' endpoints, hosts that their addresses may have where
            an event brings them.
        is_signed: Of a sink to customers' endpoints: each needs a secret.
    """

    name: str
    type: str
    channel: Channel
    address_kind: str
    is_real: bool = True
    by_platform: Mapping[str, str] = field(default_factory=dict[str, str])
    is_group: bool = False
    event_hosts: tuple[str, ...] = ()
    is_signed: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """How a route finds its recipients in an event.

    Attributes:
        each: A list in the event, one recipient an element (``item``); None is one recipient.
        fields: Recipient field (``id``, ``email``, ``locale`` …) to the path of its value;
            paths may start with ``item``.
        excluded: Ids (or lists of ids) that are left out.
        where: A condition on ``item``, or None.
        maximum: More recipients than this and nobody is sent to.
    """

    fields: Mapping[str, Path]
    each: Path | None = None
    excluded: Path | None = None
    where: Condition | None = None
    maximum: int = 100_000


@dataclass(frozen=True, slots=True)
class TemplateContent:
    """A template's message for the step's channel.

    Attributes:
        variables: The route's ``with:`` map; variables it does not name are read from ``data``.
    """

    template: str
    variables: Mapping[str, Value] = field(default_factory=dict[str, Value])


@dataclass(frozen=True, slots=True)
class RequestContent:
    """An HTTP request described in YAML.

    Attributes:
        path: With ``{name}`` places filled from ``params``, percent-encoded.
        json, form, text: At most one is given: the body.
    """

    method: str = "POST"
    path: str = ""
    params: Mapping[str, Value] = field(default_factory=dict[str, Value])
    query: Mapping[str, Value] = field(default_factory=dict[str, Value])
    headers: Mapping[str, Value] = field(default_factory=dict[str, Value])
    json: Value | None = None
    form: Mapping[str, Value] | None = None
    text: Value | None = None


@dataclass(frozen=True, slots=True)
class PayloadContent:
    """The event itself, as ``{type, timestamp, data}``: a webhook without a template."""


@dataclass(frozen=True, slots=True)
class TrackContent:
    """An analytics event.

    Attributes:
        name: What the event is called there.
        distinct_id: Path of the person's id; None is the recipient's id.
        properties: By name: values, or paths whose value is left out where the event has none.
    """

    name: Value
    distinct_id: Path | None
    properties: Mapping[str, Value | Path] = field(default_factory=dict[str, Value | Path])


@dataclass(frozen=True, slots=True)
class TableContent:
    """What to track, by event type; the step runs for these types only."""

    entries: Mapping[str, TrackContent]


ProfileOperation = Literal["set", "set_once", "add", "append", "union", "remove"]


@dataclass(frozen=True, slots=True)
class ProfileContent:
    """Changes to a person's analytics profile.

    Attributes:
        distinct_id: Path of the person's id; None is the recipient's id.
        operations: What is done, to which property, with which value.
        unset: Properties to remove.
    """

    distinct_id: Path | None
    operations: Mapping[ProfileOperation, Mapping[str, Value]]
    unset: tuple[str, ...] = ()


Content: TypeAlias = (
    TemplateContent | RequestContent | PayloadContent | TrackContent | TableContent | ProfileContent
)


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a route's ``deliver:`` list, with every default applied.

    Attributes:
        id: Stable name within the route; part of the delivery key.
        was: Its earlier id, kept for the key.
        per_recipient: False: once per event, with an empty recipient id.
        to: A fixed target instead of recipients' addresses.
        fallback_for: The step whose failure starts this one.
        causes: Which failures do.
        after: Seconds after which an unsettled primary starts it.
        unless: An event that makes it pointless, such as that the primary was seen. With it, the
            primary's delivery alone does not.
        policy: When its deliveries go.
        expires: Seconds after the event; None never.
        devices: Which of a person's devices it goes to.
        by_platform: See :class:`SinkFacts`; each delivery's step has the sink it goes through.
        event_hosts: See :class:`SinkFacts`.
    """

    id: str
    sink: str
    channel: Channel
    address_kind: str
    content: Content
    at: Position
    was: str | None = None
    per_recipient: bool = True
    to: Target | None = None
    fallback_for: str | None = None
    causes: frozenset[Cause] = frozenset()
    after: float | None = None
    unless: CancelOn | None = None
    policy: StepPolicy = AT_ONCE
    expires: float | None = None
    in_doubt: InDoubtRule = "resend"
    devices: Devices = "all"
    by_platform: Mapping[str, str] = field(default_factory=dict[str, str])
    event_hosts: tuple[str, ...] = ()

    @property
    def key_id(self) -> str:
        return self.was or self.id

    @property
    def is_for_people(self) -> bool:
        """What people may decide on holds for it: preferences, quiet hours, throttles, digests."""
        return self.channel.is_personal and self.per_recipient and self.to is None

    def wants(self, event_type: str) -> bool:
        """False where its analytics table does not have the type."""
        content = self.content
        return not isinstance(content, TableContent) or event_type in content.entries


@dataclass(frozen=True, slots=True)
class Route:
    """A named rule: what it matches, who receives, which steps.

    Attributes:
        id: Stable name; part of every delivery key.
        was: Its earlier name, kept for the key.
        selection: None where no step is personal.
        steps: In the order written; a fallback may stand before or after its primary.
        policy: What its notifications are held to.
        digest: Hash of everything that decides its behaviour (reload rebuilds only what changed).
    """

    id: str
    match: Condition
    steps: tuple[Step, ...]
    at: Position
    was: str | None = None
    description: str = ""
    owner: str | None = None
    category: str | None = None
    selection: Selection | None = None
    on_unknown: OnUnknown = "dead_letter"
    policy: RoutePolicy = FREE
    digest: str = ""

    @property
    def key_id(self) -> str:
        return self.was or self.id

    @property
    def is_on(self) -> bool:
        """It matches events, if only to see what would be sent."""
        return self.policy.mode is not Mode.OFF


@dataclass(frozen=True, slots=True)
class Divert:
    """Where real messages go instead: an address, or None to suppress them.

    Attributes:
        targets: By channel.
        by_kind: By kind of address, such as ``telegram``; these come before the channel's.
    """

    targets: Mapping[Channel, str | None]
    by_kind: Mapping[str, str | None] = field(default_factory=dict[str, str | None])

    def covers(self, channel: Channel, kind: str) -> bool:
        """Whether messages of the channel to addresses of the kind go elsewhere, or nowhere."""
        return kind in self.by_kind or channel in self.targets

    def address(self, channel: Channel, kind: str) -> str | None:
        """Where they go, if they are covered; None: nowhere."""
        return self.by_kind[kind] if kind in self.by_kind else self.targets[channel]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to one recipient through one sink for one event, not yet rendered.

    It keeps its route and step, so that work in flight ends under the configuration that
    planned it.

    Attributes:
        key: 16 bytes, its idempotency key.
        family: 16 bytes, the key without endpoint and part: shared by a person's devices.
        item: The element of ``each`` it was made for, or None.
        target: Where to; None with ``barred`` set.
        endpoint: The device or address in a fan-out; part of the key.
        expires_at: Seconds since the epoch; None never.
        barred: Why it is suppressed without an attempt (``unreachable``, ``diverted`` …).
        fallbacks: Deliveries that start if this one fails for one of their steps' causes.
        siblings: How many deliveries its family has (the person's devices).
        primaries: Of a fallback: keys of the deliveries that it stands in for, all of one family.
        secrets: Of the customer's endpoint that it goes to; never kept, never shown.
        not_before: It is not sent before, seconds since the epoch; None at once.
        quiet_hours: The recipient's, with their zone; None where it may go at any time.
        cancel_scopes: Where marks are that end it before it is sent, and for how many seconds
            after its event they count.
        order_scope, seq: With an order: of what, and its place; a lower place goes first.
    """

    key: bytes
    family: bytes
    event: Event
    route: Route
    step: Step
    recipient: Recipient | None
    target: Target | None
    item: Any = None
    endpoint: str = ""
    part: str = ""
    tenant: str = ""
    expires_at: float | None = None
    barred: Reason | None = None
    fallbacks: tuple[Delivery, ...] = ()
    siblings: int = 1
    primaries: tuple[bytes, ...] = ()
    secrets: tuple[Secret, ...] = ()
    not_before: float | None = None
    quiet_hours: QuietHours | None = None
    cancel_scopes: tuple[tuple[str, float], ...] = ()
    order_scope: str | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """An event that a person is told of in a digest.

    Attributes:
        key: 16 bytes, its idempotency key.
        scope: Whose digest: of which route, person and key.
        cancel_scopes: As of a delivery.
    """

    key: bytes
    scope: str
    event: Event
    route: Route
    recipient: Recipient
    item: Any = None
    tenant: str = ""
    cancel_scopes: tuple[tuple[str, float], ...] = ()
