"""Every pattern against the slow reference, over histories with all that can go wrong in one.

Events come late, in the wrong order, twice, with clocks that are ahead, and at the same time; the
log pauses; sources and the bridge go and come; the engine crashes and goes on from what was
committed. The environment variable HISTORIES says how many histories there are in all.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.sdk import Logged, Order, Origin, VmsEvent, stable_id
from rules.engine import Decision, Engine
from rules.ruleset import RuleSet
from rules.whenmodel import SHAPES
from tests.rules import reference as ref
from tests.rules.support import START, event, rules_of

HISTORIES = int(os.environ.get("HISTORIES", "2000"))
OF_THE_CLOCK = {"silent", "at", "every"}
"""Compared in `test_clock_model`."""
LATE, WITHIN = 5.0, 10.0


@dataclass(frozen=True)
class Case:
    """A pattern, as a rule says it and as the reference does."""

    when: str
    roles: Callable[[str, int], set[str]]
    """From the letter and value of an event to its roles."""
    model: Callable[[], ref.Model]


def _stages(*stages: tuple[str, str]) -> list[tuple[str, frozenset[str]]]:
    return [(role, frozenset(barred)) for role, barred in stages]


def _sequence(when: str, roles: Callable[[str, int], set[str]], *stages: tuple[str, str]) -> Case:
    text = f"{{sequence: [{when}], within: 10s, lateness: 5s}}"
    return Case(text, roles, lambda: ref.Sequence_(LATE, WITHIN, _stages(*stages)))


def _window(asked: str, enough: Callable[[Sequence[ref.Entry]], bool]) -> Case:
    text = f"{{kind: custom.a, {asked}, within: 10s, lateness: 5s}}"
    return Case(text, lambda letter, _: {"event"} & {"event" if letter == "a" else ""}, _made(enough))


def _made(enough: Callable[[Sequence[ref.Entry]], bool]) -> Callable[[], ref.Model]:
    return lambda: ref.Window(LATE, WITHIN, enough)


def _letters(**roles: str) -> Callable[[str, int], set[str]]:
    return lambda letter, _: set(roles.get(letter, ""))


def _named(**roles: str) -> Callable[[str, int], set[str]]:
    return lambda letter, _: {roles[letter]} if letter in roles else set()


def _high(letter: str, value: int) -> set[str]:
    return {"0", "1"} if letter == "a" and value >= 3 else {"0"} if letter == "a" else {"2"} if letter == "b" else set()


CASES = {
    "count": _window("count: 3", lambda window: len(window) >= 3),
    "sum": _window("sum: {field: v, at_least: 7}", lambda window: sum(one.value for one in window) >= 7),
    "distinct": _window("distinct: {field: v, at_least: 3}", lambda window: len({one.value for one in window}) >= 3),
    "rate": _window("rate: 24/m", lambda window: len(window) >= 4),
    "all": Case(
        "{all: [{kind: custom.a}, {kind: custom.b}, {kind: custom.c}], within: 10s, lateness: 5s}",
        _letters(a="0", b="1", c="2"),
        _made(lambda window: set().union(*(one.roles for one in window)) == {"0", "1", "2"}),
    ),
    "sequence": _sequence(
        "{kind: custom.a}, {kind: custom.b}, {kind: custom.c}",
        _letters(a="0", b="1", c="2"),
        ("0", ""),
        ("1", ""),
        ("2", ""),
    ),
    "sequence-not": _sequence(
        "{kind: custom.a}, {not: {kind: custom.c}}, {kind: custom.b}",
        _letters(a="0", c="1", b="2"),
        ("0", "1"),
        ("2", ""),
    ),
    "sequence-not-later": _sequence(
        "{kind: custom.a}, {kind: custom.b}, {not: {kind: custom.c}}, {kind: custom.a}",
        _letters(a="03", b="1", c="2"),
        ("0", ""),
        ("1", "2"),
        ("3", ""),
    ),
    "sequence-barred": _sequence(
        "{kind: custom.a}, {not: {kind: custom.c}}, {kind: custom.b}, {not: {kind: custom.b}}, {kind: custom.a}",
        _letters(a="04", c="1", b="23"),
        ("0", "1"),
        ("2", "3"),
        ("4", ""),
    ),
    "sequence-twice": _sequence(
        "{kind: custom.a}, {kind: custom.a, match: {v: {at_least: 3}}}, {kind: custom.b}",
        _high,
        ("0", ""),
        ("1", ""),
        ("2", ""),
    ),
    "for": Case(
        "{kind: custom.a, for: 10s, until: {kind: custom.b, per: channel}, lateness: 5s}",
        _named(a="begin", b="end"),
        lambda: ref.Held(LATE, WITHIN),
    ),
    "absent": Case(
        "{absent: {kind: custom.b}, after: {kind: custom.a}, within: 10s, lateness: 5s}",
        _named(a="after", b="absent"),
        lambda: ref.Absent(LATE, WITHIN),
    ),
    "threshold": Case(
        "{kind: custom.a, field: v, rises_above: 3, rearm_below: 2, lateness: 5s}",
        _named(a="event"),
        lambda: ref.Threshold(LATE, 3, 2),
    ),
    "threshold-falls": Case(
        "{kind: custom.a, field: v, falls_below: 2, rearm_above: 3, lateness: 5s}",
        _named(a="event"),
        lambda: ref.Threshold(LATE, 2, 3, falls=True),
    ),
    "any": Case(
        "{any: [{kind: custom.a, match: {v: {at_least: 3}}}, {kind: custom.a}, {kind: custom.b}]}",
        lambda letter, value: {"x"} if letter in "ab" else set(),
        lambda: ref.AnyOf(LATE),
    ),
}


@lru_cache
def _rules(name: str) -> RuleSet:
    text = CASES[name].when
    return rules_of(
        f"rules: [{{id: r, when: {text}, per: channel, then: [{{mqtt: {{topic: t, payload: '{{{{ event.id }}}}'}}}}]}}]"
    )


# --- histories -----------------------------------------------------------------------------------------

_GAPS = [0.0, 0.0, 0.5, 1.0, 1.0, 2.0, 3.0, 5.0]
_PAUSES = [0.0, 5.0, 10.0, 16.0, 40.0]
_DELAYS = [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 4.0, 5.0, 5.5, 8.0, 20.0, -3.0, -500.0]
_LETTERS = "aaaabbc"
_LINKS = ["lost", "connected", "connected", "started"]
_Step = tuple[str, float, Any]


def _dense(seed: int) -> list[_Step]:
    """Return steps that have much to do with each other; hypothesis alone makes too few of them."""
    dice = random.Random(seed)
    steps: list[_Step] = []
    for _ in range(dice.randint(10, 24)):
        what = dice.choices(["event", "again", "tick", "due", "link"], [20, 2, 1, 1, 1])[0]
        details = {
            "event": (dice.choice(_LETTERS), dice.randint(0, 5), dice.choice("1112"), dice.choice(_DELAYS)),
            "again": dice.randint(0, 3),
            "link": dice.choice(_LINKS),
        }
        gap = dice.choice(_PAUSES if dice.random() < 0.08 or what == "tick" else _GAPS)
        steps.append((what, gap, details.get(what)))
    return steps


_gaps = st.sampled_from([*_GAPS, *_PAUSES])
_events = st.tuples(
    st.just("event"),
    _gaps,
    st.tuples(st.sampled_from(_LETTERS), st.integers(0, 5), st.sampled_from("12"), st.sampled_from(_DELAYS)),
)
_listed = st.lists(
    st.one_of(
        _events,
        _events,
        st.tuples(st.just("again"), _gaps, st.integers(0, 3)),
        st.tuples(st.sampled_from(["tick", "due"]), _gaps, st.none()),
        st.tuples(st.just("link"), _gaps, st.sampled_from(_LINKS)),
    ),
    min_size=3,
    max_size=16,
)
_steps = st.one_of(st.integers(0, 2**40).map(_dense), st.integers(0, 2**40).map(_dense), _listed)
_crashes = st.sets(st.integers(0, 21), max_size=6)


def _link(what: str, at: float) -> VmsEvent:
    time = START + timedelta(seconds=at)
    if what == "started":
        data: dict[str, Any] = {"version": "1", "instance": "i"}
        return event("bridge.started", data, source="bridge", channel=None, time=time, origin=Origin.BRIDGE)
    data = {"reason": "x", "message": "x", "since": time} if what == "lost" else {}
    return event(f"source.{what}", data, channel=None, time=time, origin=Origin.BRIDGE)


class History:
    """The log that some steps make, decided by an engine and by the reference as it grows."""

    def __init__(self, name: str) -> None:
        self.case = CASES[name]
        self.engine = Engine(_rules(name), {})
        self.now = 0.0
        self.log: list[Logged] = []
        self.sent: list[tuple[VmsEvent, str, int, str]] = []
        self.models: dict[str, ref.Model] = {}
        self.links = ref.Links()
        self.decisions: list[Decision] = []
        self.expected: list[list[tuple[str, ref.Told]]] = []

    def go(self, what: str, gap: float, detail: Any) -> None:
        """Make one step."""
        self.now += gap
        if what == "due" and (due := self.engine.next_due) is not None:
            self.now = max(self.now, (due - START).total_seconds())
        if what == "event":
            letter, value, channel, delay = detail
            number = len(self.sent)
            time = START + timedelta(seconds=self.now - delay)
            origin = Origin.LIVE if value else Origin.BACKFILL
            one = event(
                f"custom.{letter}", {"v": value}, channel=channel, time=time, event_id=f"e{number}", origin=origin
            )
            self.sent.append((one, letter, value, channel))
            self._log(one, number)
        elif what == "again" and self.sent:
            number = max(0, len(self.sent) - 1 - detail)
            self._log(self.sent[number][0], number)
        elif what == "link":
            self._log(_link(detail, self.now), None, detail)
        else:
            self._log(event("bridge.tick", {"due": START}, source="bridge", channel=None), None)

    def _log(self, one: VmsEvent, number: int | None, link: str = "") -> None:
        self.log.append(Logged(len(self.log) + 1, START + timedelta(seconds=self.now), one))
        self.decisions.append(self.engine.step(self.log[-1]))
        if link == "started":  # what is due at it was due while nobody listened
            self.links.started.append(self.now)
        timed = [
            (due, key, told)
            for key, model in self.models.items()
            for due, told in model.pass_time(self.now, self.links)
        ]
        expected = [(key, told) for _, key, told in sorted(timed, key=lambda item: item[:2])]
        if link and link != "started":
            (self.links.connected if link == "connected" else self.links.lost).append(self.now)
            self.links.up = link == "connected"
        if number is not None:
            expected += self._seen(one, number)
        self.expected.append(expected)

    def _seen(self, one: VmsEvent, number: int) -> list[tuple[str, ref.Told]]:
        _, letter, value, channel = self.sent[number]
        roles = self.case.roles(letter, value)
        if not roles:
            return []
        happened = (one.time - START).total_seconds()
        entry = ref.Entry(one.id, len(self.log), self.now, happened, frozenset(roles), value)
        model = self.models.setdefault(channel, self.case.model())
        return [(channel, told) for told in model.see(entry)]


def _told(decision: Decision) -> list[tuple[str, ref.Told]]:
    """Return what an engine told, in the reference's words."""
    found = [(order.key, ref.Told(order.causes, order.trigger.id)) for order in decision.orders]
    unsure = [trace for trace in decision.traces if trace.outcome == "inconclusive"]
    return found + [(str(trace.key), ref.Told((trace.event,), trace.event, conclusive=False)) for trace in unsure]


