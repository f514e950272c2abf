"""Lists that are changed at run time, against a table that is kept by hand, with ends, crashes and other files."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bridge.sdk import Logged, Origin, StateKey, VmsEvent
from rules import overlay
from rules.engine import Engine
from rules.overlay import Changed, changes_of
from rules.ruleset import RuleSet
from tests.rules.support import START, Run, event, plate, rules_of

RULES = """
lists:
  residents: {plates: residents.csv, tags: [staff]}
  words: {values: [red, "12-ab"]}
rules:
  - id: in
    when: {kind: plate.read}
    match: {plate: {in: residents}}
    then: [{webhook: x}]
  - id: staff
    when: {kind: plate.read}
    match: {plate: {in: {list: residents, tag: staff}}}
    then: [{webhook: x}]
  - id: alike
    when: {kind: plate.read}
    match: {plate: {like: {list: residents}}}
    then: [{webhook: x}]
"""
PLATES = ["A1", "B2", "C3", "D4"]
_Model = tuple[bool, float | None, float | None, tuple[str, ...]]
"""Listed, from, until, tags."""


def _rules(*listed: str) -> RuleSet:
    return rules_of(RULES, residents="plate,tags\n" + "".join(f"{one},night\n" for one in listed))


def _changed(seconds: float, name: str = "residents", **data: Any) -> VmsEvent:
    return event("list.changed", {"list": name, **data}, source="bridge", time=_at(seconds), origin=Origin.COMMAND)


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class _Lists(RuleBasedStateMachine):
    """The engine beside a dict."""

    @initialize(listed=st.sets(st.sampled_from(PLATES)))
    def begin(self, listed: set[str]) -> None:
        self.now, self.seq = 0.0, 0
        self.file = listed
        self.table: dict[str, _Model] = {}
        self.stored: dict[StateKey, dict[str, Any]] = {}
        self.engine = Engine(_rules(*sorted(listed)), {})

    def _feed(self, made: VmsEvent) -> None:
        self.seq += 1
        decided = self.engine.step(Logged(self.seq, _at(self.now), made))
        self._store(decided.changed)

    def _store(self, changed: Mapping[StateKey, Any]) -> None:
        for key, value in changed.items():
            if value is None:
                self.stored.pop(key, None)
            else:
                self.stored[key] = value

    @rule(
        plates=st.sets(st.sampled_from(PLATES), min_size=1),
        since=st.none() | st.integers(-5, 20),
        until=st.none() | st.integers(-5, 30),
        tags=st.sampled_from([(), ("staff",), ("night", "staff")]),
    )
    def add(self, plates: set[str], since: int | None, until: int | None, tags: tuple[str, ...]) -> None:
        start = None if since is None else self.now + since
        end = None if until is None else self.now + until
        data: dict[str, Any] = {"valid_from": None if start is None else _at(start), "tags": tags}
        self._feed(_changed(self.now, added=sorted(plates), valid_until=None if end is None else _at(end), **data))
        for one in plates:
            self.table.pop(one, None)
            if end is None or end > self.now:
                self.table[one] = (True, start, end, tags)

    @rule(plates=st.sets(st.sampled_from(PLATES), min_size=1), until=st.none() | st.integers(1, 30))
    def remove(self, plates: set[str], until: int | None) -> None:
        end = None if until is None else self.now + until
        self._feed(_changed(self.now, removed=sorted(plates), valid_until=None if end is None else _at(end)))
        for one in plates:
            self.table.pop(one, None)
            if one in self.file:
                self.table[one] = (False, None, end, ())

    @rule(one=st.sampled_from(PLATES))
    def reset(self, one: str) -> None:
        self._feed(_changed(self.now, reset=[one]))
        self.table.pop(one, None)

    @rule(seconds=st.integers(1, 15))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self._feed(event("motion.started", time=_at(self.now)))

    @rule(listed=st.sets(st.sampled_from(PLATES)))
    def other_file(self, listed: set[str]) -> None:
        self.file = listed
        self._store(self.engine.replace_rules(_rules(*sorted(listed))).changed)

    @rule()
    def crash(self) -> None:
        self.engine = Engine(_rules(*sorted(self.file)), dict(self.stored))

    @invariant()
    def they_agree(self) -> None:
        for one in PLATES:
            listed, since, until, tags = self.table.get(one, (None, None, None, ()))
            if until is not None and until <= self.now:
                listed = None
            wanted = {"in"} if one in self.file and listed is None else set()
            if listed and (since is None or since <= self.now):
                wanted = {"in", *({"staff"} if "staff" in tags else set())}
            logged = Logged(self.seq + 1, _at(self.now), plate(one, time=_at(self.now)))
            fired = {trace.rule for trace in self.engine.explain(logged, ["in", "staff"]) if trace.fired}
            assert fired == wanted, one


class TestLists(_Lists.TestCase):  # type: ignore[name-defined,misc] # made by hypothesis
    """Random changes, ends, files and crashes."""

    settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def _run(*listed: str) -> Run:
    return Run(_rules(*listed))


def _fires(run: Run, number: str, seconds: float = 0, *, happened: float | None = None) -> list[str]:
    made = run.feed(plate(number, time=_at(seconds if happened is None else happened), received=_at(seconds)))
    return [order.rule for order in made.orders]


def test_what_is_added_counts_from_its_place_in_the_log() -> None:
    """However it is written, and with its tags; what is not there any more does not."""
    run = _run()
    assert _fires(run, "VIS17", 0) == []
    run.feed(_changed(1, added=["vis-17"], tags=["staff"], valid_until=_at(60)))
    assert _fires(run, "VIS17", 2) == ["in", "staff", "alike"]
    assert _fires(run, "VISI7", 2) == ["alike"]
    assert _fires(run, "VIS17", 61) == []


def test_a_late_event_is_judged_by_the_log_when_the_change_has_ended() -> None:
    """The change is forgotten then, and the file counts."""
    run = _run()
    run.feed(_changed(0, added=["A1"], valid_from=_at(30), valid_until=_at(60)))
    assert _fires(run, "A1", 40, happened=20) == []
    assert _fires(run, "A1", 50, happened=31) == ["in", "alike"]
    assert _fires(run, "A1", 61, happened=31) == []


def test_a_removal_wins_over_every_later_file_until_it_is_taken_back() -> None:
    """A car that was stolen stays out, though the nightly export lists it again."""
    run = _run("A1")
    run.feed(_changed(1, removed=["A1"]))
    assert "in" not in _fires(run, "A1", 2)
    run.engine.replace_rules(_rules("B2"))
    run.engine.replace_rules(_rules("A1", "B2"))
    assert "in" not in _fires(run, "A1", 3)
    run.feed(_changed(4, reset=["A1"]))
    assert "in" in _fires(run, "A1", 5)


def test_removing_what_only_was_added_leaves_nothing_behind() -> None:
    """So visitors that come and go do not add up; and a file that lists it later is news, and counts."""
    run = _run()
    run.feed(_changed(1, added=["A1"]))
    run.feed(_changed(2, removed=["A1"]))
    assert [key for key in run.state if key.rule.startswith("$list")] == []
    run.engine.replace_rules(_rules("A1"))
    assert "in" in _fires(run, "A1", 3)


def test_what_is_made_up_or_names_no_list_changes_nothing() -> None:
    """Replayed and tried events say nothing about how things are."""
    run = _run()
    for origin in (Origin.TEST, Origin.REPLAY):
        run.feed(event("list.changed", {"list": "residents", "added": ["A1"]}, source="bridge", origin=origin))
    run.feed(_changed(1, "resident", added=["A1"]))
    assert _fires(run, "A1", 2) == []
    assert run.state == {}


def test_what_ends_is_forgotten_and_needs_no_timer() -> None:
    """Nobody is woken for it; the state is empty again some events later."""
    run = _run()
    run.feed(_changed(0, added=["A1", "B2"], valid_until=_at(10)))
    assert run.engine.next_due is None
    assert changes_of(run.state, "residents", _at(9)) == {one: Changed(True, None, _at(10), ()) for one in ("A1", "B2")}
    assert changes_of(run.state, "residents", _at(10)) == {}
    run.feed(event("motion.started", time=_at(11)))
    assert [key for key in run.state if key.rule.startswith("$list")] == []


def test_a_long_value_is_kept_under_its_hash() -> None:
    """And found, and shown as it is."""
    run = Run(rules_of(RULES.replace("{plate: {in: residents}}", "{device: {in: words}}"), residents="plate\n"))
    long = "x" * 200
    run.feed(_changed(0, "words", added=[long, "$", "12-ab"]))
    assert set(changes_of(run.state, "words", START)) == {long, "$", "12-ab"}
    assert [order.rule for order in run.feed(plate("A1", device=long)).orders] == ["in"]


def test_one_too_many_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is changed already can still be changed."""
    monkeypatch.setattr(overlay, "MAX_CHANGED", 2)
    run = _run()
    run.feed(_changed(0, added=["A1", "B2", "C3"]))
    assert (run.engine.refused, len(run.state)) == (1, 2)
    run.feed(_changed(1, added=["A1"], tags=["staff"]))
    assert _fires(run, "A1", 2) == ["in", "staff", "alike"]


def _many(count: int) -> Iterable[VmsEvent]:
    for first in range(0, count, 250):
        plates = [f"P{number:06}" for number in range(first, first + 250)]
        yield _changed(0, added=plates, valid_until=_at(10_000 + first))


def test_very_many_changes_are_small_and_found_at_once() -> None:
    """One value each; a table, so their number does not matter to who asks."""
    tracemalloc.start()
    run = _run()
    for made in _many(10_000):
        run.feed(made)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(run.state) == 10_000
    assert used < 16 * 1024**2, f"{used / 1024**2:.1f} MiB"
    assert _fires(run, "P009999", 1) == ["in", "alike"]
    assert _fires(run, "XXXXXXX", 1) == []
