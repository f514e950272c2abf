"""Steps that always come too late: what moves something is not done for an event that is old by then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from bridge.sdk import MAX_AGE, ActionClass, format_duration
from rules.model import RulePart
from rules.report import Spot
from rules.steps import Act, Pause, Step


def too_late(steps: Sequence[Step], rule: RulePart, spot: Spot) -> None:
    """Report the actions that can never be done in time."""
    over: dict[int, timedelta] = {}
    for step in steps:
        begun = max((over.get(index, timedelta()) for index in step.after), default=timedelta())
        certain = isinstance(step.does, Pause) and step.holds and step.condition is None
        over[step.index] = begun + step.wait if certain else begun
        limit = _limit(step.does, rule) if isinstance(step.does, Act) else None
        if limit is not None and begun > limit:
            late, old = format_duration(begun), format_duration(limit)
            spot.below(step.path).problem(
                f"`{step.does.word}` comes {late} after the event at the earliest, and is not done for one older "
                f"than {old}; let `when` wait instead: `for`, or `absent` and `after`"
            )


def _limit(act: Act, rule: RulePart) -> timedelta | None:
    """Return how old the event may be; None if it does not matter, or is not known before an event comes."""
    found = act.action_class
    if found is ActionClass.RELEASING or (act.fixed_class is None and act.spec.classify is not None):
        return None
    limit = act.spec.max_age if act.spec.max_age is not None else MAX_AGE.get(found)
    if found is ActionClass.ACTUATING and rule.when.max_lateness is not None:
        limit = rule.when.max_lateness  # of the clock: late, not old
    own = rule.max_age if found is not ActionClass.INFORMATION else None
    return min((one for one in (limit, own) if one is not None), default=None)