def _bytes(decisions: Sequence[Decision]) -> list[bytes]:
    return [order.encode() for decision in decisions for order in decision.orders]


def _again(name: str, log: Sequence[Logged], crashes: set[int]) -> list[Decision]:
    """Decide a log again, with crashes: an engine is made from what was committed."""
    state: dict[Any, Any] = {}
    engine = Engine(_rules(name), state)
    found = []
    for number, logged in enumerate(log):
        if number in crashes:
            engine = Engine(_rules(name), dict(state))
        found.append(engine.step(logged))
        for key, value in found[-1].changed.items():
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
    return found


def _origins(history: History, order: Order) -> set[Origin]:
    return {one.origin for one, *_ in history.sent if one.id in order.causes}


def _examples() -> int:
    """Return how many histories each case has: together no fewer than were asked for."""
    return -(-HISTORIES // len(CASES))


def test_every_pattern_is_compared_and_with_as_many_histories_as_are_promised() -> None:
    """A shape of `when` that is added is added here too."""
    assert _examples() * len(CASES) >= HISTORIES
    asked = {name for name in SHAPES if any(f"{name}:" in case.when for case in CASES.values())}
    assert set(SHAPES) - asked == OF_THE_CLOCK


@pytest.mark.parametrize("name", CASES)
def test_the_engine_decides_as_the_reference(name: str) -> None:
    """The same firings for the same keys by the same causes at the same places of the log, crashes or none."""

    @settings(
        max_examples=_examples(),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(_steps, _crashes)
    def check(steps: list[_Step], crashes: set[int]) -> None:
        history = History(name)
        for step in steps:
            history.go(*step)
        for decision, expected in zip(history.decisions, history.expected, strict=True):
            assert sorted(_told(decision), key=repr) == sorted(expected, key=repr)
            for order in decision.orders:
                assert order.id == stable_id("r", order.rule_version, order.key, *order.causes, 0)
                wanted = Origin.BACKFILL if Origin.BACKFILL in _origins(history, order) else Origin.LIVE
                assert order.origin == wanted
        again = _again(name, history.log, crashes)
        assert _bytes(again) == _bytes(history.decisions)
        assert [one.changed for one in again] == [one.changed for one in history.decisions]
        assert [one.traces for one in again] == [one.traces for one in history.decisions]

    check()
