"""What is counted, under names that stay, with labels that cannot grow without end."""

from __future__ import annotations

from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from bridge.runtime.metrics import MAX_VALUES, Metrics
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import payload_model

NOW = datetime(2026, 1, 10, tzinfo=UTC)


def _event(source: str, kind: str = "motion.started") -> VmsEvent:
    model = payload_model(kind)
    assert model is not None
    return VmsEvent(
        id="1",
        type=kind,
        source=f"site/{source}",
        time=NOW,
        timequality="received",
        received=NOW,
        origin=Origin.LIVE,
        via="test",
        data=model(),
    )


def _samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name.removeprefix("vms_bridge_"), tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_everything_that_can_be_counted_is_counted() -> None:
    """One call of each method, one sample of each metric."""
    metrics = Metrics("1.2.3")
    metrics.event(_event("nvr1"))
    metrics.stored("nvr1", "motion.started")
    metrics.duplicate("nvr1")
    metrics.refused("nvr1", "too_deep")
    metrics.parked("nvr1", "bad_time")
    metrics.published(0.001)
    metrics.step(events=5, seconds=0.01)
    metrics.fired("gate")
    metrics.order("webhook", "information")
    metrics.order("webhook", "information")
    metrics.pending(lambda: 1)
    metrics.attempt("webhook")
    metrics.result("webhook", "done", 0.2)
    metrics.source_up("nvr1", up=True)
    metrics.gap("nvr1")
    metrics.releases(lambda: 3, lambda: 2)
    metrics.store_up(up=True)
    metrics.request("/api/push", 200, 0.01)
    metrics.connection_dropped("slow_header")
    metrics.watch("log_lag", "Events not decided on yet.", lambda: 7)
    samples = _samples(metrics)
    source = (("source", "nvr1"),)
    assert samples["info", (("version", "1.2.3"),)] == 1
    assert samples["events_total", (("kind", "motion.started"), ("origin", "live"), *source)] == 1
    assert samples["events_stored_total", (("kind", "motion.started"), *source)] == 1
    assert samples["events_duplicate_total", source] == 1
    assert samples["events_refused_total", (("reason", "too_deep"), *source)] == 1
    assert samples["events_parked_total", (("reason", "bad_time"), *source)] == 1
    assert samples["publish_seconds_count", ()] == 1
    assert samples["engine_steps_total", ()] == 1
    assert samples["engine_events_total", ()] == 5
    assert samples["rules_fired_total", (("rule", "gate"),)] == 1
    assert samples["orders_total", (("action", "webhook"), ("class", "information"))] == 2
    assert samples["action_attempts_total", (("action", "webhook"),)] == 1
    assert samples["results_total", (("action", "webhook"), ("outcome", "done"))] == 1
    assert samples["orders_pending", ()] == 1
    assert samples["source_up", source] == 1
    assert samples["source_gaps_total", source] == 1
    assert samples["releases_owed", ()] == 3
    assert samples["releases_pending", ()] == 2
    assert samples["store_up", ()] == 1
    assert samples["http_requests_total", (("route", "/api/push"), ("status", "200"))] == 1
    assert samples["http_connections_dropped_total", (("reason", "slow_header"),)] == 1
    assert samples["log_lag", ()] == 7


def test_labels_are_bounded() -> None:
    """Ten thousand reasons make a few hundred series, the last of them `other`."""
    metrics = Metrics()
    for index in range(10_000):
        metrics.refused("nvr1", f"reason-{index}")
    reasons = {labels for name, labels in _samples(metrics) if name == "events_refused_total"}
    assert len(reasons) == MAX_VALUES + 1
    assert _samples(metrics)["events_refused_total", (("reason", "other"), ("source", "nvr1"))] == 10_000 - MAX_VALUES


def test_custom_kinds_are_counted_together() -> None:
    """Their names are the users' own; there may be many."""
    metrics = Metrics()
    metrics.event(_event("nvr1", "custom.door-bell"))
    assert any(("kind", "custom.*") in labels for _, labels in _samples(metrics))


def test_two_bridges_in_one_process_count_apart() -> None:
    """Each has a registry of its own."""
    one, other = Metrics(), Metrics()
    one.fired("r")
    assert not any(name == "rules_fired_total" for name, _ in _samples(other))
