"""Every metric of the bridge: names, labels and meaning in one place, and a method for each thing that is counted.

Labels come from short lists or from the configuration, never from what a device says: whoever can send events must
not be able to fill the memory of whoever scrapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bridge.schema.event import VmsEvent
from bridge.schema.flaws import FLAWS
from bridge.schema.kinds import PAYLOADS

MAX_VALUES = 200
"""Different values of one label; what comes later is counted as `other`."""

_FAST = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class _Bounded:
    """Values of one label, as many as are good for it."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        if value not in self._seen:
            if len(self._seen) >= MAX_VALUES:
                return "other"
            self._seen.add(value)
        return value


def _kind(kind: str) -> str:
    """Return a kind as a label; the users' own, of which there may be many, count together."""
    return kind if kind in PAYLOADS else f"{kind.partition('.')[0]}.*" if kind.startswith("custom.") else "other"


class _Backlog(Collector):
    """Gauges that are asked for when somebody scrapes, so that they need no upkeep."""

    def __init__(self) -> None:
        self.sources: dict[str, tuple[str, Callable[[], float]]] = {}

    def collect(self) -> Iterable[Metric]:
        for name, (meaning, read) in self.sources.items():
            yield GaugeMetricFamily(name, meaning, value=read())


class Metrics:
    """What the bridge counts. One object a process; its registry is its own."""

    def __init__(self, version: str = "") -> None:
        self.registry = CollectorRegistry()
        self._source, self._reason, self._action, self._rule = _Bounded(), _Bounded(), _Bounded(), _Bounded()
        self._backlog = _Backlog()
        self.registry.register(self._backlog)

        self.described: list[tuple[str, str, str, tuple[str, ...]]] = []

        def described(kind: str, name: str, meaning: str, labels: tuple[str, ...]) -> str:
            whole = f"vms_bridge_{name}"
            self.described.append((whole, kind, meaning, labels))
            return whole

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            described("counter", f"{name}_total", meaning, labels)
            return Counter(f"vms_bridge_{name}", meaning, labels, registry=self.registry)

        def gauge(name: str, meaning: str, *labels: str) -> Gauge:
            return Gauge(described("gauge", name, meaning, labels), meaning, labels, registry=self.registry)

        def seconds(name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            whole = described("histogram", f"{name}_seconds", meaning, labels)
            return Histogram(whole, meaning, labels, buckets=buckets, registry=self.registry)

        gauge("info", "1; the version as a label.", "version").labels(version).set(1)
        self._events = counter("events", "Events read from sources.", "source", "kind", "origin")
        self._stored = counter("events_stored", "Events stored and synced.", "source", "kind")
        self._duplicates = counter("events_duplicate", "Events that were known already.", "source")
        self._refused = counter("events_refused", "Events and pushes not taken.", "source", "reason")
        self._parked = counter("events_parked", "Messages put among the dead letters.", "source", "reason")
        self._published = seconds("publish", "From reading an event to its synced acknowledgement.", _FAST)
        self._steps = counter("engine_steps", "Engine steps committed.")
        self._stepped = counter("engine_events", "Events the engine has decided on.")
        self._step_time = seconds("engine_step", "One engine step, commit included.", _FAST)
        self._fired = counter("rules_fired", "Firings.", "rule")
        self._orders = counter("orders", "Orders made.", "action", "class")
        self._results = counter("results", "Orders ended.", "action", "outcome")
        self._attempts = counter("action_attempts", "Tries at orders.", "action")
        self._action_time = seconds("action", "From an order's making to its end.", _SLOW, "action")
        self._pending = gauge("orders_pending", "Orders made and not ended, by whomever they were made.")
        self._source_up = gauge("source_up", "1 while events arrive from the source.", "source")
        self._gaps = counter("source_gaps", "Times a source was away and may have said something.", "source")
        self._fetched = counter(
            "events_fetched", "Events that were missed and fetched from the source's own log.", "source", "kind"
        )
        self._twins = counter(
            "events_twin",
            "Events not stored because the same happening had come before, by their way.",
            "source",
            "via",
        )
        self._owed = gauge("releases_owed", "Outputs and cameras away from idle; a pulse that goes on is one too.")
        self._overdue = gauge(
            "releases_pending", "Those that were told to go back to idle and have not confirmed it for 5 s."
        )
        self._store_up = gauge("store_up", "1 while events can be written down.")
        self._handled = counter("subscriber_messages", "Messages subscribers dealt with.", "subscriber", "outcome")
        self._handle_time = seconds("subscriber", "One message, by subscriber.", _FAST, "subscriber")
        self._requests = counter("http_requests", "HTTP requests answered.", "route", "status")
        self._request_time = seconds("http_request", "HTTP requests, by route.", _FAST, "route")
        self._dropped = counter("http_connections_dropped", "HTTP connections ended by our limits.", "reason")

    def event(self, event: VmsEvent) -> None:
        """An event was read."""
        self._events.labels(self._source(event.source_name), _kind(event.type), event.origin.value).inc()

    def stored(self, source: str, kind: str, number: int = 1) -> None:
        """Events were stored and synced."""
        self._stored.labels(self._source(source), _kind(kind)).inc(number)

    def duplicate(self, source: str, number: int = 1) -> None:
        """Events were known already."""
        self._duplicates.labels(self._source(source)).inc(number)

    def refused(self, source: str, reason: str, number: int = 1) -> None:
        """Something was not taken; `reason` is a short code."""
        self._refused.labels(self._source(source), self._reason(reason)).inc(number)

    def parked(self, source: str, reason: str) -> None:
        """A message was put among the dead letters."""
        self._parked.labels(self._source(source), self._reason(reason)).inc()

    def published(self, seconds: float) -> None:
        """An event was stored and synced so long after it was read."""
        self._published.observe(seconds)

    def step(self, events: int, seconds: float) -> None:
        """The engine has committed a step."""
        self._steps.inc()
        self._stepped.inc(events)
        self._step_time.observe(seconds)

    def fired(self, rule: str) -> None:
        """A rule fired."""
        self._fired.labels(self._rule(rule)).inc()

    def order(self, action: str, action_class: str) -> None:
        """An order was made."""
        self._orders.labels(self._action(action), action_class).inc()

    def attempt(self, action: str) -> None:
        """An order is being tried."""
        self._attempts.labels(self._action(action)).inc()

    def result(self, action: str, outcome: str, seconds: float) -> None:
        """An order has ended, so long after it was made."""
        self._results.labels(self._action(action), outcome).inc()
        self._action_time.labels(self._action(action)).observe(seconds)

    def pending(self, read: Callable[[], float]) -> None:
        """Read how many orders have not ended whenever somebody scrapes."""
        self._pending.set_function(read)

    def source_up(self, source: str, up: bool) -> None:
        """Events arrive from a source, or not."""
        self._source_up.labels(self._source(source)).set(up)

    def gap(self, source: str) -> None:
        """A source was away."""
        self._gaps.labels(self._source(source)).inc()

    def fetched(self, source: str, kind: str, count: int) -> None:
        """So many events were fetched after a gap."""
        self._fetched.labels(self._source(source), _kind(kind)).inc(count)

    def twin(self, source: str, via: str) -> None:
        """An event was dropped, because the same happening had come before."""
        self._twins.labels(self._source(source), self._reason(via)).inc()

    def releases(self, owed: Callable[[], float], overdue: Callable[[], float]) -> None:
        """Read how many outputs are away from idle, and how many do not come back, whenever somebody scrapes."""
        self._owed.set_function(owed)
        self._overdue.set_function(overdue)

    def store_up(self, up: bool) -> None:
        """Events can be written down, or not."""
        self._store_up.set(up)

    def handled(self, subscriber: str, outcome: str, seconds: float) -> None:
        """A subscriber has dealt with a message, puts it off, or gives it up."""
        self._handled.labels(subscriber, outcome).inc()
        self._handle_time.labels(subscriber).observe(seconds)

    def request(self, route: str, status: int, seconds: float) -> None:
        """An HTTP request was answered; `route` is the pattern, not the path."""
        self._requests.labels(route, str(status)).inc()
        self._request_time.labels(route).observe(seconds)

    def connection_dropped(self, reason: str) -> None:
        """An HTTP connection was ended by our limits."""
        self._dropped.labels(self._reason(reason)).inc()

    def watch(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Add a gauge that is read when somebody scrapes."""
        self._backlog.sources[f"vms_bridge_{name}"] = (meaning, read)

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


def metrics_page() -> str:
    """Return docs/ref/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "<!-- Made from bridge/runtime/metrics.py; edit that, not this page. -->",
        "",
        "Served at `/metrics` in Prometheus' text format. Labels come from short lists or the configuration;",
        f"a label that would take more than {MAX_VALUES} values counts the rest as `other`.",
        "",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    for name, kind, meaning, labels in sorted(Metrics().described):
        lines.append(f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {meaning} |")
    lines += [
        "",
        "## Reasons",
        "",
        "Why a message or an item was not taken: the `reason` of dead letters, of `vms_bridge_events_parked_total`",
        "and of the items in the answer to a push. A fault has the same code however it came.",
        "",
        "| reason | meaning |",
        "|---|---|",
    ]
    lines += [f"| `{code}` | {words} |" for code, words in FLAWS.items()]
    return "\n".join(lines) + "\n"
