"""What stands between an event that matches and a firing; each names itself when it does not let through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from pydantic import JsonValue

from bridge.sdk import BRIDGE, MODE, Origin, VmsEvent, format_duration
from rules.conditions import Test
from rules.expressions import EventContext, ExpressionError, UnfitError
from rules.loops import LOOP, MOST_HOPS, looped
from rules.moment import Moment
from rules.resting import crowded, resting
from rules.rule import Rule, Trigger
from rules.trace import Trace

OWN_DOING = frozenset({"action.ended", "clip.ready", "clip.failed", "rule.loop", "rule.refused"})
"""Kinds that name the rule behind them. That rule itself never fires from them: it would feed itself for ever."""


FULL = "waiting"
"""The condition that does not hold when what waits has no room to be written down."""


class _Unfit(str):
    """What CEL says of a value that does not fit; mostly there is none, which is said in fewer words."""

    __slots__ = ()


class Unmet(NamedTuple):
    """The first condition that did not hold, what it wanted and what it saw."""

    condition: str
    wanted: str
    seen: Any
    key: str | None = None
    looked: Callable[[], Mapping[str, JsonValue]] | None = None
    """Finds the values that an expression looked at; asked only when somebody is told."""

    def trace(self, rule: Rule, moment: Moment) -> Trace:
        """Return it as a trace."""
        looked = (self.looked() or None) if self.looked is not None else None
        seen = self.seen
        if isinstance(seen, _Unfit):
            seen = "a value is absent" if looked and None in looked.values() else str(seen)
        where = (self.key, self.condition, self.wanted, seen)
        named = (rule.id, rule.version, "unmet", moment.seq, moment.event.id, moment.stamp)
        return Trace._make((*named, *where, (), (), (), rule.shadow, (), looked))


AROUND = ("max_age", "during", "mode", "cooldown", "quiet_for", "limit", "concurrency", "if")
"""What stands around a pattern, in the order in which `gate` asks."""

_new = tuple.__new__


def unmet_test(rule: Rule, test: Test, moment: Moment) -> Trace:
    """Return the trace of a rule whose `match` does not hold. Thousands of them are made a second."""
    told = (rule.id, rule.version, "unmet", moment.seq, moment.event.id, moment.stamp, None)
    return _new(Trace, (*told, test.name, test.wanted, moment.value(test.field), (), (), (), rule.shadow, (), None))


def failed_test(test: Test, moment: Moment) -> Unmet:
    """Return a `match` test that did not hold."""
    return Unmet(test.name, test.wanted, moment.value(test.field))


def is_special(event: VmsEvent) -> bool:
    """Tell whether a rule may have to pass over an event for what it is: then `origin_unmet` must be asked."""
    return event.origin is Origin.RESYNC or event.type in OWN_DOING


def origin_unmet(trigger: Trigger, event: VmsEvent) -> Unmet | None:
    """Return why an event is none for this rule although its kind and place fit."""
    if event.origin is Origin.RESYNC and not trigger.resync:
        return Unmet("when.include", "a live edge, or include: resync", "resync")
    if event.type in OWN_DOING and getattr(event.data, "rule", None) == trigger.rule.id:
        return Unmet("when", "something the rule has not caused itself", trigger.rule.id)
    return None


def passed_over(trigger: Trigger, event: VmsEvent) -> bool:
    """Tell whether an event is none that a step waits for although its kind and place fit."""
    return looped(event) or (event.origin is Origin.RESYNC and not trigger.resync)


def loop_unmet(event: VmsEvent) -> Unmet | None:
    """Return why nothing fires from an event that rules led each other to."""
    if not looped(event):
        return None
    return Unmet(LOOP, f"at most {MOST_HOPS} firings, one leading to the next", event.hops)


def gate(
    rule: Rule, key: str, value: Mapping[str, Any] | None, moment: Moment, context: EventContext, *, busy: bool
) -> Unmet | None:
    """Return the first condition around the pattern that does not hold; the costly one is asked last.

    `value` is what is remembered of the rule and key; `busy`: steps of an earlier firing of them wait.
    """
    if rule.max_age is not None and moment.age > rule.max_age:
        return Unmet("max_age", f"at most {format_duration(rule.max_age)}", format_duration(moment.age), key)
    if rule.during is not None and not moment.is_open(rule.during):
        holiday = ", a holiday" if moment.clock.date() in (moment.place.holidays or ()) else ""
        return Unmet("during", str(rule.during), moment.clock.isoformat(sep=" ", timespec="seconds") + holiday, key)
    if rule.mode is not None and not rule.mode.hold(mode := context.known(BRIDGE, MODE)):
        return Unmet("mode", str(rule.mode), mode, key)
    rests = resting(rule, value, moment.stamp, moment.place.zone) if value else None
    held = rests or (crowded(rule) if busy else None)
    if held is not None:
        return Unmet(*held, key)
    if rule.condition is None:
        return None
    try:
        answer = context.evaluate(rule.condition, rule=rule.id, key=key)
    except UnfitError as error:
        answer = _Unfit(error)
    except ExpressionError as error:
        answer = str(error)
    if answer is True:
        return None
    looked = partial(context.looked, rule.condition, rule=rule.id, key=key)
    return Unmet("if", rule.condition.text, answer, key, looked)
