"""What a reload took away is no longer in the scrape, and still in the books."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from router.telemetry import Metrics


def series_of(metrics: Metrics, **labels: str) -> set[str]:
    """Names of the series with these labels."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        sample.name
        for family in families
        for sample in family.samples
        if labels.items() <= sample.labels.items()
    }


def busy(*, routes: set[str], sinks: set[str]) -> Metrics:
    """Metrics in which every configured route and sink has something to show."""
    metrics = Metrics()
    metrics.configured(routes, sinks)
    for sink in sinks:
        counts = metrics.sink(sink)
        counts.attempt("delivered", 0.1)
        counts.retry("busy")
        counts.gates("sink", "halt", 1)
        counts.lane_depth(3)
        counts.breaker("open")
    for route in routes:
        metrics.route(route).matched()
        metrics.route(route).expression_error()
        for sink in sinks:
            account = metrics.route(route).sink(sink)
            account.planned(2)
            account.delivered()
            account.scheduled("busy")
    backlog = {sink: len(routes) for sink in sinks}
    metrics.schedule({}, backlog, backlog, 0.0)
    return metrics


def test_series_of_what_is_gone_are_dropped_and_others_stay() -> None:
    metrics = busy(routes={"paid", "lost"}, sinks={"mail", "bot"})
    before = metrics.balance()
    metrics.configured({"paid"}, {"mail"})
    metrics.forget_former()
    assert series_of(metrics, route="lost") == set()
    assert series_of(metrics, sink="bot") == set()
    assert "router_attempts_total" in series_of(metrics, sink="mail")
    assert "router_deliveries_planned_total" in series_of(metrics, route="paid", sink="mail")
    assert metrics.balance() == before


def test_what_is_gone_shows_until_nothing_of_it_is_under_way() -> None:
    metrics = busy(routes={"paid"}, sinks={"mail", "bot"})
    account = metrics.route("paid").sink("bot")
    account.planned()
    metrics.configured({"paid"}, {"mail"})
    metrics.forget_former()
    assert series_of(metrics, sink="bot")
    account.delivered()
    metrics.forget_former()
    assert series_of(metrics, sink="bot") == set()
    assert metrics.balance().in_flight == 0


def test_what_comes_back_in_time_is_kept_and_what_comes_back_later_starts_anew() -> None:
    metrics = busy(routes={"paid"}, sinks={"mail", "bot"})
    metrics.configured({"paid"}, {"mail"})
    metrics.configured({"paid"}, {"mail", "bot"})
    metrics.forget_former()
    assert series_of(metrics, sink="bot")

    metrics.configured({"paid"}, {"mail"})
    metrics.forget_former()
    metrics.configured({"paid"}, {"mail", "bot"})
    metrics.sink("bot").attempt("delivered", 0.1)
    assert "router_attempts_total" in series_of(metrics, sink="bot")


def test_parked_work_of_a_sink_that_is_gone_still_shows() -> None:
    metrics = busy(routes={"paid"}, sinks={"mail", "bot"})
    metrics.configured({"paid"}, {"mail"})
    metrics.forget_former()
    metrics.schedule({}, {"bot": 4}, {"bot": 400}, 0.0)
    assert series_of(metrics, sink="bot") == {
        "router_schedule_backlog",
        "router_schedule_backlog_bytes",
    }
