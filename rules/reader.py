"""One rule of a file: from its part of the tree to a compiled rule, with everything wrong in it reported."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bridge.sdk import RULES, ActionSpec, Known, stable_id, unknown
from rules.celscan import Scope
from rules.celtypes import About
from rules.expressions import Expression
from rules.flow import FlowReader
from rules.keys import NUMBER_OF_PARTS, never_together
from rules.lateness import never_done
from rules.likeness import exact_where_it_moves
from rules.matching import Conditions
from rules.model import NotDuring, NotMode, RulePart, WindowPart
from rules.modes import Modes
from rules.patterns.clock import Rings
from rules.report import Spot
from rules.rule import Rule, Trigger
from rules.schedules import Place, Schedule
from rules.selectors import Names, Selectors, Wanted
from rules.stateof import unanswerable
from rules.stepreader import StepReader
from rules.steps import Step, never_reached
from rules.whenreader import Waiting, read_when

MOST_TRIES = 5000
"""Times of the clock that are tried for all rules together: half a second, or so."""
_UNKNOWN_WHEN = {"kind": ""}


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A rule whose place among the others is not known yet."""

    part: RulePart
    spot: Spot
    waiting: Waiting
    steps: tuple[Step, ...]
    answers: tuple[Wanted, ...]
    during: Schedule | None
    condition: Expression | None
    asked: frozenset[tuple[str, str | None]] = frozenset()
    """What `if` and the steps ask `state()` about: entity and attribute; None: any."""

    @property
    def id(self) -> str:
        """The rule's id."""
        return self.part.id

    @property
    def priority(self) -> int:
        """Higher goes first."""
        return self.part.priority

    @property
    def enabled(self) -> bool:
        """It is to be used."""
        return self.part.enabled

    @property
    def modes(self) -> Modes | None:
        """The modes in which it acts; None: in all."""
        return _modes(self.part)

    @property
    def events(self) -> tuple[Wanted, ...]:
        """All events that matter to it and to its steps."""
        return (*self.waiting.wanted, *self.answers)

    @property
    def version(self) -> str:
        """The name of what it means."""
        return version_of(self.part)

    def finish(self, order: int) -> tuple[Rule, tuple[Trigger, ...], tuple[Trigger, ...]]:
        """Return the rule, the triggers by which events find it, and those by which they find its waiting steps."""
        part, version = self.part, version_of(self.part)
        rule = Rule(
            part.id,
            version,
            order,
            self.steps,
            pattern=self.waiting.pattern(part.id),
            during=self.during,
            condition=self.condition,
            mode=_modes(part),
            cooldown=part.cooldown,
            quiet_for=part.quiet_for,
            limit=part.limit,
            concurrency=part.concurrency,
            max_age=part.max_age,
            max_lateness=part.when.max_lateness,
            priority=part.priority,
            shadow=part.shadow,
            file=self.spot.file,
            line=self.spot.line,
        )
        triggers = tuple(_trigger(rule, one) for one in self.waiting.wanted)
        return rule, triggers, tuple(_trigger(rule, one) for one in self.answers)


def _trigger(rule: Rule, one: Wanted) -> Trigger:
    return Trigger(rule, one.kind, one.sources, one.channels, one.tests, one.resync, one.role, one.per)


def version_of(part: RulePart) -> str:
    """Return the name of what a rule means: all that is written in it but its description and whether it is on.

    Lists and schedules are named in a rule, not part of it: a new resident resets no cooldown.
    """
    meaning = part.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"description", "enabled"})
    return stable_id(json.dumps(meaning, sort_keys=True, ensure_ascii=False))


def _meeting(part: RulePart, steps: Sequence[Step], spot: Spot) -> None:
    """Warn of `concurrency` where no two firings can meet."""
    waits = any(step.holds or step.needs or step.caught is not None for step in steps)
    if part.concurrency != "parallel" and not waits:
        (spot / "concurrency").warning("no step of this rule waits, so none of its firings meet")


def _never_answers(answer: Wanted, decides: Sequence[Wanted]) -> str | None:
    """Return what an event never has in common with any that fires the rule; None if it may be the same."""
    apart = [never_together([one, answer]) for one in decides]
    return apart[0] if apart and all(apart) else None


def _modes(part: RulePart) -> Modes | None:
    if part.mode is None:
        return None
    negated = isinstance(part.mode, NotMode)
    return Modes(frozenset(part.mode.modes if isinstance(part.mode, NotMode) else part.mode), negated)


