"""The scrape, and the books of deliveries."""

import timeit

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from router.telemetry import Account, Balance, Metrics

MOVES = ("delivered", "duplicate", "withdrawn", "suppressed", "dead", "scheduled")


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (s.name, frozenset(s.labels.items())): s.value
        for family in families
        for s in family.samples
    }


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, frozenset(labels.items())))


def leave(account: Account, way: str) -> None:
    move = getattr(account, way)
    move("some_reason") if way in {"suppressed", "dead", "scheduled"} else move()


def test_a_delivery_that_was_scheduled_and_then_delivered_counts_once() -> None:
    metrics = Metrics()
    account = metrics.route("r").sink("mail")
    account.planned()
    account.scheduled("timeout")
    assert metrics.balance().scheduled == 1
    account.resumed()
    account.delivered()
    balance = metrics.balance()
    assert (balance.planned, balance.delivered, balance.scheduled) == (1, 1, 0)
    assert balance.holds


def test_duplicates_and_withdrawn_deliveries_are_not_planned_ones() -> None:
    metrics = Metrics()
    account = metrics.route("r").sink("mail")
    account.planned(3)
    account.duplicate()
    account.withdrawn()
    account.delivered()
    assert metrics.balance() == Balance(
        planned=1, delivered=1, scheduled=0, suppressed=0, dead=0, in_flight=0,
        duplicate=1, withdrawn=1,
    )  # fmt: skip


def test_another_replica_may_finish_what_this_one_scheduled() -> None:
    here, there = Metrics(), Metrics()
    here.route("r").sink("mail").planned()
    here.route("r").sink("mail").scheduled("timeout")
    there.route("r").sink("mail").resumed()
    there.route("r").sink("mail").dead("rejected")
    assert here.balance().scheduled + there.balance().scheduled == 0
    assert there.balance().in_flight == 0
    assert here.balance().planned == there.balance().dead == 1


@settings(max_examples=500)
@given(st.lists(st.tuples(st.sampled_from(("a", "b")), st.sampled_from((*MOVES, "plan")))))
def test_the_identity_holds_once_nothing_is_in_flight(moves: list[tuple[str, str]]) -> None:
    metrics = Metrics()
    in_flight, scheduled = dict.fromkeys("ab", 0), dict.fromkeys("ab", 0)
    for sink, way in moves:
        account = metrics.route("r").sink(sink)
        if way == "plan":
            account.planned()
            in_flight[sink] += 1
        elif in_flight[sink]:
            leave(account, way)
            in_flight[sink] -= 1
            scheduled[sink] += way == "scheduled"
        elif scheduled[sink]:
            account.resumed()
            leave(account, way)
            scheduled[sink] -= way != "scheduled"
    assert metrics.balance().in_flight == sum(in_flight.values())
    for sink, waiting in in_flight.items():
        metrics.route("r").sink(sink).dead("end", waiting)
    balance = metrics.balance()
    assert balance.holds
    assert balance.scheduled == sum(scheduled.values())
    assert balance.planned == (
        balance.delivered + balance.scheduled + balance.suppressed + balance.dead
    )


def test_the_balance_of_one_route_leaves_others_out() -> None:
    metrics = Metrics()
    metrics.route("a").sink("mail").planned(2)
    metrics.route("b").sink("mail").planned(5)
    assert metrics.balance(route="a").planned == 2
    assert metrics.balance(sink="mail").planned == 7
    assert metrics.balance(sink="chat").planned == 0


def test_the_scrape_shows_the_books() -> None:
    metrics = Metrics()
    account = metrics.route("payment-failed").sink("mail")
    account.planned(4)
    account.delivered(2)
    account.suppressed("expired")
    labels = {"route": "payment-failed", "sink": "mail"}
    assert sample(metrics, "router_deliveries_planned_total", **labels) == 4
    settled = "router_deliveries_settled_total"
    assert sample(metrics, settled, **labels, state="delivered", reason="") == 2
    assert sample(metrics, settled, **labels, state="suppressed", reason="expired") == 1
    assert sample(metrics, "router_deliveries_open", state="in_flight") == 1


