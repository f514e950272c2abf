"""Runs the `tests:` of rule files: events in, orders out, with a virtual clock and no network.

A test sees the rules of its own file and nothing else. Steps that others wait for end at once and
well, unless the test says otherwise; time passes only where it says `wait`, and timers fire on the way.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import JsonValue

from bridge.sdk import BRIDGE, MODE, ActionSpec, Logged, Order, Origin, VmsEvent, kinds, stable_id
from rules.engine import TICK, Engine
from rules.model import GivenEvent, Repeat, StepEnd, Wait
from rules.ruleset import RuleSet
from rules.state import ENTITIES, state_key
from rules.trace import Trace
from rules.trialreader import Expected, Trial, read_trials

__all__ = ["Trial", "TrialResult", "read_trials", "run_trial", "run_trials"]

MAX_EVENTS = 100_000
"""Of one test; timers that set each other would else keep it going for ever."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What came of a test. `difference` says, line by line, what was expected and did not happen, and why."""

    trial: Trial
    difference: tuple[str, ...]
    orders: tuple[Order, ...]
    traces: tuple[Trace, ...]

    @property
    def passed(self) -> bool:
        """It went as expected."""
        return not self.difference

    def __str__(self) -> str:
        head = f"{self.trial.file}:{self.trial.line}: {self.trial.name}: {'passed' if self.passed else 'FAILED'}"
        return "\n".join([head, *(f"    {line}" for line in self.difference)])


def run_trials(
    rules: RuleSet,
    actions: Mapping[str, ActionSpec[Any]],
    wanted: Callable[[Trial], bool] = lambda trial: True,
) -> list[TrialResult]:
    """Run the tests of a rule set, all or those that are wanted."""
    return [run_trial(rules, actions, trial) for trial in rules.trials if wanted(trial)]


def run_trial(rules: RuleSet, actions: Mapping[str, ActionSpec[Any]], trial: Trial) -> TrialResult:
    """Run one test."""
    triggers = tuple(trigger for trigger in rules.triggers if trigger.rule.file == trial.file)
    own = replace(rules, triggers=triggers, rules=tuple(rule for rule in rules.rules if rule.file == trial.file))
    player = _Player(own, actions, trial)
    player.play()
    difference = _differences(trial, player.orders, player.traces, actions)
    return TrialResult(trial, tuple(difference), tuple(player.orders), tuple(player.traces))


def _known(trial: Trial) -> dict[str, dict[str, JsonValue]]:
    """Return what is known when a test begins."""
    known = dict(trial.part.state)
    if trial.part.mode is not None:
        known[BRIDGE] = {**known.get(BRIDGE, {}), MODE: trial.part.mode}
    return known


class _Player:
    """Plays one test: its clock, its log, its engine."""

    def __init__(self, rules: RuleSet, actions: Mapping[str, ActionSpec[Any]], trial: Trial) -> None:
        self._rules, self._actions, self._trial = rules, actions, trial
        self._now = trial.start.astimezone(UTC)  # time passes by the clock of the world, not by the one on the wall
        self._seq = 0
        state = {
            state_key(ENTITIES, entity): {
                name: {"value": value, "since": trial.start.isoformat()} for name, value in attributes.items()
            }
            for entity, attributes in _known(trial).items()
        }
        self._engine = Engine(rules, state, site=rules.site.name)
        self._coming: list[tuple[datetime, int, VmsEvent]] = []
        """What our own actions lead to, by its time and then in the order in which it was asked for."""
        self._queued = 0
        self.orders: list[Order] = []
        self.traces: list[Trace] = []

    def play(self) -> None:
        """Go through what is given."""
        if self._rules.standing:  # rules of the clock begin to wait when the test begins
            self._step(self._own(TICK, Origin.TIMER, kinds.BridgeTick(due=self._now)))
        last: tuple[int, GivenEvent] | None = None
        for number, item in enumerate(self._trial.given):
            if isinstance(item, Wait):
                self._pass_time(item.wait)
            elif isinstance(item, Repeat):
                for _ in range(item.repeat if last is not None else 0):
                    self._send(*(last or (0, GivenEvent(kind=""))))
            else:
                last = (number, item)
                self._send(*last)

    def _send(self, number: int, given: GivenEvent) -> None:
        happened = self._trial.times[number] or self._now - (given.age or timedelta())
        event = VmsEvent(
            id=given.id or stable_id("test", self._trial.name, self._seq),
            type=given.kind,
            source=f"{self._rules.site.name}/{given.source}",
            subject=given.channel,
            time=happened,
            timequality="device",
            received=self._now,
            origin=Origin(given.origin),
            via="test",
            data=self._trial.payloads[number],
        )
        self._step(event)
        self._pass_time(timedelta())

    def _pass_time(self, span: timedelta) -> None:
        """Let time go by: timers fire and steps end on the way, in the order of their times."""
        target = self._now + span
        while self._seq < MAX_EVENTS:
            due = self._engine.next_due
            if self._coming and self._coming[0][0] <= min(target, due or target):
                self._now, _, event = heapq.heappop(self._coming)
                self._step(event)
            elif due is not None and due <= target:
                self._now = max(self._now, due)
                self._step(self._own(TICK, Origin.TIMER, kinds.BridgeTick(due=due)))
            else:
                break
        self._now = target

    def _step(self, event: VmsEvent) -> None:
        self._seq += 1
        decision = self._engine.step(Logged(self._seq, self._now, event))
        self.orders += decision.orders
        self.traces += decision.traces
        for order in decision.orders:
            self._carry_out(order)

    def _carry_out(self, order: Order) -> None:
        """Let an order end, if anybody waits for that; what is nothing but an event of our own is there at once."""
        end = self._trial.part.results.get(order.step or "", StepEnd())
        when, spec = self._now + end.after, self._actions.get(order.action)
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
            id=stable_id("test", kind, when.isoformat(), data.model_dump_json()),
            type=kind,
            source=f"{self._rules.site.name}/bridge",
            time=when,
            timequality="received",
            received=when,
            origin=origin,
            via="bridge",
            data=data,
        )