class RuleReader:
    """Reads rules; knows everything they may name."""

    def __init__(
        self,
        conditions: Conditions,
        schedules: Mapping[str, Schedule],
        actions: Mapping[str, ActionSpec[Any]],
        known: Known,
        site: str,
        place: Place,
    ) -> None:
        self._names = Names(conditions, known, site, place)
        self._schedules, self._actions, self._known, self._place = schedules, actions, known, place
        self._tries = MOST_TRIES
        self.used_schedules: set[str] = set()
        self.remembered: list[tuple[str, str, Spot]] = []
        """What expressions ask of what rules remember: entity, attribute, and where."""

    def read(self, spot: Spot, number: int) -> Draft | None:
        """Return a rule; None if too little of it can be understood. `spot` has its name."""
        defaults = {"id": f"rule-{number + 1}", "when": _UNKNOWN_WHEN, "then": []}
        part = spot.read(RulePart, defaults=defaults)
        if part is None:
            return None
        waiting = read_when(self._names, part.when, part.match, part.per, spot)
        scope = Scope(data=waiting.data, about=About(waiting.kind, self._known.modes))
        condition = self._condition(part, scope, spot / "if")
        reader = StepReader(self._actions, replace(self._known, here=waiting.places, sourced=waiting.sourced), scope)
        flow = FlowReader(reader, Selectors(self._names, part.when, part.match, part.per, spot))
        steps = flow.read(spot / "then", spot / "on_error")
        answers = {int(one.role): one.kind for one in flow.answers}
        never_done(steps, part, waiting.own, self._known, spot, answers)
        _meeting(part, steps, spot)
        for step in never_reached(steps)[:1]:
            message = f"`{step.does.word}` is never reached: a `stop` without `if` always comes before it"
            spot.below(step.path).warning(message)
        self._answerable(flow.answers, waiting.decides, steps, spot)
        exact_where_it_moves([*waiting.wanted, *flow.answers], steps, spot)
        for expression, place in reader.expressions:
            self._note(expression, place)
        self._check_modes(part, spot / "mode")
        during = self._during(part, spot / "during")
        self._never_open(waiting, during, spot / "during")
        asked = frozenset(condition.asked if condition is not None else ()).union(
            *(expression.asked for expression, _ in reader.expressions)
        )
        return Draft(part, spot, waiting, steps, tuple(flow.answers), during, condition, asked)

    @staticmethod
    def _answerable(answers: Sequence[Wanted], decides: Sequence[Wanted], steps: Sequence[Step], spot: Spot) -> None:
        """Refuse to wait for events that never have the key of what fires the rule."""
        for one in answers:
            apart = _never_answers(one, decides) if one.per is not None else None
            if apart is None:
                continue
            why = f"{one.kind} never has the {apart} of what fires the rule"
            if apart == NUMBER_OF_PARTS:
                why = f"{one.kind} is told apart by something else than what fires the rule"
            (spot.below(steps[int(one.role)].path) / "wait_for").pointless(
                f"`wait_for`: {why}, so nothing ever answers; give it the rule's `per`, with the names that it has "
                "there, or `per: []` if it does not matter whose it is"
            )

    def _check_modes(self, part: RulePart, spot: Spot) -> None:
        """Check the modes that a rule names, where the site says which there are."""
        modes, known = _modes(part), self._known.modes
        for name in sorted(modes.names) if modes is not None and known is not None else ():
            if known is not None and name not in known:
                spot.problem(f"`mode`: {unknown('mode', name, sorted(known))}")

    # --- if, during --------------------------------------------------------------------------------

    def _condition(self, part: RulePart, scope: Scope, spot: Spot) -> Expression | None:
        if part.condition is None:
            return None
        try:
            expression = Expression(part.condition, scope, condition=True)
        except ValueError as error:
            spot.problem(f"`if`: {error}")
            return None
        for note in unanswerable(expression, self._known):
            spot.pointless(f"`if`: {note}")
        self._note(expression, spot)
        return expression

    def _during(self, part: RulePart, spot: Spot) -> Schedule | None:
        during, negated = part.during, False
        if isinstance(during, NotDuring):
            during, negated, spot = during.outside, True, spot / "not"
        if during is None:
            return None
        if isinstance(during, str):
            self.used_schedules.add(during)
            named = self._schedules.get(during)
            if named is None:
                spot.problem(f"`during`: {unknown('schedule', during, sorted(self._schedules))}")
                return None
            return Schedule(named.windows, negated=True) if negated else named
        windows = (during,) if isinstance(during, WindowPart) else during
        schedule = Schedule(tuple(window.window() for window in windows), negated)
        if lacking := schedule.lacks(self._place):
            spot.problem(f"`during`: {lacking}")
        return schedule

    def _never_open(self, waiting: Waiting, during: Schedule | None, spot: Spot) -> None:
        """Refuse a time of the clock at which the schedule is never open."""
        if during is None or during.lacks(self._place) or waiting.kind is None or waiting.wanted:
            return
        rings, zone = waiting.pattern(""), self._place.zone

        def is_open(moment: datetime) -> bool:
            return during.open_at(moment.astimezone(zone).replace(tzinfo=None), self._place)

        if not isinstance(rings, Rings):
            return
        never, tried = rings.never(is_open, self._tries)
        self._tries -= tried
        if never:
            spot.pointless("`during`: it is never open when the clock of `when` rings, so this never fires")

    def _note(self, expression: Expression, spot: Spot) -> None:
        """Keep what an expression asks of what rules remember: a rule that is read later may set it."""
        asked = sorted(one for one in expression.asked if one[0].startswith(f"{RULES}/") and one[1] is not None)
        self.remembered += [(entity, attribute or "", spot) for entity, attribute in asked]
