"""Short ways to write a rule that waits, and what comes of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from bridge.sdk import Origin, VmsEvent
from rules.ruleset import SiteSettings
from tests.rules.support import START, Run, event, rules_of

STARTED = {"version": "1", "instance": "i"}
BERLIN = SiteSettings("Europe/Berlin", 52.5, 13.4)


def run_of(when: str, *more: str, site: SiteSettings | None = None) -> Run:
    """Return an engine with one rule; `more`: what stands beside its `when`."""
    lines = "".join(f"\n    {line}" for line in more)
    return Run(rules_of(f"rules:\n  - id: r\n    when: {when}{lines}\n    then: [{{webhook: x}}]\n", site=site))


def at(seconds: float) -> datetime:
    """Return the moment so long after the beginning."""
    return START + timedelta(seconds=seconds)


def motion(seconds: float, *, came: float | None = None, channel: str = "1", **more: Any) -> VmsEvent:
    """Make the beginning of a motion, and when it came."""
    return event("motion.started", time=at(seconds), received=at(came or seconds), channel=channel, **more)


def still(seconds: float, *, came: float | None = None, channel: str = "1") -> VmsEvent:
    """Make its end."""
    return event("motion.ended", time=at(seconds), received=at(came or seconds), channel=channel)


def counted(count: int, seconds: float, *, came: float | None = None, lot: str = "P1") -> VmsEvent:
    """Make the count of a lot of 100 spaces."""
    data = {"lot": lot, "count": count, "available": max(0, 100 - count)}
    return event("parking.count", data, time=at(seconds), received=at(came or seconds), channel=lot)


def fired(run: Run) -> list[tuple[float, str]]:
    """When the rule fired, and for which key."""
    return [((order.created - START).total_seconds(), order.key) for made in run.decisions for order in made.orders]


def unmet(run: Run) -> Any:
    """Why it did not fire the last time."""
    return [trace for made in run.decisions for trace in made.traces if not trace.fired][-1].seen


def memory_of(run: Run) -> Any:
    """Return what the rule remembers of its only key."""
    return next(value for key, value in run.state.items() if key.rule == "r")["memory"]


def link(kind: str, seconds: float) -> VmsEvent:
    """Make the news that the source is heard, or is not."""
    data: dict[str, Any] = {"reason": "x", "message": "x", "since": at(seconds)} if kind == "lost" else {}
    return event(f"source.{kind}", data, channel=None, time=at(seconds), origin=Origin.BRIDGE)
