"""What stands between an event and a firing says what it wanted and what it saw, for which key."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bridge.sdk import Origin, VmsEvent
from rules.loops import LOOP, MOST_HOPS
from rules.trace import Trace
from tests.rules.support import START, Run, event, plate, rules_of

LATER = START + timedelta(seconds=0.5)
NOON = "2026-01-05 12:00:00"


def _traces(around: str, one: VmsEvent, when: str = "{kind: plate.read}", more: str = "") -> tuple[Trace, ...]:
    return Run(rules_of(f"{more}\n{_rule(around, when)}")).feed(one).traces


def _rule(around: str, when: str) -> str:
    return f"rules: [{{id: r, when: {when}, per: channel, {around}, then: [{{webhook: x}}]}}]"


@pytest.mark.parametrize(
    ("around", "one", "told"),
    [
        ("max_age: 5s", plate(time=START - timedelta(seconds=7), received=START), ("max_age", "at most 5s", "7s")),
        ("during: {from: '22:00', to: '06:00'}", plate(time=LATER), ("during", "22:00-06:00", NOON)),
        ("during: {days: sat}", plate(time=LATER), ("during", "00:00-24:00 sat", NOON)),
        ("mode: home", plate(), ("mode", "home", None)),
        ("if: event.data.score > 98", plate(), ("if", "event.data.score > 98", False)),
    ],
)
def test_a_condition_that_does_not_hold(around: str, one: VmsEvent, told: tuple[Any, ...]) -> None:
    """Each with the key that it is about."""
    [trace] = _traces(around, one)
    assert (trace.key, trace.condition, trace.wanted, trace.seen) == ("1", *told)


def test_it_is_said_that_a_day_is_a_holiday() -> None:
    """Beside the time by the clock of the site."""
    [trace] = _traces("during: {days: workday}", plate(time=LATER), more="holidays: ['2026-01-05']")
    assert trace.seen == f"{NOON}, a holiday"


@pytest.mark.parametrize(
    ("condition", "seen", "looked"),
    [
        ("rule == 'x' || key == 'y'", False, None),
        ("{'a': 1}[key] == 1", "'1' is absent", None),
        ("event.data.v > 5", "No such overload: the operation is not defined for", {"event.data.v": "text"}),
        ("state('rules/' + key, rule) == 1", False, {"state('rules/' + key, rule)": 5}),
    ],
)
def test_an_expression_is_told_with_what_it_looked_at(
    condition: str, seen: object, looked: dict[str, Any] | None
) -> None:
    """And by its own words where it gave no answer."""
    run = Run(rules_of(_rule(f'if: "{condition}"', "{kind: custom.x}")))
    known = {"entity": "rules/1", "attribute": "r", "value": 5}
    run.feed(event("state.changed", known, source="bridge", channel=None, origin=Origin.BRIDGE))
    [trace] = run.feed(event("custom.x", {"v": "text"})).traces
    assert (trace.wanted, trace.looked) == (condition, looked)
    assert trace.seen == seen if isinstance(seen, bool) else str(trace.seen).startswith(str(seen))


def test_an_expression_knows_its_rule_and_its_key() -> None:
    """Both are names in it."""
    assert _traces("if: rule == 'r' && key == '1'", plate())[0].outcome == "fired"


OWN = {"order": "o", "rule": "r", "action": "webhook", "outcome": "done", "output": {}}


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (event("action.ended", OWN), ("when", "something the rule has not caused itself", "r")),
        (
            event("action.ended", {**OWN, "rule": "s"}, origin=Origin.RESYNC),
            ("when.include", "a live edge, or include: resync", "resync"),
        ),
        (event("action.ended", {**OWN, "rule": "s"}), ("match.action", "like o*", "webhook")),
        (
            event("action.ended", {**OWN, "rule": "s", "action": "open"}).model_copy(update={"hops": MOST_HOPS + 1}),
            (LOOP, f"at most {MOST_HOPS} firings, one leading to the next", MOST_HOPS + 1),
        ),
    ],
)
def test_what_an_event_is_comes_before_what_it_says(one: VmsEvent, told: tuple[Any, ...]) -> None:
    """Its own doing, a snapshot, and what rules led each other to; of an event of others, its fields."""
    [trace] = _traces("match: {action: {glob: 'o*'}}", one, "{kind: action.ended}")
    assert (trace.key, trace.condition, trace.wanted, trace.seen) == (None, *told)
