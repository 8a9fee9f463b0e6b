"""The record as the inbox page reads it: by person and channel, with what repeats or is gone."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from router.messages import Channel
from router.sandbox.record import Received, Record, Refused

REFUSED = "refused"
REPEATS = "repeats"
SHOWS = ("", *Channel, REFUSED, REPEATS)
"""What a view can be narrowed to; "" is everything received."""


@dataclass(frozen=True, slots=True)
class Whom:
    """Who is behind an address.

    Attributes:
        name: The person's; of somebody unknown, the address itself.
        address: As people would say it, such as ``phone, android``.
    """

    name: str
    address: str
    is_person: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """What of the record is asked for; empty texts narrow nothing.

    Attributes:
        who: A person's name, or an address.
        show: One of ``SHOWS``.
        text: What has to stand in it somewhere, in whatever case.
        before: Only what is older than the entry with this number; 0 is no bound.
    """

    who: str = ""
    show: str = ""
    text: str = ""
    before: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """One entry, and what the rest of the record says about it.

    Attributes:
        nth, times: Which of how many sends of one key to one recipient it is.
        replaced_by: The number of the push that took its place on the device.
    """

    entry: Received
    whom: Whom
    nth: int = 1
    times: int = 1
    replaced_by: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Refusals in a row that are alike: the last of them, and how many."""

    last: Refused
    whom: Whom
    times: int


@dataclass(frozen=True, slots=True)
class Party:
    """A person with all their addresses, or an address of nobody known.

    Attributes:
        repeats: How many of the received are second, third … sends of a key to one recipient.
    """

    whom: Whom
    addresses: tuple[str, ...]
    received: Counter[Channel]
    repeats: int
    refused: int

    @property
    def total(self) -> int:
        return self.received.total()


