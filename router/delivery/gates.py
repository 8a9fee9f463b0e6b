"""Gates: the one mechanism for halt, pause, breaker and ``Retry-After``.

A gate closes a sink or one target of it until a time. Gates are facts in the ledger, so that they
outlive a restart and all replicas obey them. A halt or an open breaker lets one probe through when
its time has come; what the probe says opens it or closes it again for longer.

Every change of a gate has a version, later than what its author knew and by its clock, so that a
replica that has just opened a gate does not obey the older word of another one to close it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import blake2b
from typing import Any, final

import orjson

from router.ledger import Fact
from router.messages import Reason

PREFIX = "gate:"
_HALT_PROBE_S = 30.0
_HALT_PROBE_MOST_S = 600.0
_PAUSE_S = 365 * 86400.0
_KEEP_S = 30 * 86400.0
_MOST_TARGETS = 10_000
_MOST_BLAMED = 10_000
_TO_BLAME = 3


class By(StrEnum):
    """Who closed a gate."""

    HALT = "halt"
    BREAKER = "breaker"
    RETRY_AFTER = "retry_after"
    PAUSE = "pause"


_PROBED = frozenset({By.HALT, By.BREAKER})


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate. Times are seconds since the epoch.

    Attributes:
        until: When it opens, or lets a probe through.
        strikes: How often in a row it was closed; a halt's probes grow rarer.
        config: Hash of the sink's configuration a halt is bound to: a new one ends it.
        version: Of this word about the gate; ``writer`` is the replica that wrote it.
        is_open: It was opened again.
    """

    by: By
    since: float
    until: float
    reason: Reason
    strikes: int = 1
    config: str = ""
    version: int = 0
    writer: str = ""
    is_open: bool = False


