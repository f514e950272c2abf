"""The engine carries patterns over time: memory, timers, firings. The pattern here is a test's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bridge.sdk import VmsEvent
from rules.moment import Moment
from rules.patterns import Fire, Memory, Now, Reaction
from rules.rule import Trigger
from rules.ruleset import RuleSet
from tests.rules.support import START, Run, event, rules_of

TEXT = """
rules:
  - id: on
    when: {kind: motion.started}
    per: channel
    cooldown: 1m
    then: [{clip: {as: c}}, {webhook: {to: x, with: c}}]
"""


@dataclass(frozen=True)
class Held:
    """It began and has not ended for so long."""

    span: timedelta

    def seen(self, roles: tuple[str, ...], moment: Moment, memory: Memory) -> Reaction:
        if "end" in roles:
            return Reaction(unmet="it ended")
        if memory:
            return Reaction(memory, {"held": datetime.fromisoformat(memory["due"])}, unmet="it goes on")
        due = moment.stamp + self.span
        began = {"event": moment.event.model_dump(mode="json"), "due": due.isoformat()}
        return Reaction(began, {"held": due}, unmet="it began")

    def due(self, timer: str, at: datetime, memory: Memory, now: Now) -> Reaction:
        trigger = VmsEvent.model_validate(memory["event"])
        return Reaction(fire=Fire((trigger.id,), trigger))


def _held() -> RuleSet:
    """A rule `for: 30s`, put together by hand."""
    rules = rules_of(TEXT)
    rule = replace(rules.rules[0], pattern=Held(timedelta(seconds=30)))
    begins = replace(rules.triggers[0], rule=rule, role="begin")
    ends = Trigger(rule, "motion.ended", None, None, (), role="end", per=begins.per)
    return replace(rules, rules=(rule,), triggers=(begins, ends))


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_a_pattern_fires_from_its_timer_with_the_event_that_began_it() -> None:
    """Not before it is due; the order names the cause."""
    run = Run(_held())
    began = event("motion.started")
    decision = run.feed(began)
    assert not decision.orders
    assert [(trace.condition, trace.seen) for trace in decision.traces] == [("when", "it began")]
    assert run.engine.next_due == _at(30)
    run.crash()
    assert not run.tick(_at(29)).orders
    [order] = run.tick(_at(30)).orders
    assert (order.trigger, order.created, order.key) == (began, _at(30), "1")


def test_what_ends_in_time_does_not_fire() -> None:
    """Memory and timer are gone with it."""
    run = Run(_held())
    run.feed(event("motion.started"))
    run.feed(event("motion.ended", time=_at(10)))
    assert run.engine.next_due is None
    assert {key.rule for key in run.state} == {"$state"}
    assert not run.tick(_at(40)).orders


def test_keys_have_memories_of_their_own() -> None:
    """One channel's end is not another's."""
    run = Run(_held())
    run.feed(event("motion.started", channel="1"))
    run.feed(event("motion.started", channel="2"))
    run.feed(event("motion.ended", channel="1", time=_at(1)))
    assert [order.key for order in run.tick(_at(30)).orders] == ["2"]


def test_a_cooldown_and_waiting_steps_live_beside_a_patterns_memory() -> None:
    """Firing again within the cooldown is held back, and the step that waits keeps its own deadline."""
    run = Run(_held())
    run.feed(event("motion.started"))
    assert len(run.tick(_at(30)).orders) == 1
    assert run.engine.next_due == _at(330)
    run.feed(event("motion.started", time=_at(31)))
    assert run.engine.next_due == _at(61)
    [trace] = run.tick(_at(61)).traces
    assert trace.condition == "cooldown"
    run.crash()
    assert [order.action for order in run.tick(_at(330)).orders] == ["webhook"]
    assert {key.rule for key in run.state} == {"$state"}


def test_a_timer_that_is_set_again_and_again_leaves_no_trail() -> None:
    """Cancelled timers do not pile up."""
    run = Run(_held())
    for number in range(2000):
        run.feed(event("motion.started", time=_at(number)))
        run.feed(event("motion.ended", time=_at(number)))
    assert len(run.engine._book._timers) < 200