@final
class Index:
    """Reads what the record gained whenever it is asked, each entry once."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._people: dict[str, Whom] = {}
        self._read = self._read_refused = 0
        self._received: defaultdict[str, Counter[Channel]] = defaultdict(Counter)
        self._refused: Counter[str] = Counter()
        self._sends: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        self._on_screen: dict[tuple[str, str], int] = {}
        self._replaced: dict[int, int] = {}
        self._repeats: Counter[str] = Counter()
        # Older entries that a newer one changed: pairs of the newer and the older number, in order.
        self._changes: list[tuple[int, int]] = []
        self.names = 0

    def introduce(self, people: Mapping[str, Whom]) -> None:
        """Says who is behind addresses; what was said of others stays. ``names`` counts these."""
        self._people |= people
        self.names += 1

    def whom(self, address: str) -> Whom:
        """Who is behind an address."""
        return self._people.get(address) or Whom(address, address)

    @property
    def received(self) -> int:
        """How many entries the record has."""
        return len(self._record)

    @property
    def refused(self) -> int:
        """How many refusals the record has."""
        return len(self._record.refused)

    def parties(self) -> Sequence[Party]:
        """Everybody whom something was meant for: people by name, then other addresses."""
        self._catch_up()
        addresses: defaultdict[str, list[str]] = defaultdict(list)
        for address in dict.fromkeys([*self._received, *self._refused]):
            addresses[self.whom(address).name].append(address)
        parties = [
            Party(
                replace(self.whom(own[0]), address=", ".join(self.whom(a).address for a in own)),
                tuple(own),
                sum((self._received[address] for address in own), Counter[Channel]()),
                sum(self._repeats[address] for address in own),
                sum(self._refused[address] for address in own),
            )
            for own in addresses.values()
        ]
        return sorted(parties, key=lambda p: (not p.whom.is_person, p.whom.name.casefold()))

    def items(self, view: View, after: int = 0, limit: int | None = None) -> Sequence[Item]:
        """Entries in view behind number ``after``, newest first."""
        found: list[Item] = []
        for item in self._newest_first(after, view.before):
            if limit is not None and len(found) >= limit:
                break
            if _is_in(view, item):
                found.append(item)
        return found

    def changed(self, view: View, after: int) -> Sequence[Item]:
        """Entries in view up to number ``after`` that later ones made repeats of or replaced."""
        self._catch_up()
        fresh = self._changes[bisect_right(self._changes, (after, self.received)) :]
        numbers = {number for _, number in fresh if number <= after}
        items = map(self._item, sorted(numbers, reverse=True))
        return [item for item in items if _is_in(view, item)]

    def refusals(self, view: View, limit: int) -> Sequence[Refusal]:
        """What was refused, newest first; those alike in a row as one."""
        found: list[Refusal] = []
        for refused in reversed(self._record.refused):
            if found and _are_alike(found[-1].last, refused):
                found[-1] = replace(found[-1], times=found[-1].times + 1)
                continue
            whom = self.whom(refused.recipient)
            parts = (refused.recipient, whom.name, refused.provider, refused.why)
            if not _is_of(view, refused.recipient, whom) or not _has(view.text, parts):
                continue
            if len(found) == limit:
                break
            found.append(Refusal(refused, whom, 1))
        return found

    def _newest_first(self, after: int, before: int) -> Iterator[Item]:
        self._catch_up()
        newest = min(before - 1, self.received) if before else self.received
        return map(self._item, range(newest, after, -1))

    def _item(self, number: int) -> Item:
        (entry,) = self._record.after(number - 1, 1)
        item = Item(entry, self.whom(entry.recipient), replaced_by=self._replaced.get(number))
        if entry.key is None:
            return item
        sends = self._sends[entry.key, entry.recipient]
        return replace(item, nth=sends.index(number) + 1, times=len(sends))

    def _catch_up(self) -> None:
        for entry in self._record.after(self._read):
            self._read = entry.number
            self._received[entry.recipient][entry.channel] += 1
            self._note_repeat(entry)
            self._note_replaced(entry)
        for refused in self._record.refused[self._read_refused :]:
            self._read_refused = refused.number
            self._refused[refused.recipient] += 1

    def _note_repeat(self, entry: Received) -> None:
        if entry.key is None:
            return
        sends = self._sends[entry.key, entry.recipient]
        if sends:
            self._repeats[entry.recipient] += 1
        self._changes += [(entry.number, older) for older in sends]
        sends.append(entry.number)

    def _note_replaced(self, entry: Received) -> None:
        tag = entry.details.get("tag") or entry.details.get("collapse_id")
        if entry.channel is not Channel.PUSH or not tag or is_silent(entry):
            return
        older = self._on_screen.get((entry.recipient, tag))
        self._on_screen[entry.recipient, tag] = entry.number
        if older is not None:
            self._replaced[older] = entry.number
            self._changes.append((entry.number, older))


def is_silent(push: Received) -> bool:
    """Whether a push goes to the app alone."""
    details = push.details
    return details.get("silent") == "yes" or details.get("push_type") == "background"


def _is_in(view: View, item: Item) -> bool:
    entry = item.entry
    if view.show == REPEATS:
        if item.times == 1:
            return False
    elif view.show not in ("", entry.channel):
        return False
    parts = (entry.recipient, item.whom.name, item.whom.address, entry.title, entry.text)
    return _is_of(view, entry.recipient, item.whom) and _has(
        view.text, (*parts, entry.provider, entry.key or "")
    )


def _is_of(view: View, recipient: str, whom: Whom) -> bool:
    return not view.who or view.who in (recipient, whom.name)


def _has(text: str, parts: tuple[str, ...]) -> bool:
    wanted = text.strip().casefold()
    return not wanted or any(wanted in part.casefold() for part in parts)


def _are_alike(one: Refused, other: Refused) -> bool:
    facts = [(it.provider, it.recipient, it.why) for it in (one, other)]
    return facts[0] == facts[1]
