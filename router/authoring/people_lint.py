"""Findings about the directory's file of people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from zoneinfo import available_timezones

from router.config import Project
from router.directories import PeopleError, Placed, read_placed
from router.directories.file import FileDirectoryConfig
from router.planning.policies import zone_of
from router.problems import did_you_mean
from router.templating.locales import cldr_locale, normalized

_SHOWN = 10


def people_findings(project: Project) -> Iterator[str]:
    """A file of people that would keep everybody waiting, or in which a person's time zone or
    locale is none: it would count as not given.

    A file that is missing may be put in place where the router runs: it counts only where its
    folder is here.
    """
    config = project.directory
    if not isinstance(config, FileDirectoryConfig):
        return
    path = Path(config.path)
    if not path.parent.is_dir():
        return
    try:
        people = read_placed(path.read_text("utf-8-sig"), path.suffix.lower())
    except PeopleError as error:
        trouble = str(error)
    except UnicodeDecodeError as error:
        trouble = f"it is not UTF-8 at byte {error.start}"
    except OSError as error:
        trouble = f"it can't be read: {error.strerror or error}"
    else:
        if doubts := [doubt for person in people for doubt in _doubts(person)]:
            yield f"{path.name}: {_listed(doubts)}"
        return
    yield f"{path.name}: {trouble}; until it is mended, everybody's messages wait"


def _doubts(person: Placed) -> Iterator[str]:
    recipient = person.recipient
    zone = recipient.timezone
    if zone and zone_of(zone) is None:
        hint = did_you_mean(zone, _zones(), "Zones").partition(" Zones:")[0]
        yield f'{person.place}: unknown time zone "{zone}", which counts as none.{hint}'
    for locale in (recipient.locale, *(device.locale for device in recipient.devices)):
        if locale and not _is_locale(locale):
            yield f'{person.place}: "{locale}" is not a locale, and counts as none'


def _is_locale(tag: str) -> bool:
    try:
        cldr_locale(normalized(tag))
    except ValueError:
        return False
    return True


@cache
def _zones() -> Sequence[str]:
    return sorted(name for name in available_timezones() if "/" in name or name == "UTC")


def _listed(doubts: Sequence[str]) -> str:
    more = f"; and {len(doubts) - _SHOWN} more" if len(doubts) > _SHOWN else ""
    return "; ".join(doubt.removesuffix(".") for doubt in doubts[:_SHOWN]) + more