@final
class Gates:
    """The gates of one sink, as this process knows them; changes are collected as facts.

    Args:
        config: Hash of the sink's configuration and secrets.
        writer: Names this process.
    """

    def __init__(self, sink: str, config: str, writer: str = "") -> None:
        self.sink = sink
        self.config = config
        self._writer = writer
        self._gates: dict[By, Gate] = {}
        self._probing = False
        self._proven: int | None = None
        self._words: dict[By, tuple[int, str]] = {}
        self._targets: dict[str, float] = {}
        self._suspects: set[bytes] = set()
        self._blame: dict[bytes, int] = {}
        self._halts: dict[float, float] = {}
        self._changed: list[Fact] = []

    # What may go --------------------------------------------------------------------------------

    def closed(self, now: float) -> Gate | None:
        """The gate that keeps the sink closed now, the one that opens last; None lets through.

        A gate whose time has come but that wants a probe first still counts as closed while its
        probe is under way.
        """
        if not self._gates:
            return None
        found: Gate | None = None
        for by, gate in list(self._gates.items()):
            if now >= gate.until and by not in _PROBED:
                del self._gates[by]
            elif (now < gate.until or self._probing) and (
                found is None or gate.until > found.until
            ):
                found = gate
        return found

    def wants_probe(self, now: float) -> bool:
        """One delivery, and no more, should go to see whether the sink works again."""
        return not self._probing and any(
            by in _PROBED and now >= gate.until for by, gate in self._gates.items()
        )

    def probe(self) -> None:
        """A probe is on its way."""
        self._probing = True

    def probe_ended(self) -> None:
        """The probe is back, or never went out: the next one may."""
        self._probing = False

    def at_once(self, most: int) -> int:
        """How many may be under way: of a sink that was halted or left alone, no more than went
        through since it works again. What waited for it would bring it down again."""
        if self._proven is None or self._proven >= most:
            self._proven = None
            return most
        return self._proven

    def target_until(self, target: str, now: float) -> float | None:
        """Until when a target has to wait, or None."""
        if not self._targets:
            return None
        until = self._targets.get(_hashed(target))
        return until if until is not None and until > now else None

    def is_closed_by(self, by: By) -> bool:
        """Whether this is among what keeps the sink closed, or lets only probes through."""
        return by in self._gates

    def closed_until(self, by: By) -> float | None:
        """Until when this keeps the sink closed, or when it wants a probe; None: it does not."""
        gate = self._gates.get(by)
        return gate.until if gate else None

    @property
    def targets(self) -> int:
        """How many targets were told to wait, as far as remembered."""
        return len(self._targets)

    # What happened ------------------------------------------------------------------------------

    def wait(self, until: float, reason: Reason, now: float, target: str | None = None) -> None:
        """A provider told the sink, or one target, to wait."""
        if target is not None:
            self._target_waits(_hashed(target), until, now)
            gate = Gate(By.RETRY_AFTER, now, until, reason)
            fact = Fact(f"{PREFIX}target:{self.sink}", _hashed(target), _value(gate), until)
            self._changed.append(fact)
            return
        known = self._gates.get(By.RETRY_AFTER)
        if known is None or until > known.until:
            self._close(By.RETRY_AFTER, until, reason, now)

    def halt(self, key: bytes, reason: Reason, now: float, *, is_probe: bool = False) -> bool:
        """A delivery was answered with a halt.

        Two in a row from different deliveries close the sink. A delivery that halts again after
        another one went through is itself the trouble; where the sink was halted meanwhile, it
        has to do so several times, since then the sink may have been.

        Returns:
            False: the delivery, not the sink, is to blame.
        """
        if self._blame.get(key, 0) >= _TO_BLAME:
            return False
        known = self._gates.get(By.HALT)
        if is_probe or (known is None and self._suspects - {key}):
            strikes = known.strikes + 1 if known else 1
            wait = min(_HALT_PROBE_MOST_S, _HALT_PROBE_S * 2 ** (strikes - 1))
            self._close(By.HALT, now + wait, reason, now, strikes)
        self._suspects.add(key)
        return True

    def trip(self, until: float, reason: Reason, now: float) -> None:
        """The breaker opens."""
        self._close(By.BREAKER, until, reason, now)

    def failed(self, now: float) -> None:
        """A probe told nothing about credentials: the halt's next one has to wait."""
        if gate := self._gates.get(By.HALT):
            self._close(By.HALT, now + _HALT_PROBE_S, gate.reason, now, gate.strikes)

    def worked(self, now: float, *, is_probe: bool = False) -> bool:
        """A delivery went through; if it was a probe, halts and breaker end.

        Returns:
            Whether something was closed, and is open now.
        """
        was_halted = By.HALT in self._gates
        if self._proven is not None:
            self._proven += 1
        if self._suspects and (is_probe or not was_halted):
            for key in self._suspects:
                self._blame[key] = self._blame.get(key, 0) + (1 if was_halted else _TO_BLAME)
            self._suspects.clear()
            if len(self._blame) > _MOST_BLAMED:
                self._blame.clear()
        if not is_probe:
            return False
        opened = [by for by in _PROBED if by in self._gates]
        for by in opened:
            self._open(by, now)
        return bool(opened)

    def pause(self, reason: Reason, now: float) -> None:
        """An operator closes the sink until further notice."""
        self._close(By.PAUSE, now + _PAUSE_S, reason, now)

    def resume(self, now: float) -> None:
        """An operator opens it, whatever closed it."""
        for by in list(self._gates):
            self._open(by, now)

    def halted_since(self, start: float, now: float) -> float:
        """Seconds since ``start`` in which the sink was halted: giving up stands still then."""
        spans = list(self._halts.items())
        if gate := self._gates.get(By.HALT):
            spans.append((gate.since, now))
        return sum(max(0.0, min(end, now) - max(begin, start)) for begin, end in spans)

    def take_changes(self) -> list[Fact]:
        """Facts to write since last asked."""
        changed = self._changed
        if changed:
            self._changed = []
        return changed

    # The ledger ---------------------------------------------------------------------------------

    def load(self, facts: Iterable[Fact], now: float) -> None:
        """Takes over the gates that the ledger holds; a halt of another configuration ends."""
        for fact in facts:
            self.hear(fact, now)
            gate = _from_value(fact.value)
            if fact.member == By.HALT and gate and not gate.is_open and gate.config != self.config:
                self._gates[By.HALT] = gate
                self._open(By.HALT, now)

    def hear(self, fact: Fact, now: float) -> bool:
        """Obeys what another replica or a command wrote; whether anything changed here."""
        gate = _from_value(fact.value)
        if gate is None:
            return False
        if fact.scope == f"{PREFIX}halts:{self.sink}":
            is_new = gate.since not in self._halts
            self._halts[gate.since] = gate.until
            return is_new
        if fact.scope == f"{PREFIX}target:{self.sink}":
            return self._target_waits(fact.member, gate.until, now)
        if fact.scope != f"{PREFIX}sink:{self.sink}":
            return False
        word = (gate.version, gate.writer)
        if word <= self._words.get(gate.by, (-1, "")):
            return False
        self._words[gate.by] = word
        if gate.is_open:
            was_closed = self._gates.pop(gate.by, None) is not None
            self._begin(gate.by, is_new=was_closed)
            return was_closed
        if gate.by is By.HALT and gate.config != self.config:
            return False
        self._gates[gate.by] = gate
        return True

    def _target_waits(self, target: str, until: float, now: float) -> bool:
        if until <= max(now, self._targets.get(target, 0.0)):
            return False
        if len(self._targets) >= _MOST_TARGETS:
            self._targets = {t: at for t, at in self._targets.items() if at > now}
        self._targets[target] = until
        return True

    def _close(self, by: By, until: float, reason: Reason, now: float, strikes: int = 1) -> None:
        known = self._gates.get(by)
        since = known.since if known else now
        gate = Gate(by, since, until, reason, strikes, self.config)
        self._gates[by] = self._say(gate, now, until + _KEEP_S if by in _PROBED else until)

    def _open(self, by: By, now: float) -> None:
        gate = self._gates.pop(by)
        self._begin(by, is_new=True)
        self._say(replace(gate, is_open=True), now, now + _KEEP_S)
        if by is By.HALT:
            self._halts[gate.since] = now
            span = replace(gate, until=now, reason=Reason("halted"))
            scope, member = f"{PREFIX}halts:{self.sink}", f"{gate.since:.3f}"
            self._changed.append(Fact(scope, member, _value(span), now + _KEEP_S))

    def _begin(self, by: By, *, is_new: bool) -> None:
        """The sink works again: it is given little at first."""
        if is_new and by in _PROBED:
            self._proven = 1

    def _say(self, gate: Gate, now: float, keep_until: float) -> Gate:
        known, _ = self._words.get(gate.by, (0, ""))
        said = replace(gate, version=max(known + 1, int(now * 1000)), writer=self._writer)
        self._words[gate.by] = (said.version, said.writer)
        scope = f"{PREFIX}sink:{self.sink}"
        self._changed.append(Fact(scope, gate.by, _value(said), keep_until))
        return said


