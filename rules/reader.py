"""One rule of a file: from its part of the tree to a compiled rule, with everything wrong in it reported."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.sdk import PAYLOADS, ActionSpec, Known, payload_model, stable_id, unknown
from rules.celscan import Scope
from rules.conditions import Test
from rules.expressions import Expression
from rules.fields import ENVELOPE, Field, field_of, paths_of
from rules.matching import Conditions
from rules.model import NotDuring, RulePart, When, WindowPart
from rules.report import Spot, shown
from rules.rule import KeyMaker, Rule, Trigger
from rules.schedules import Place, Schedule
from rules.steps import Step, StepReader

_UNKNOWN_WHEN = {"kind": ""}
_UNFIT = frozenset({"bridge.tick"})
"""Kinds that no rule can wait for: the engine's own time."""


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A rule whose place among the others is not known yet."""

    part: RulePart
    spot: Spot
    tests: tuple[Test, ...]
    steps: tuple[Step, ...]
    per: KeyMaker | None
    during: Schedule | None
    condition: Expression | None
    site: str

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

    def finish(self, order: int) -> Trigger:
        """Return the rule's trigger, and the rule in it."""
        part, when = self.part, self.part.when
        rule = Rule(
            part.id,
            version_of(part),
            order,
            self.steps,
            per=self.per,
            during=self.during,
            condition=self.condition,
            cooldown=part.cooldown,
            max_age=part.max_age,
            priority=part.priority,
            shadow=part.shadow,
            file=self.spot.file,
            line=self.spot.line,
        )
        sources = None if when.source is None else frozenset(f"{self.site}/{name}" for name in when.source)
        channels = None if when.channel is None else frozenset(when.channel)
        return Trigger(rule, when.kind, sources, channels, self.tests, resync="resync" in when.include)


def version_of(part: RulePart) -> str:
    """Return the name of what a rule means: all that is written in it but its description and whether it is on.

    Lists and schedules are named in a rule, not part of it: a new resident resets no cooldown.
    """
    meaning = part.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"description", "enabled"})
    return stable_id(json.dumps(meaning, sort_keys=True, ensure_ascii=False))


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
        self._conditions, self._schedules = conditions, schedules
        self._actions, self._known, self._site, self._place = actions, known, site, place
        self.used_schedules: set[str] = set()

    def read(self, spot: Spot, number: int) -> Draft | None:
        """Return a rule; None if too little of it can be understood."""
        value = spot.value
        written = value.get("id") if isinstance(value, dict) else None
        spot = spot.named(f"rule {written}" if isinstance(written, str) else f"rule #{number + 1}")
        defaults = {"id": f"rule-{number + 1}", "when": _UNKNOWN_WHEN, "then": []}
        part = spot.read(RulePart, defaults=defaults)
        if part is None:
            return None
        kind = self._kind(part.when, spot / "when")
        self._place_known(part.when, spot / "when")
        scope = Scope(data=payload_model(kind) if kind else None)
        tests = self._tests(kind, part, spot / "match")
        condition = self._condition(part, scope, spot / "if")
        reader = StepReader(self._actions, self._known, scope)
        steps = self._steps(reader, spot / "then")
        self._entities([*reader.expressions, *([condition] if condition else [])], spot)
        per = self._per(part, kind, scope, spot / "per")
        return Draft(part, spot, tests, steps, per, self._during(part, spot / "during"), condition, self._site)

    # --- when ------------------------------------------------------------------------------------------

    @staticmethod
    def _kind(when: When, spot: Spot) -> str | None:
        if not when.kind:
            return None
        if payload_model(when.kind) is None:
            (spot / "kind").problem(unknown("kind", when.kind, sorted(PAYLOADS.keys() - _UNFIT)))
            return None
        if when.kind in _UNFIT:
            (spot / "kind").problem(f"{when.kind} is the engine's own; no rule can wait for it")
        return when.kind

    def _place_known(self, when: When, spot: Spot) -> None:
        for number, name in enumerate(when.source or ()):
            if self._known.sources is not None and name not in self._known.sources:
                (spot / "source" / number).problem(unknown("source", name, self._known.sources))
        if self._known.channels is None or when.channel is None:
            return
        sources = when.source or tuple(self._known.sources or self._known.channels)
        channels = [self._known.channels.get(name) for name in sources]
        if any(found is None for found in channels):
            return  # of at least one of them nobody knows what it has
        every = frozenset(channel for found in channels if found is not None for channel in found)
        for number, channel in enumerate(when.channel):
            if channel not in every:
                (spot / "channel" / number).problem(f"{unknown('channel', channel, every)} (of {', '.join(sources)})")

    # --- match, if, per, during ------------------------------------------------------------------------

    def _tests(self, kind: str | None, part: RulePart, spot: Spot) -> tuple[Test, ...]:
        tests: list[Test] = []
        for path, value in part.match.items():
            try:
                field = field_of(kind, path) if kind else None
            except LookupError as error:
                (spot / path).problem(str(error), key=True)
                continue
            if field is not None:
                tests += self._conditions.read(field, value, spot / path)
        return tuple(dict.fromkeys(tests))

    @staticmethod
    def _condition(part: RulePart, scope: Scope, spot: Spot) -> Expression | None:
        if part.condition is None:
            return None
        try:
            return Expression(part.condition, scope)
        except ValueError as error:
            spot.problem(f"`if`: {error}")
            return None

    def _per(self, part: RulePart, kind: str | None, scope: Scope, spot: Spot) -> KeyMaker | None:
        parts: list[Field | Expression | str] = []
        for number, text in enumerate(part.per or ()):
            here = spot / number if isinstance(spot.value, list) else spot
            try:
                parts.append(self._key_part(text, kind, Scope(frozenset({"event"}), scope.data)))
            except (LookupError, ValueError) as error:
                here.problem(f"`per`: {error}")
        return KeyMaker(parts) if parts else None

    @staticmethod
    def _key_part(text: str, kind: str | None, scope: Scope) -> Field | Expression | str:
        """Return a field where the text is the name of one, a part of the envelope, or an expression."""
        if not all(part.isidentifier() for part in text.split(".")) or text.startswith("event."):
            return Expression(text, scope)
        if text in ENVELOPE and (kind is None or text not in paths_of(kind)):
            return text
        if kind is None:
            return "source"  # the kind is unknown and reported; nothing can be said about its fields
        return field_of(kind, text)

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
        if schedule.needs_sun and not self._place.knows_sun:
            spot.problem("`during`: sunrise and sunset need the site's `latitude` and `longitude` in bridge.yaml")
        return schedule

    # --- then -------------------------------------------------------------------------------------------

    @staticmethod
    def _steps(reader: StepReader, spot: Spot) -> tuple[Step, ...]:
        content = spot.value
        if not isinstance(content, list):
            return ()  # a missing or misshapen `then` is reported by the model
        if not content:
            spot.problem("`then` must say what to do: at least one action")
        steps = [reader.read(spot / index, index) for index in range(len(content))]
        return tuple(step for step in steps if step is not None)

    def _entities(self, expressions: Sequence[Expression], spot: Spot) -> None:
        """Check the sources that `state("nvr1/3", ...)` names."""
        for entity in sorted({entity for expression in expressions for entity in expression.entities}):
            source = entity.partition("/")[0]
            if self._known.sources is not None and source not in self._known.sources:
                spot.problem(f"state({shown(entity)}, ...): {unknown('source', source, self._known.sources)}")
