"""Every metric family the router exposes: name, help text, labels, buckets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_ATTEMPT_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LEDGER_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)
_AGE_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 3600.0)

FamilyT = TypeVar("FamilyT", Counter, Gauge, Histogram)


class Families:
    """Every metric family, by what it counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._by_label: defaultdict[str, list[Counter | Gauge | Histogram]] = defaultdict(list)

        def counter(name: str, doc: str, *labels: str) -> Counter:
            return note(Counter(f"router_{name}", doc, labels, registry=registry), labels)

        def gauge(name: str, doc: str, *labels: str) -> Gauge:
            return note(Gauge(f"router_{name}", doc, labels, registry=registry), labels)

        def histogram(name: str, doc: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            family = Histogram(f"router_{name}", doc, labels, buckets=buckets, registry=registry)
            return note(family, labels)

        def note(family: FamilyT, labels: Iterable[str]) -> FamilyT:
            for label in labels:
                self._by_label[label].append(family)
            return family

        self.records_read = counter(
            "records_read_total", "Records read from sources.", "source", "topic"
        )
        self.events = counter("events_total", "Records by what became of them.", "topic", "outcome")
        self.lag = gauge("lag_records", "Records behind the end.", "topic", "partition")
        self.unsettled = gauge(
            "unsettled_records", "Records read and not settled.", "topic", "partition"
        )
        self.unsettled_age = gauge(
            "oldest_unsettled_seconds", "Age of the oldest unsettled record.", "topic", "partition"
        )
        self.paused = gauge(
            "partition_paused", "1 while a partition is not read for its window's sake.",
            "topic", "partition",
        )  # fmt: skip
        self.commits = counter("commits_total", "Offset commits that succeeded.")
        self.commit_failures = counter("commit_failures_total", "Offset commits that failed.")
        self.rebalances = counter("rebalances_total", "Partitions taken away.")
        self.offsets_lost = counter(
            "offsets_lost_total", "Offsets that Kafka deleted before they were read."
        )

        self.route_matched = counter("route_matched_total", "Events a route matched.", "route")
        self.expression_errors = counter(
            "expression_errors_total",
            "Conditions counted false for a missing or mistyped value.",
            "route",
        )
        self.silences = gauge("silences", "Silences that have not ended.")
        self.shadow_failures = counter(
            "shadow_failures_total", "Messages in shadow mode that can't be rendered.", "route"
        )
        self.duplicate_events = counter(
            "duplicate_event_total", "Different records with one event identity."
        )

        self.feedback_dropped = counter(
            "feedback_dropped_total", "Feedback of arrivals left out because too much waited."
        )

        self.attempts = counter("attempts_total", "Send attempts.", "sink", "outcome")
        self.attempt_seconds = histogram(
            "attempt_seconds", "Time of one send attempt.", _ATTEMPT_S, "sink"
        )
        self.delivery_seconds = histogram(
            "delivery_seconds", "Time from event to acceptance.", _AGE_S, "sink"
        )
        self.repeats = counter(
            "repeats_total", "Second sends where the first may have been accepted.", "sink"
        )
        self.in_doubt = counter(
            "in_doubt_total",
            "Deliveries that may have been accepted unknown to the router.",
            "sink",
        )
        self.cancel_late = counter(
            "cancel_late_total", "Deliveries sent although they were being cancelled.", "sink"
        )
        self.retries = counter("retries_total", "Deliveries to be tried again.", "sink", "reason")
        self.lane_depth = gauge("lane_depth", "Deliveries waiting in a sink's lane.", "sink")
        self.spilled = counter(
            "spilled_total", "Deliveries a full or gated lane put into the schedule.", "sink"
        )
        self.gates = gauge(
            "sink_gates_closed", "Closed gates of a sink, by what waits and why.",
            "sink", "scope", "cause",
        )  # fmt: skip
        self.breaker = gauge("sink_breaker_state", "0 closed, 1 half open, 2 open.", "sink")
        self.breakers_opened = counter(
            "sink_breaker_opened_total", "Times a sink's breaker opened.", "sink"
        )

        self.ledger_seconds = histogram(
            "ledger_seconds", "Time of one ledger call.", _LEDGER_S, "operation"
        )
        self.ledger_failures = counter(
            "ledger_failures_total", "Ledger calls that failed.", "operation"
        )
        self.ledger_up = gauge("ledger_up", "1 while the ledger answers.")
        self.ledger_rows = gauge("ledger_rows", "Rows in the ledger.", "kind", "state")
        self.backlog = gauge("schedule_backlog", "Open rows in the schedule.", "sink")
        self.backlog_bytes = gauge("schedule_backlog_bytes", "Bytes of those rows.", "sink")
        self.oldest_due = gauge(
            "schedule_oldest_due_seconds", "How long the oldest due row has been waiting."
        )

        self.reloads = counter("config_reloads_total", "Reloads, by how they ended.", "result")
        self.reload_ok = gauge("config_last_reload_successful", "1 if the last reload took effect.")
        self.reload_time = gauge(
            "config_last_reload_success_timestamp_seconds", "When a configuration last took effect."
        )
        self.config_hash = gauge("config_hash", "First 48 bits of the configuration's hash.")
        self.build = gauge("build_info", "1, with the version as a label.", "version")
        self.log_records = counter("log_records_total", "Log lines written.", "level")
        self.log_dropped = counter("log_dropped_total", "Log lines dropped for want of room.")
        self.log_repeated = counter(
            "log_repeated_total", "Warnings left out because they repeat one just written."
        )

    def forget(self, label: str, value: str) -> None:
        """Drops every series with this value of a label."""
        for family in self._by_label[label]:
            family.remove_by_labels({label: value})