def test_reason_labels_are_bounded_whatever_a_sink_says() -> None:
    metrics = Metrics()
    account = metrics.route("r").sink("mail")
    for number in range(1000):
        account.planned()
        account.dead(f"reason_{number}")
    assert len(account.exits()) <= 65
    assert metrics.balance().dead == 1000


def test_a_sinks_counters_and_states_are_in_the_scrape() -> None:
    metrics = Metrics()
    sink = metrics.sink("mail")
    sink.attempt("delivered", 0.2)
    sink.attempt("retry", 3.0)
    sink.retry("timeout")
    sink.repeat()
    sink.in_doubt()
    sink.gates("sink", "halt", 1)
    sink.breaker("open")
    assert sample(metrics, "router_attempts_total", sink="mail", outcome="retry") == 1
    assert sample(metrics, "router_attempt_seconds_count", sink="mail") == 2
    assert sample(metrics, "router_repeats_total", sink="mail") == 1
    assert sample(metrics, "router_in_doubt_total", sink="mail") == 1
    assert sample(metrics, "router_sink_breaker_state", sink="mail") == 2
    closed = sample(metrics, "router_sink_gates_closed", sink="mail", scope="sink", cause="halt")
    assert closed == 1


def test_a_partition_given_away_is_no_longer_shown() -> None:
    metrics = Metrics()
    metrics.partition("events", 3).lag(7)
    assert sample(metrics, "router_lag_records", topic="events", partition="3") == 7
    metrics.forget_partition("events", 3)
    assert sample(metrics, "router_lag_records", topic="events", partition="3") is None
    metrics.partition("events", 3).lag(1)
    assert sample(metrics, "router_lag_records", topic="events", partition="3") == 1


def test_a_backlog_that_is_gone_shows_as_zero() -> None:
    metrics = Metrics()
    metrics.schedule({("delivery", "scheduled"): 2}, {"mail": 2}, {"mail": 900}, 5.0)
    metrics.schedule({}, {}, {}, 0.0)
    assert sample(metrics, "router_schedule_backlog", sink="mail") == 0
    assert sample(metrics, "router_ledger_rows", kind="delivery", state="scheduled") == 0


def test_a_refused_reload_keeps_the_hash_of_the_configuration_in_force() -> None:
    metrics = Metrics()
    metrics.reloaded("applied", "00000000abcd" + "f" * 20, now=1000.0)
    metrics.reloaded("refused", "", now=2000.0)
    assert sample(metrics, "router_config_hash") == 0xABCD
    assert sample(metrics, "router_config_last_reload_successful") == 0
    assert sample(metrics, "router_config_last_reload_success_timestamp_seconds") == 1000


def test_two_daemons_in_one_process_do_not_share_numbers() -> None:
    one, other = Metrics(), Metrics()
    one.topic("main", "events").read(5)
    assert sample(other, "router_records_read_total", source="main", topic="events") is None


def test_names_carry_the_prefix_and_help_and_no_creation_times() -> None:
    metrics = Metrics("1.0")
    metrics.topic("main", "events").event("matched")
    metrics.sink("mail").attempt("delivered", 0.1)
    metrics.ledger("claim").took(0.002)
    own = [
        f
        for f in text_string_to_metric_families(metrics.render().decode())
        if not f.name.startswith(("process_", "python_"))
    ]
    assert own
    assert all(f.name.startswith("router_") and f.documentation for f in own)
    assert "_created" not in metrics.render().decode()


def test_counting_costs_less_than_a_few_microseconds() -> None:
    metrics = Metrics()
    account, sink = metrics.route("r").sink("mail"), metrics.sink("mail")

    def count() -> None:
        account.delivered()
        sink.attempt("delivered", 0.1)

    assert min(timeit.repeat(count, number=2000, repeat=5)) / 2000 < 10e-6
