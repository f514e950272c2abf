"""How a rule holds itself back after it has fired: `cooldown`, `quiet_for`, `limit`, `concurrency`; each for its key.

What that takes is part of the value of the rule and key: until when it rests, until when it must be
quiet, and the stamps of the firings that count for the limit. All of it goes by the log's clock, ends
by itself and is swept away then. Concurrency looks at the firings whose steps still wait. A rule that
asks for none of this pays nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Literal

from bridge.sdk import format_duration, parse_duration
from rules.state import FIRED, QUIET, REST, SPENT, at

if TYPE_CHECKING:
    from rules.rule import Rule

MOST_FIRINGS = 1000
"""That one limit may count; the stamp of each is kept for the key."""
Concurrency = Literal["parallel", "single", "restart", "queued"]
LONGEST = timedelta(days=31)
_LIMIT = re.compile(r"(\d+)\s*(?:per\s+|/\s*)(.+)")
_UNITS = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many firings in a span, wherever it begins."""

    count: int
    span: timedelta

    def __str__(self) -> str:
        unit = next((name for name, span in _UNITS.items() if span == self.span), None)
        return f"{self.count} per {unit or format_duration(self.span)}"


def parse_limit(value: Any) -> Limit:
    """Read `5 per hour`, `1 per 10m`. Raises ValueError that says how to write one."""
    if isinstance(value, Limit):
        return value
    match = _LIMIT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a limit; write 5 per hour, or 1 per 10m")
    count, unit = int(match[1]), match[2].strip()
    span = _UNITS.get(unit) or parse_duration(unit)
    if not 1 <= count <= MOST_FIRINGS:
        raise ValueError(f"must be 1 to {MOST_FIRINGS} firings, got {count}")
    if not timedelta() < span <= LONGEST:
        raise ValueError("must be in a span of more than nothing and at most 31 days")
    return Limit(count, span)


def resting(rule: Rule, value: Mapping[str, Any], stamp: datetime, zone: tzinfo) -> tuple[str, str, str] | None:
    """Return what keeps a rule from firing because it has fired: condition, wanted and seen; None if nothing does.

    Times in it are for people: of the site's zone, to the second.
    """
    rest = value.get(REST)
    if rest is not None and stamp < at(rest):
        until = at(rest).astimezone(zone).isoformat(sep=" ", timespec="seconds")
        return "cooldown", f"rested until {until}", f"{format_duration(at(rest) - stamp)} left"
    quiet = value.get(QUIET)
    if rule.quiet_for is not None and quiet is not None and stamp < at(quiet):
        silence = rule.quiet_for - (at(quiet) - stamp)
        return "quiet_for", f"nothing for {format_duration(rule.quiet_for)}", f"quiet for {format_duration(silence)}"
    if rule.limit is not None and len(counted := _counted(rule.limit, value, stamp)) >= rule.limit.count:
        free = format_duration(at(counted[-rule.limit.count]) + rule.limit.span - stamp)
        return "limit", f"at most {rule.limit}", f"{len(counted)} already, the next in {free}"
    return None


def crowded(rule: Rule) -> tuple[str, str, str] | None:
    """Return what keeps a rule from firing beside an earlier firing whose steps wait; None if nothing does."""
    return (
        ("concurrency", "one at a time", "steps of the one before still wait") if rule.concurrency == "single" else None
    )


def _counted(limit: Limit, value: Mapping[str, Any], stamp: datetime) -> list[str]:
    """Return the stamps of the firings that still count."""
    return [fired for fired in value.get(FIRED, ()) if at(fired) + limit.span > stamp]


def fired(rule: Rule, value: Mapping[str, Any], stamp: datetime) -> dict[str, Any]:
    """Return what a value holds from now on because the rule fires."""
    parts: dict[str, Any] = {}
    if rule.cooldown is not None:
        parts[REST] = (stamp + rule.cooldown).isoformat()
    if rule.quiet_for is not None:
        parts[QUIET] = (stamp + rule.quiet_for).isoformat()
    if rule.limit is not None:
        parts[FIRED] = [*_counted(rule.limit, value, stamp), stamp.isoformat()]
        parts[SPENT] = (stamp + rule.limit.span).isoformat()
    return parts


def disturbed(rule: Rule, value: Mapping[str, Any], stamp: datetime) -> dict[str, Any]:
    """Return what a value holds from now on because the rule would have fired: the silence begins anew."""
    quiet = value.get(QUIET)
    if rule.quiet_for is None or quiet is None or stamp >= at(quiet):
        return {}
    return {QUIET: (stamp + rule.quiet_for).isoformat()}
