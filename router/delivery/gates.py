"""Gates: the one mechanism for halt, pause, breaker and ``Retry-After``.

A gate closes a sink or one target of it until a time. They are facts in the ledger, so that they
outlive a restart and all replicas obey them. A halt or an open breaker lets one probe through when
its time has come; what the probe says opens it or closes it again for longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Any, final

import orjson

from router.ledger import Fact
from router.messages import Reason

PREFIX = "gate:"
_HALT_PROBE_S = 30.0
_HALT_PROBE_MOST_S = 600.0
_KEEP_S = 30 * 86400.0


class By(StrEnum):
    """Who closed a gate."""

    HALT = "halt"
    BREAKER = "breaker"
    RETRY_AFTER = "retry_after"
    PAUSE = "pause"


_PROBED = frozenset({By.HALT, By.BREAKER})


@dataclass(slots=True)
class Gate:
    """A closed gate. Times are seconds since the epoch.

    Attributes:
        until: When it opens, or lets a probe through.
        strikes: How often in a row it was closed; a halt's probes grow rarer.
        probing: A probe is under way.
        config: Hash of the sink's configuration a halt is bound to: a new one ends it.
    """

    by: By
    since: float
    until: float
    reason: Reason
    strikes: int = 1
    probing: bool = False
    config: str = ""


@final
class Gates:
    """The gates of one sink, as this process knows them; changes are collected as facts.

    Args:
        config: Hash of the sink's configuration and secrets.
    """

    def __init__(self, sink: str, config: str) -> None:
        self.sink = sink
        self.config = config
        self._sink_gates: dict[By, Gate] = {}
        self._targets: dict[str, Gate] = {}
        self._suspects: set[bytes] = set()
        self._cleared: set[bytes] = set()
        self._halts: list[tuple[float, float]] = []
        self._changed: list[Fact] = []
        self._dropped: list[tuple[str, str]] = []

    # What may go --------------------------------------------------------------------------------

    def closed(self, now: float) -> Gate | None:
        """The gate that keeps the sink closed now, the one that opens last; None lets through.

        A gate whose time has come but that wants a probe first still counts as closed while its
        probe is under way.
        """
        found: Gate | None = None
        for by, gate in list(self._sink_gates.items()):
            if now >= gate.until and by not in _PROBED:
                self._open(by)
            elif (now < gate.until or gate.probing) and (found is None or gate.until > found.until):
                found = gate
        return found

    def wants_probe(self, now: float) -> bool:
        """One delivery, and no more, should go to see whether the sink works again."""
        return any(
            by in _PROBED and now >= gate.until and not gate.probing
            for by, gate in self._sink_gates.items()
        )

    def probe(self) -> None:
        """A probe is on its way."""
        for by in _PROBED:
            if gate := self._sink_gates.get(by):
                gate.probing = True

    def probe_lost(self) -> None:
        """The probe never went out: the next one may."""
        for gate in self._sink_gates.values():
            gate.probing = False

    def target_until(self, target: str, now: float) -> float | None:
        """Until when a target has to wait, or None."""
        if not self._targets:
            return None
        gate = self._targets.get(target)
        if gate is None:
            return None
        if now >= gate.until:
            del self._targets[target]
            return None
        return gate.until

    def is_closed_by(self, by: By) -> bool:
        """Whether this is among what keeps, or kept, the sink closed."""
        return by in self._sink_gates

    # What happened ------------------------------------------------------------------------------

    def wait(self, until: float, reason: Reason, now: float, target: str | None = None) -> None:
        """A provider told the sink, or one target, to wait."""
        if target is not None:
            self._targets[target] = Gate(By.RETRY_AFTER, now, until, reason)
            self._note(f"{PREFIX}target:{self.sink}", _hashed(target), self._targets[target])
            return
        known = self._sink_gates.get(By.RETRY_AFTER)
        if known is None or until > known.until:
            self._close(By.RETRY_AFTER, until, reason, now)

    def halt(self, key: bytes, reason: Reason, now: float) -> bool:
        """A delivery was answered with a halt.

        Two in a row from different deliveries close the sink. A delivery that halts again after
        another one went through is itself the trouble.

        Returns:
            False: the delivery, not the sink, is to blame.
        """
        if key in self._cleared:
            return False
        if self._suspects - {key} or By.HALT in self._sink_gates:
            known = self._sink_gates.get(By.HALT)
            strikes = known.strikes + 1 if known else 1
            wait = min(_HALT_PROBE_MOST_S, _HALT_PROBE_S * 2 ** (strikes - 1))
            self._close(By.HALT, now + wait, reason, now, strikes)
        self._suspects.add(key)
        return True

    def trip(self, until: float, reason: Reason, now: float) -> None:
        """The breaker opens."""
        self._close(By.BREAKER, until, reason, now)

    def worked(self, now: float) -> bool:
        """A delivery went through: halts and breaker end; True if one was closed."""
        if self._suspects:
            self._cleared |= self._suspects
            self._suspects.clear()
        was_closed = False
        for by in _PROBED:
            if gate := self._sink_gates.get(by):
                if by is By.HALT:
                    self._remember_halt(gate.since, now)
                self._open(by)
                was_closed = True
        return was_closed

    def pause(self, reason: Reason, now: float) -> None:
        """An operator closes the sink until further notice."""
        self._close(By.PAUSE, now + 365 * 86400.0, reason, now)

    def resume(self, now: float) -> None:
        """An operator opens it, whatever closed it."""
        for by, gate in list(self._sink_gates.items()):
            if by is By.HALT:
                self._remember_halt(gate.since, now)
            self._open(by)

    def halted_since(self, start: float, now: float) -> float:
        """Seconds since ``start`` in which the sink was halted: giving up stands still then."""
        spans = list(self._halts)
        if gate := self._sink_gates.get(By.HALT):
            spans.append((gate.since, now))
        return sum(max(0.0, min(end, now) - max(begin, start)) for begin, end in spans)

    def take_changes(self) -> tuple[list[Fact], list[tuple[str, str]]]:
        """Facts to write and to drop since last asked."""
        changes = self._changed, self._dropped
        if changes[0] or changes[1]:
            self._changed, self._dropped = [], []
        return changes

    # The ledger ---------------------------------------------------------------------------------

    def load(self, facts: Iterable[Fact], now: float) -> None:
        """Takes over gates that the ledger holds; a halt of another configuration is void."""
        for fact in facts:
            gate = _from_value(fact.value)
            if fact.scope == f"{PREFIX}halts:{self.sink}":
                self._halts.append((gate.since, gate.until))
            elif fact.scope == f"{PREFIX}sink:{self.sink}":
                if gate.by is By.HALT and gate.config != self.config:
                    self._remember_halt(gate.since, now)
                    self._dropped.append((fact.scope, fact.member))
                else:
                    self._sink_gates[gate.by] = gate

    def states(self) -> list[Gate]:
        """The sink's closed gates, for people."""
        return list(self._sink_gates.values())

    def _close(self, by: By, until: float, reason: Reason, now: float, strikes: int = 1) -> None:
        known = self._sink_gates.get(by)
        since = known.since if known else now
        gate = Gate(by, since, until, reason, strikes, config=self.config)
        self._sink_gates[by] = gate
        self._note(f"{PREFIX}sink:{self.sink}", by, gate)

    def _open(self, by: By) -> None:
        del self._sink_gates[by]
        self._dropped.append((f"{PREFIX}sink:{self.sink}", by))

    def _remember_halt(self, since: float, until: float) -> None:
        self._halts.append((since, until))
        gate = Gate(By.HALT, since, until, Reason("halted"))
        self._changed.append(
            Fact(f"{PREFIX}halts:{self.sink}", f"{since:.3f}", _value(gate), until + _KEEP_S)
        )

    def _note(self, scope: str, member: str, gate: Gate) -> None:
        keep = gate.until + _KEEP_S if gate.by in _PROBED else gate.until
        self._changed.append(Fact(scope, member, _value(gate), keep))


def _hashed(target: str) -> str:
    return blake2b(target.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _value(gate: Gate) -> str:
    fields = [
        gate.by,
        gate.since,
        gate.until,
        gate.reason.code,
        gate.reason.text,
        gate.strikes,
        gate.config,
    ]
    return orjson.dumps(fields).decode()


def _from_value(value: str) -> Gate:
    fields: list[Any] = orjson.loads(value)
    by, since, until, code, text, strikes, config = fields
    return Gate(By(by), since, until, Reason(code, text), strikes, config=config)
