"""The people of a day, and what happens to them: seeded, endless, and full of relations.

Bills are opened, subscriptions paid, carts bought, comments read; now and then a producer says the
same twice, or something that nobody can read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, final

from router.recipients import Device, Recipient

_ZONES: Final = (
    "Europe/Moscow",
    "Europe/Moscow",
    "Asia/Yekaterinburg",
    "Europe/London",
    "America/New_York",
    "Asia/Kolkata",
    "Nowhere/Atlantis",
    None,
)
_PREFERENCES: Final = (
    {},
    {},
    {},
    {"talk": False},
    {"talk/email": False},
    {"talk/push": False, "offers": True},
    {"offers": False},
    {"offers": False, "offers/email": True},
    {"billing": False, "security": False},
)
_KINDS: Final = {
    "comment.made": 22,
    "comment.mentions": 9,
    "comment.read": 3,
    "payment.failed": 8,
    "payment.succeeded": 5,
    "bill.issued": 7,
    "push.opened": 4,
    "cart.left": 7,
    "cart.bought": 4,
    "login.new": 6,
    "code.asked": 4,
    "team.full": 5,
    "tip.found": 5,
    "entry.booked": 11,
    "deal.closed": 4,
    "page.viewed": 40,
    "letter.sent": 0.03,
}
_AGAIN, _NONSENSE, _OLD = 0.02, 0.003, 0.02


def people(dice: Random, count: int) -> dict[str, Recipient]:
    """Some have several devices, some no address at all."""
    found = (_person(dice, f"u{number}") for number in range(count))
    return {person.id: person for person in found}


def _person(dice: Random, id: str) -> Recipient:
    devices = tuple(
        Device(f"d{n}", f"{id}-token-{n}", dice.choice(["ios", "android", "web"]))
        for n in range(dice.choice([0, 1, 1, 2, 3]))
    )
    return Recipient(
        id=id,
        email=f"{id}@example.org" if dice.random() < 0.85 else None,
        telegram=str(10_000 + int(id[1:])) if dice.random() < 0.6 else None,
        timezone=dice.choice(_ZONES),
        devices=devices,
        preferences=dice.choice(_PREFERENCES),
    )


@dataclass(frozen=True, slots=True)
class Incident:
    """An event to publish.

    Attributes:
        value: Its JSON, or bytes that are none.
        key: Of its record.
        age: How many seconds ago it happened.
    """

    value: dict[str, Any] | bytes
    key: bytes | None = None
    age: float = 0.0


@final
@dataclass(slots=True)
class Stream:
    """What happens to people.

    Args:
        people: How many there are; one event in a hundred is about somebody unknown.
    """

    dice: Random
    people: int
    _number: int = 0
    _open: dict[str, deque[str]] = field(default_factory=dict[str, deque[str]])
    _said: deque[Incident] = field(default_factory=lambda: deque[Incident](maxlen=500))

    def take(self, count: int) -> Iterator[Incident]:
        """The next events."""
        kinds = self.dice.choices(list(_KINDS), list(_KINDS.values()), k=count)
        for kind in kinds:
            roll = self.dice.random()
            if roll < _NONSENSE:
                yield Incident(self.dice.choice([b"{", b"\xff\xfe", b"[1]", b'{"type": 7}']))
            elif roll < _NONSENSE + _AGAIN and self._said:
                yield self.dice.choice(self._said)
            else:
                incident = self._incident(kind)
                self._said.append(incident)
                yield incident

    def _incident(self, kind: str) -> Incident:
        self._number += 1
        value = {"id": f"e{self._number}", "type": kind, "user": self._someone(), **self._of(kind)}
        key = None if self.dice.random() < 0.01 else f"k{self.dice.randrange(60)}".encode()
        age = self.dice.uniform(0, 600) if self.dice.random() < _OLD else 0.0
        return Incident(value, key, age)

    def _of(self, kind: str) -> dict[str, Any]:
        dice = self.dice
        match kind:
            case "payment.failed":
                return {"subscription": self._opens("subscription")}
            case "payment.succeeded":
                return {"subscription": self._ends("subscription")}
            case "bill.issued":
                return {"bill": self._opens("bill"), "shop": f"s{dice.randrange(3)}"}
            case "push.opened":
                return {"bill": self._ends("bill")}
            case "cart.left":
                return {"cart": self._opens("cart")}
            case "cart.bought":
                return {"order": {"cart": self._ends("cart")}}
            case "comment.made":
                watchers = [{"id": self._someone()} for _ in range(dice.choice([1, 1, 1, 2, 4]))]
                author = dice.choice(watchers)["id"] if dice.random() < 0.2 else "nobody"
                return {"board": f"b{dice.randrange(4)}", "watchers": watchers, "author": author}
            case "comment.mentions":
                return {"comment": self._opens("comment")}
            case "comment.read":
                return {"comment": self._ends("comment")}
            case "team.full":
                return {"team": f"t{dice.randrange(self.people // 2)}"}
            case "letter.sent":
                return {"readers": [self._someone() for _ in range(dice.randrange(200, 900))]}
            case _:
                return {}

    def _someone(self) -> str:
        """A few are in the thick of it."""
        if self.dice.random() < 0.01:
            return f"unknown{self.dice.randrange(50)}"
        among = self.people // 20 if self.dice.random() < 0.25 else self.people
        return f"u{self.dice.randrange(among)}"

    def _opens(self, what: str) -> str:
        """A new one, or now and then one of the last again."""
        known = self._open.setdefault(what, deque(maxlen=300))
        if known and self.dice.random() < 0.1:
            return self.dice.choice(known)
        known.append(f"{what}{self._number}")
        return known[-1]

    def _ends(self, what: str) -> str:
        known = self._open.setdefault(what, deque(maxlen=300))
        if not known or self.dice.random() < 0.05:
            return "none"
        return known[self.dice.randrange(len(known))]
