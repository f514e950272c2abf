"""Runs the `tests:` of rule files: events in, orders out, with a virtual clock and no network.

A test sees the rules of its own file and nothing else. Steps that others wait for end at once and
well, unless the test says otherwise; time passes only where it says `wait`, and timers fire on the way.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from bridge.sdk import BRIDGE, MODE, ActionSpec, Known, Logged, Order, Origin, StateKey, VmsEvent, kinds, stable_id
from rules.compiler import compile_rules
from rules.coverage import Goal
from rules.engine import TICK, Engine
from rules.overlay import Overlay
from rules.refused import refused_as
from rules.ruleset import RuleSet, SiteSettings
from rules.shortform import origin_of, source_of
from rules.state import ENTITIES, Book, state_key
from rules.trace import Trace
from rules.trialdiff import Played, differences
from rules.trialmodel import GivenEvent, GivenList, GivenMode, Repeat, StepEnd, Wait
from rules.trialreader import Trial, read_trials
from rules.waiting import FIRINGS, place_of
from rules.watching import Watch

__all__ = ["Trial", "TrialResult", "read_trials", "run_trial", "run_trials", "trial_results"]

MOST_OF_ONE = 100_000
"""Events, timers, orders and looks of rules that one test may lead to: some seconds, and some 200 MB."""
MOST_OF_ALL = 5_000_000
"""The same, of the tests that are run together."""
Actions = Mapping[str, ActionSpec[Any]]


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What came of a test. `difference` says, line by line, what was expected and did not happen, and why."""

    trial: Trial
    difference: tuple[str, ...]
    orders: tuple[Order, ...]
    traces: tuple[Trace, ...]
    reached: frozenset[Goal] = field(default=frozenset(), repr=False)
    """What it has shown of the rules, if it was watched."""
    work: int = 0
    """Events, timers, orders and looks that it led to."""

    @property
    def passed(self) -> bool:
        """It went as expected."""
        return not self.difference

    def __str__(self) -> str:
        head = f"{self.trial.file}:{self.trial.line}: {self.trial.name}: {'passed' if self.passed else 'FAILED'}"
        return "\n".join([head, *(f"    {line}" for line in self.difference)])


def run_trials(
    rules: RuleSet, actions: Actions, wanted: Callable[[Trial], bool] = lambda trial: True, *, watch: bool = False
) -> list[TrialResult]:
    """Run the tests of a rule set, all or those that are wanted."""
    return list(trial_results(rules, actions, wanted, watch=watch))


def trial_results(
    rules: RuleSet, actions: Actions, wanted: Callable[[Trial], bool] = lambda trial: True, *, watch: bool = False
) -> Iterator[TrialResult]:
    """Run tests one after the other. `watch`: note what they show of the rules."""
    sets: dict[tuple[str, SiteSettings], RuleSet] = {}
    left = MOST_OF_ALL
    for trial in rules.trials:
        if wanted(trial):
            own = sets.get((trial.file, trial.site))
            if own is None:
                own = sets[trial.file, trial.site] = _rules_for(rules, actions, trial)
            result = _run(own, actions, trial, watch=watch, most=min(left, MOST_OF_ONE))
            left -= result.work
            yield result


def run_trial(rules: RuleSet, actions: Actions, trial: Trial) -> TrialResult:
    """Run one test."""
    return _run(_rules_for(rules, actions, trial), actions, trial, watch=False, most=MOST_OF_ONE)


def _rules_for(rules: RuleSet, actions: Actions, trial: Trial) -> RuleSet:
    """Return the rules of a test's file, where the test plays."""
    if trial.site != rules.site:
        rules = compile_rules(rules.documents, actions, Known(), trial.site)
    return replace(
        rules,
        rules=tuple(rule for rule in rules.rules if rule.file == trial.file),
        triggers=tuple(trigger for trigger in rules.triggers if trigger.rule.file == trial.file),
        answers=tuple(trigger for trigger in rules.answers if trigger.rule.file == trial.file),
    )


