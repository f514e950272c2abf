"""Steps that are never done: too late for what moves something, of the clock without its bound, or of no live cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from bridge.sdk import BRIDGE, MAX_AGE, ActionClass, Known, format_duration, kinds
from rules.model import RulePart
from rules.report import Spot
from rules.steps import Act, Pause, Step, validated

if TYPE_CHECKING:
    from rules.reader import Draft

_CLOCK = ("every", "at", "silent")
"""Ways to say when that no event stands behind."""


def never_done(
    steps: Sequence[Step], rule: RulePart, own: str | None, known: Known, spot: Spot, answers: Mapping[int, str | None]
) -> None:
    """Report the actions that can never be done: too late by then, or from a cause that moves nothing.

    `own` is a kind that the bridge tells of itself, without which the rule never fires; `answers` are the kinds that
    steps wait for, by step.
    """
    clock = next((word for word in _CLOCK if getattr(rule.when, word) is not None), None)
    over: dict[int, timedelta] = {}
    for step in steps:
        begun = max((over[index] for index in step.after), default=timedelta())
        certain = isinstance(step.does, Pause) and step.holds and step.condition is None
        over[step.index] = begun + step.wait if certain else begun
        if not isinstance(step.does, Act) or _may_release(step.does):
            continue
        here = spot.below(step.path)
        if clock is not None and step.does.action_class is ActionClass.ACTUATING and rule.when.max_lateness is None:
            here.pointless(f"`{step.does.word}` is never done from {_by_clock(clock)}")
            continue
        if own is not None and step.does.action_class is ActionClass.ACTUATING:
            here.pointless(
                f"`{step.does.word}` is never done from {own}: the bridge tells it of itself, perhaps long after its "
                "cause, and only what a source says live or a person asks for moves something"
            )
            continue
        if (told := _answered(step, steps, answers)) and step.does.action_class is ActionClass.ACTUATING:
            here.warning(
                f"`{step.does.word}` is not done once {told} answered the `wait_for` before it: the bridge tells that "
                "of itself, and only what a source says live or a person asks for moves something; open first, or in a "
                "rule of its own"
            )
        limit = _limit(step.does, rule, known)
        if limit is not None and begun > limit:
            late, old = format_duration(begun), format_duration(limit)
            here.pointless(
                f"`{step.does.word}` comes {late} after the event at the earliest, and is not done for one older "
                f"than {old}{_unsaid(limit, known)}; let `when` wait instead: `for`, or `absent` and `after`"
            )


def of_own_making(drafts: Sequence[Draft], site: str) -> None:
    """Warn of what moves something from a kind that rules themselves emit: such an event is the bridge's own."""
    emits = {
        str(step.does.params.raw.get("kind")): draft.id
        for draft in drafts
        for step in draft.steps
        if isinstance(step.does, Act) and step.does.spec.name == "emit"
    }
    for draft in drafts:
        deciding = [one for one in draft.waiting.decides if one.sources is None or f"{site}/{BRIDGE}" in one.sources]
        made = [one.kind for one in deciding if one.kind is not None and one.kind in emits]
        if not made or len(made) < len(draft.waiting.decides):
            continue
        for step in draft.steps:
            if (
                isinstance(act := step.does, Act)
                and act.action_class is ActionClass.ACTUATING
                and not _may_release(act)
            ):
                draft.spot.below(step.path).warning(
                    f"`{act.word}` is not done from {made[0]} as rule {emits[made[0]]} emits it: that is told by "
                    "the bridge itself, and only what a source says live or a person asks for moves something; let the "
                    "rule that emits it do this, or fire from what that fires from"
                )


def _answered(step: Step, steps: Sequence[Step], answers: Mapping[int, str | None]) -> str | None:
    """Return a kind of the bridge's own that a step before this one waits for, if no condition chooses between."""
    before, ways = set(step.after), [step]
    for one in reversed(steps[: step.index]):
        if one.index in before:
            before |= one.after
            ways.append(one)
    if step.handler is not None or any(one.condition is not None for one in ways):
        return None  # it may be meant for when nothing came in time
    return next((kind for one in ways if (kind := answers.get(one.index)) in kinds.OWN), None)


def _unsaid(limit: timedelta, known: Known) -> str:
    """Return where a door's bound comes from when no site is there to be asked."""
    return " (a door that says nothing else; `--config` asks the site's)" if limit == known.door_age else ""


def _may_release(act: Act) -> bool:
    """What returns something to idle is never too late; and it may be that, as long as its parameters are open."""
    return act.action_class is ActionClass.RELEASING or (act.fixed_class is None and act.spec.classify is not None)


def _by_clock(word: str) -> str:
    if word == "silent":
        return "`silent`: that nothing was heard is no reason to move something"
    return f"`{word}` alone: say with `max_lateness` in `when` how late it may still be, like `max_lateness: 30s`"


def _limit(act: Act, rule: RulePart, known: Known) -> timedelta | None:
    """Return how old the event may be; None if it does not matter, or is not known before an event comes."""
    found = act.action_class
    limit = act.spec.max_age if act.spec.max_age is not None else MAX_AGE.get(found)
    if found is ActionClass.ACTUATING and rule.when.max_lateness is not None:
        limit = rule.when.max_lateness  # of the clock: late, not old
    here = act.spec.age_here(validated(act.spec, act.fixed), known) if act.fixed is not None else None
    own = rule.max_age if found is not ActionClass.INFORMATION else None
    return min((one for one in (limit, here, own) if one is not None), default=None)
