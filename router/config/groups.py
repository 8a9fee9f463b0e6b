"""What planning must know of sinks, and groups of them: which sink takes which devices."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from router.messages import Channel
from router.nodes import Node
from router.planning import OTHER_PLATFORM, UNKNOWN_PLATFORM, SinkFacts
from router.problems import Position, Problems, did_you_mean
from router.sinks import SinkConfig, SinkType
from router.sinks.by_platform import ByPlatformConfig


def sink_facts(name: str, kind: SinkType[Any], config: SinkConfig) -> SinkFacts:
    """The facts of one sink.

    A configuration may say more than its type: ``platforms`` takes devices of these alone,
    ``address_kind`` is which addresses it sends to, ``event_hosts`` and ``is_signed`` are about
    customers' endpoints.
    """
    is_group = isinstance(config, ByPlatformConfig)
    return SinkFacts(
        name,
        kind.name,
        kind.channel(config),
        getattr(config, "address_kind", kind.address_kind),
        config.real,
        by_platform=_of_group(config) if is_group else _of_sink(name, config),
        is_group=is_group,
        event_hosts=tuple(getattr(config, "event_hosts", ())),
        is_signed=getattr(config, "is_signed", False),
    )


def _of_group(config: ByPlatformConfig) -> Mapping[str, str]:
    members = dict(config.members)
    if OTHER_PLATFORM in members:
        members[UNKNOWN_PLATFORM] = members[OTHER_PLATFORM]
    return members


def _of_sink(name: str, config: SinkConfig) -> Mapping[str, str]:
    platforms: Collection[str] = getattr(config, "platforms", None) or ()
    if not platforms:
        return {}
    return {str(platform): name for platform in platforms} | {UNKNOWN_PLATFORM: name}


def check_groups(
    groups: Mapping[str, ByPlatformConfig],
    facts: Mapping[str, SinkFacts],
    names: Sequence[str],
    document: Node,
    problems: Problems,
) -> None:
    """Every member of a group is a push sink that takes devices of its platform.

    Args:
        names: Of all sinks, those with mistakes included.
    """
    for name, group in groups.items():
        for platform, member in group.members.items():
            at = document.locate(["sinks", name, platform])
            _check_member(platform, member, facts, names, at, problems)


def _check_member(
    platform: str,
    member: str,
    facts: Mapping[str, SinkFacts],
    names: Sequence[str],
    at: Position,
    problems: Problems,
) -> None:
    found = facts.get(member)
    if found is None:
        if member not in names:
            hint = did_you_mean(member, names, "Sinks")
            problems.error("S008", f'unknown sink "{member}".{hint}', at)
    elif found.is_group:
        problems.error("S008", f'"{member}" is a group itself; name a sink', at)
    elif found.channel is not Channel.PUSH:
        message = f'sink "{member}" sends {found.channel} messages; a group is of push sinks'
        problems.error("S008", message, at)
    elif found.by_platform and platform not in {*found.by_platform, OTHER_PLATFORM}:
        known = ", ".join(sorted(p for p in found.by_platform if p))
        message = f'sink "{member}" takes no {platform} devices, only {known}'
        problems.error("S008", message, at)
