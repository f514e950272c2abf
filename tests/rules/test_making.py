"""From a step to its order: every member of it, until when it may be done, and how large it may be."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from bridge.sdk import (
    ActionClass,
    ActionParams,
    ActionSpec,
    Known,
    Order,
    Origin,
    StepResult,
    Text,
    VmsEvent,
    stable_id,
)
from rules import making
from rules.compiler import compile_rules
from rules.ruleset import Documents, SiteSettings
from tests.rules.support import ACTIONS, START, Run, ended, event, rules_of


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def _run(then: str, *, when: str = "{kind: custom.x}", more: str = "") -> Run:
    return Run(rules_of(f"rules:\n  - id: r\n    when: {when}\n    {more}\n    then: {then}\n"))


def _x(**data: Any) -> VmsEvent:
    return event("custom.x", data, event_id="x")


def test_an_order_is_made_of_its_firing_and_its_step() -> None:
    """Member by member: what was waited for makes nothing older, what steps wait for does."""
    run = _run(
        "[{clip: {as: c}}, {webhook: {to: x, as: w, with: c, body: '{{ steps.c.frames }} {{ key }} {{ rule }}'}}]",
        when="{kind: custom.x, for: 5s, until: {kind: custom.y}}",
        more="per: who\n    priority: 7",
    )
    begun = _x(who="ann").model_copy(update={"hops": 2, "origin": Origin.BACKFILL, "received": _at(1)})
    run.feed(begun)
    [clip] = run.tick(_at(6)).orders
    [order] = run.feed(ended(clip, time=_at(8), frames=3)).orders
    version = run.rules.rules[0].version
    assert order == Order(
        id=stable_id("r", version, "ann", "x", 1),
        rule="r",
        rule_version=version,
        key="ann",
        index=1,
        step="w",
        action="webhook",
        action_class=ActionClass.INFORMATION,
        params={"to": "x", "with": ["c"], "body": "3 ann r"},
        causes=("x",),
        trigger=begun,
        origin=Origin.BACKFILL,
        hops=3,
        occurred=_at(5),
        received=_at(6),
        created=_at(8),
        priority=7,
        steps={"c": StepResult(outcome="done", output={"frames": 3})},
    )
    assert (clip.step, clip.steps, clip.index) == ("c", {}, 0)


@pytest.mark.parametrize(
    ("step", "max_age", "seconds"),
    [
        ("open: gate", None, 10),
        ("open: gate", "4s", 4),
        ("open: gate", "20s", 10),
        ("relay: lamp", None, None),
        ("relay: lamp", "4s", 4),
        ("relay: {output: lamp, state: 'off'}", "4s", None),
        ("mqtt: {topic: t}", "4s", None),
    ],
)
@pytest.mark.parametrize("received", [-1, 1])
def test_until_when_an_order_may_be_done(step: str, max_age: str | None, seconds: int | None, received: int) -> None:
    """Counted from the cause or its receipt, whichever is older, by the stricter of action and rule."""
    run = _run(f"[{{{step}}}]", more=f"max_age: {max_age}" if max_age else "")
    [order] = run.feed(_x().model_copy(update={"received": _at(received)}), at=_at(2)).orders
    assert order.expires == (None if seconds is None else _at(min(0, received) + seconds))


def test_what_the_pattern_waits_for_makes_nothing_older() -> None:
    """It counts from the end of that."""
    run = _run("[{open: gate}]", when="{kind: custom.x, for: 5s, until: {kind: custom.y}}")
    run.feed(_x())
    [order] = run.tick(_at(7)).orders
    assert (order.created, order.expires) == (_at(7), _at(5 + 10))


def test_an_order_of_the_clock_says_how_late_it_may_be() -> None:
    """As its rule says; one of an event says nothing of it."""
    clock = _run("[{open: gate}]", when="{every: '* * * * *', max_lateness: 30s}")
    clock.tick(_at(0))
    [late] = clock.tick(_at(60)).orders
    [other] = _run("[{open: gate}]").feed(_x()).orders
    assert (late.max_lateness, other.max_lateness) == (timedelta(seconds=30), None)


class _Horn(ActionParams):
    state: Text


def _horn_class(params: _Horn) -> ActionClass:
    return ActionClass.RELEASING if params.state == "off" else ActionClass.ACTUATING


HORN: ActionSpec[Any] = ActionSpec(
    name="horn",
    summary="",
    params=_Horn,
    action_class=ActionClass.ACTUATING,
    run=ACTIONS["open"].run,
    example="",
    classify=_horn_class,
    max_age=timedelta(seconds=10),
)


@pytest.mark.parametrize(("state", "action_class"), [("on", ActionClass.ACTUATING), ("off", ActionClass.RELEASING)])
def test_how_an_action_may_fail_follows_from_what_its_texts_come_to(state: str, action_class: ActionClass) -> None:
    """Known only with the event, so a rule that may release is not told that it comes too late."""
    text = "rules: [{id: r, when: {kind: custom.x}, then: [{wait: 11s}, {horn: {state: '{{ event.data.state }}'}}]}]"
    run = Run(compile_rules(Documents({"r.yaml": text}), {**ACTIONS, "horn": HORN}, Known(), SiteSettings()))
    run.feed(_x(state=state))
    [order] = run.tick(_at(11)).orders
    assert (order.action_class, order.params) == (action_class, {"state": state})
    assert order.expires == (_at(10) if state == "on" else None)


@pytest.mark.parametrize(("less", "raw"), [(0, "yyy"), (1, None)])
def test_an_order_may_fill_a_message_to_the_byte(less: int, raw: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one byte more the original message of its event is left out."""
    one = _x().model_copy(update={"raw": "yyy"})
    [whole] = _run("[{clip: {}}]").feed(one).orders
    monkeypatch.setattr(making, "LARGEST", len(whole.encode()) - less)
    [order] = _run("[{clip: {}}]").feed(one).orders
    assert order.trigger.raw == raw


@pytest.mark.parametrize("less", [0, 1])
def test_an_order_that_does_not_fit_even_so_is_none(less: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trace says how large it would have been."""
    [whole] = _run("[{clip: {}}]").feed(_x()).orders
    size = len(whole.encode())
    monkeypatch.setattr(making, "LARGEST", size - less)
    [trace] = _run("[{clip: {}}]").feed(_x().model_copy(update={"raw": "yyy"})).traces
    why = f"then[0] clip: the order would have {size} bytes, and the bus takes {size - 1}"
    assert trace.failed == ((why,) if less else ())
