"""A compiled rule, and the triggers by which events find it. Values only; the engine decides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from bridge.sdk import VmsEvent, plain
from rules.conditions import Test
from rules.expressions import EventContext, Expression
from rules.fields import Field
from rules.modes import Modes
from rules.moment import Moment
from rules.patterns import OneEvent, Pattern
from rules.resting import Concurrency, Limit
from rules.schedules import Schedule
from rules.steps import Step

_DATA = "event.data."


class KeyMaker:
    """What a rule tells its firings apart by: fields, parts of the envelope, or an expression."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Sequence[Field | Expression | str]) -> None:
        self._parts = tuple(parts)

    @property
    def parts(self) -> tuple[Field | Expression | str, ...]:
        """Fields, expressions, and `source` and `channel`."""
        return self._parts

    @property
    def fields(self) -> list[str]:
        """The fields of the event's data that it is made of."""
        own = [part.path for part in self._parts if isinstance(part, Field)]
        looked = [path for part in self._parts if isinstance(part, Expression) for path in part.looked]
        return [*own, *(path.removeprefix(_DATA) for path in looked if path.startswith(_DATA))]

    def key(self, moment: Moment, context: EventContext) -> str:
        """Return the key. Raises ExpressionError when an expression gives none."""
        values = [self._value(part, moment, context) for part in self._parts]
        if len(values) == 1:
            return plain(values[0])
        return json.dumps(values, ensure_ascii=False, separators=(",", ":"), default=str)

    @staticmethod
    def _value(part: Field | Expression | str, moment: Moment, context: EventContext) -> Any:
        if isinstance(part, Field):
            value = moment.value(part)
            return value.isoformat() if hasattr(value, "isoformat") else value
        if isinstance(part, Expression):
            return context.evaluate(part, rule="", key="")  # it knows the event alone
        return moment.event.source_name if part == "source" else moment.event.subject


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One compiled rule."""

    id: str
    version: str
    order: int
    """Place among all rules: by priority, then as written."""
    steps: tuple[Step, ...]
    pattern: Pattern = field(default_factory=OneEvent)
    during: Schedule | None = None
    condition: Expression | None = None
    mode: Modes | None = None
    cooldown: timedelta | None = None
    quiet_for: timedelta | None = None
    limit: Limit | None = None
    concurrency: Concurrency = "parallel"
    max_age: timedelta | None = None
    max_lateness: timedelta | None = None
    """For a rule of the clock that may move something: at most so long after its time."""
    priority: int = 0
    shadow: bool = False
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Trigger:
    """Which events concern a rule, in one role. None for kind, sources or channels: any.

    Sources are `<site>/<source>`. `per` is what the rule tells these events apart by.
    """

    rule: Rule
    kind: str | None
    sources: frozenset[str] | None
    channels: frozenset[str] | None
    tests: tuple[Test, ...]
    resync: bool = False
    role: str = "event"
    per: KeyMaker | None = None

    def place_differs(self, event: VmsEvent) -> tuple[str, str, str | None] | None:
        """Return what of kind, source and channel does not fit, what is wanted and what was seen; None if all fit."""
        if self.kind is not None and event.type != self.kind:
            return "when.kind", self.kind, event.type
        if self.sources is not None and event.source not in self.sources:
            return "when.source", " or ".join(sorted(self.sources)), event.source
        if self.channels is not None and event.subject not in self.channels:
            return "when.channel", " or ".join(sorted(self.channels)), event.subject
        return None