def sink_of(scope: str) -> str:
    """The sink whose gates a fact of this scope is about."""
    return scope.removeprefix(PREFIX).partition(":")[2]


def scopes_of(sink: str) -> list[str]:
    """The scopes of a sink's facts."""
    return [f"{PREFIX}{what}:{sink}" for what in ("sink", "halts", "target")]


def _hashed(target: str) -> str:
    return blake2b(target.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _value(gate: Gate) -> str:
    fields: dict[str, Any] = {
        "by": gate.by,
        "since": gate.since,
        "until": gate.until,
        "code": gate.reason.code,
        "text": gate.reason.text,
        "strikes": gate.strikes,
        "config": gate.config,
        "version": gate.version,
        "writer": gate.writer,
        "open": gate.is_open,
    }
    return orjson.dumps(fields).decode()


def _from_value(value: str) -> Gate | None:
    """The gate; None for what this version of the router does not understand."""
    try:
        fields: dict[str, Any] = orjson.loads(value)
        return Gate(
            By(fields["by"]),
            fields["since"],
            fields["until"],
            Reason(fields["code"], fields["text"]),
            fields["strikes"],
            fields["config"],
            fields["version"],
            fields["writer"],
            fields["open"],
        )
    except (ValueError, KeyError, TypeError):
        return None