# --- what was expected ---------------------------------------------------------------------------------


def _differences(
    trial: Trial, orders: Sequence[Order], traces: Sequence[Trace], actions: Mapping[str, ActionSpec[Any]]
) -> list[str]:
    lines: list[str] = []
    if trial.part.expect is not None:
        lines += _compared(trial.expect, orders, actions)
    for unwanted in trial.expect_not:
        lines += [
            f"+ {_show(order.action, order.params)} was ordered by rule {order.rule}, and must not be"
            for order in orders
            if unwanted.matches(order, actions)
        ]
    if lines:
        lines += [f"  {trace}" for trace in _telling(traces)]
    return lines


def _compared(
    expected: Sequence[Expected], orders: Sequence[Order], actions: Mapping[str, ActionSpec[Any]]
) -> list[str]:
    """Return the two rows side by side, or nothing if they agree."""
    pairs = _aligned([[one.matches(order, actions) for order in orders] for one in expected], len(orders))
    if all(left is not None and right is not None for left, right in pairs):
        return []
    lines = []
    for left, right in pairs:
        if left is not None:
            sign, text = ("  " if right is not None else "- "), str(expected[left])
            lines.append(f"{sign}{text}{'' if right is not None else ' was expected'}")
        elif right is not None:
            order = orders[right]
            lines.append(f"+ {_show(order.action, order.params)} was ordered by rule {order.rule}, unexpectedly")
    return lines


def _aligned(same: Sequence[Sequence[bool]], width: int) -> list[tuple[int | None, int | None]]:
    """Return pairs of expected and made in order, as many together as possible."""
    height = len(same)
    best = [[0] * (width + 1) for _ in range(height + 1)]
    for row in reversed(range(height)):
        for column in reversed(range(width)):
            skip = max(best[row + 1][column], best[row][column + 1])
            best[row][column] = max(skip, best[row + 1][column + 1] + 1 if same[row][column] else 0)
    pairs: list[tuple[int | None, int | None]] = []
    row = column = 0
    while row < height or column < width:
        if row < height and column < width and same[row][column] and best[row][column] == best[row + 1][column + 1] + 1:
            pairs.append((row, column))
            row, column = row + 1, column + 1
        elif row < height and (column == width or best[row + 1][column] >= best[row][column + 1]):
            pairs.append((row, None))
            row += 1
        else:
            pairs.append((None, column))
            column += 1
    return pairs


def _telling(traces: Iterable[Trace]) -> list[str]:
    """Return why rules did not fire, and what failed in those that did; each once."""
    told = [str(trace) for trace in traces if trace.outcome == "unmet" or trace.failed or trace.skipped]
    return list(dict.fromkeys(told))


def _show(action: str, params: Mapping[str, Any]) -> str:
    return str(Expected(action, dict(params)))