def _run(rules: RuleSet, actions: Actions, trial: Trial, *, watch: bool, most: int) -> TrialResult:
    watched = watch or bool(trial.part.expect_unmet)
    player = _Player(rules, actions, trial, watch=watched, most=most)
    played = player.play()
    if player.worn_out:
        return TrialResult(trial, (_stopped(player.now, most),), (), (), player.reached, player.work)
    found = differences(trial, played, actions)
    if found and not watched:  # once more, and closely: the same will come of it, and why
        closely = _Player(rules, actions, trial, watch=True, most=most)
        seen = closely.play()
        found = found if closely.worn_out else differences(trial, seen, actions)
    return TrialResult(trial, tuple(found), played.orders, played.traces, player.reached, player.work)


def _stopped(now: datetime, most: int) -> str:
    if most < MOST_OF_ONE:
        return (
            f"not finished: all tests together led to more than {MOST_OF_ALL:,} events and firings; run fewer with -k"
        )
    return (
        f"stopped at {now:%Y-%m-%d %H:%M:%S} UTC: it led to more than {most:,} events and firings; "
        "give fewer, or `wait` for less long where rules of the clock fire often"
    )


class _Player:
    """Plays one test: its clock, its log, its engine."""

    def __init__(self, rules: RuleSet, actions: Actions, trial: Trial, *, watch: bool, most: int) -> None:
        self._rules, self._actions, self._trial = rules, actions, trial
        self._most, self.work = most, 0
        self._now = trial.start.astimezone(UTC)  # time passes by the clock of the world, not by the one on the wall
        self._seq = 0
        self._engine = Engine(rules, self._at_first())
        self._watch = Watch(rules) if watch else None
        self._coming: list[tuple[datetime, int, VmsEvent]] = []
        """What our own actions lead to, by its time and then in the order in which it was asked for."""
        self._queued = 0
        self._names: dict[str, str] = {}
        self._orders: list[Order] = []
        self._traces: list[Trace] = []

    @property
    def now(self) -> datetime:
        """The moment it has reached."""
        return self._now

    @property
    def worn_out(self) -> bool:
        """It led to more than it may, and was not played to its end."""
        return self.work > self._most

    @property
    def reached(self) -> frozenset[Goal]:
        """What was shown of the rules."""
        return frozenset(self._watch.reached) if self._watch is not None else frozenset()

    def _at_first(self) -> dict[StateKey, dict[str, Any]]:
        """Return what is known when the test begins."""
        trial, since = self._trial, self._trial.start.isoformat()
        known = dict(trial.part.state)
        if trial.part.mode is not None:
            known[BRIDGE] = {**known.get(BRIDGE, {}), MODE: trial.part.mode}
        state: dict[StateKey, dict[str, Any]] = {
            state_key(ENTITIES, entity): {name: {"value": value, "since": since} for name, value in attributes.items()}
            for entity, attributes in known.items()
        }
        if not trial.lists:
            return state
        book = Book(state)
        overlay = Overlay(book)
        for change in trial.lists:
            event = self._own("list.changed", Origin.BRIDGE, change.at(self._now))
            overlay.learn(event, self._rules.lists, self._now)
        return {key: dict(value) for key, value in book.values().items()}

    def play(self) -> Played:
        """Go through what is given."""
        if self._rules.standing:  # rules of the clock begin to wait when the test begins
            self._step(self._own(TICK, Origin.TIMER, kinds.BridgeTick(due=self._now)))
        last: int | None = None
        for number, item in enumerate(self._trial.given):
            if self.worn_out:
                break
            if isinstance(item, Wait):
                self._pass_time(item.wait)
            elif isinstance(item, Repeat):
                for _ in range(item.repeat if last is not None else 0):
                    if not self.worn_out:
                        self._send(last or 0, number)
            else:
                last = number if isinstance(item, GivenEvent) else last
                self._send(number, number)
        looks = tuple(self._watch.looks) if self._watch is not None else ()
        return Played(self._rules, tuple(self._orders), tuple(self._traces), looks, self._waiting(), self._names)

    def _send(self, number: int, place: int) -> None:
        """Let happen what is given at a number; `place` is where the test says so."""
        item = self._trial.given[number]
        if isinstance(item, GivenEvent):
            event = self._event(number, item)
        elif isinstance(item, GivenMode):
            event = self._own("mode.changed", Origin.BRIDGE, kinds.ModeChanged(mode=item.mode))
        elif isinstance(item, GivenList):
            event = self._own("list.changed", Origin.BRIDGE, self._trial.changes[number].at(self._now))
        else:
            return
        self._names.setdefault(event.id, f"given[{place}] {event.type}")
        self._step(event)
        self._pass_time(timedelta())

    def _event(self, number: int, given: GivenEvent) -> VmsEvent:
        happened = self._trial.times[number] or self._now - (given.age or timedelta())
        return VmsEvent(
            id=given.id or stable_id("test", self._trial.name, self._seq),
            type=given.kind,
            source=f"{self._rules.site.name}/{source_of(given)}",
            subject=given.channel,
            time=happened,
            timequality="device",
            received=self._now,
            origin=origin_of(given),
            via="test",
            data=self._trial.payloads[number],
        )

    def _pass_time(self, span: timedelta) -> None:
        """Let time go by: timers fire and steps end on the way, in the order of their times."""
        target = self._now + span
        while not self.worn_out:
            due = self._engine.next_due
            if self._coming and self._coming[0][0] <= min(target, due or target):
                self._now, _, event = heapq.heappop(self._coming)
                self._step(event)
            elif due is not None and due <= target:
                self._now = max(self._now, due)
                self._step(self._own(TICK, Origin.TIMER, kinds.BridgeTick(due=due)))
            else:
                self._now = target
                return

    def _step(self, event: VmsEvent) -> None:
        self._seq += 1
        logged = Logged(self._seq, self._now, event)
        decision = self._engine.step(logged)
        self._names.setdefault(event.id, event.type)
        self._orders += decision.orders
        self._traces += decision.traces
        self.work += 1 + len(decision.orders) + len(decision.traces)
        if self._watch is not None:
            before = len(self._watch.looks)
            self._watch.saw(self._engine, logged, decision)
            self.work += len(self._watch.looks) - before
        for order in decision.orders:
            self._carry_out(order)

    def _carry_out(self, order: Order) -> None:
        """Let an order end, if anybody waits for that; what is nothing but an event of our own is there at once."""
        spec = self._actions.get(order.action)
        refused = refused_as(order, spec)
        end = self._trial.part.results.get(order.step or "", StepEnd())
        if refused is not None:
            end = StepEnd(outcome=refused)
        when = self._now + end.after
        if spec is not None and spec.event is not None and end.outcome == "done":
            self._later(when, spec.event(spec.params.model_validate(order.params), order))
        if end.outcome == "pending" or not self._is_awaited(order):
            return
        data = kinds.ActionEnded(
            order=order.id,
            rule=order.rule,
            action=order.action,
            step=order.step,
            outcome=end.outcome,
            attempts=1,
            output=end.output,
        )
        self._later(when, self._own("action.ended", Origin.BRIDGE, data, when))

    def _is_awaited(self, order: Order) -> bool:
        steps = self._rules.by_id[order.rule].steps
        if order.index >= len(steps):
            return False  # no step's: what the engine tells of a loop
        if steps[order.index].caught is not None or order.step in self._trial.part.results:
            return True
        return any(order.step in step.needs for step in steps)

    def _later(self, when: datetime, event: VmsEvent) -> None:
        self._queued += 1
        heapq.heappush(self._coming, (when, self._queued, event))

    def _own(self, kind: str, origin: Origin, data: kinds.Payload, when: datetime | None = None) -> VmsEvent:
        when = when or self._now
        return VmsEvent(
            id=stable_id("test", kind, when.isoformat(), self._seq, data.model_dump_json()),
            type=kind,
            source=f"{self._rules.site.name}/bridge",
            time=when,
            timequality="received",
            received=when,
            origin=origin,
            via="bridge",
            data=data,
        )

    def _waiting(self) -> dict[str, tuple[str, ...]]:
        """Return the steps that still wait, by rule."""
        found: dict[str, tuple[str, ...]] = {}
        for key, value in self._engine.state().items():
            rule = self._rules.by_id.get(place_of(key).rule) if key.rule.startswith(FIRINGS) else None
            if rule is not None:
                labels = (rule.steps[int(index)].label for index in value["waiting"])
                found[rule.id] = (*found.get(rule.id, ()), *labels)
        return found
