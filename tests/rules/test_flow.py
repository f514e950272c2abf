"""What `then` can say over time: pauses, events waited for, branches, blocks, failures, stops."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from textwrap import indent

import jsonschema
import pytest

from bridge.sdk import Known, Order, Origin, StateKey, kinds
from rules.compiler import compile_rules
from rules.firing import MOST_TOLD
from rules.flow import WORDS
from rules.jsonschema import rule_schema
from rules.ruleset import Documents, RuleSet, SiteSettings
from rules.stepreader import RESERVED
from rules.trial import run_trials
from rules.waiting import place_of
from rules.whenmodel import WaitFor
from tests.rules.support import ACTIONS, START, Run, ended, event, plate, problems_of, rules_of

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guide" / "rules.md").read_text(encoding="utf-8")


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def _run(then: str, *, rule: str = "", on_error: str = "") -> Run:
    """Return a run of one rule about plates with these steps, that crashes after every event."""
    text = "rules:\n  - id: r\n    when: {kind: plate.read}\n" + indent(rule, "    ")
    text += "    then:\n" + indent(then.strip("\n"), "      ") + "\n"
    if on_error:
        text += "    on_error:\n" + indent(on_error.strip("\n"), "      ") + "\n"
    return _Fragile(rules_of(text))


class _Fragile(Run):
    """Loses everything but what was committed before each event."""

    def feed(self, one, **more):  # type: ignore[no-untyped-def]
        self.crash()
        return super().feed(one, **more)


def _words(orders: list[Order] | tuple[Order, ...]) -> list[str]:
    return [str(order.params.get("to") or order.params.get("topic") or order.action) for order in orders]


def _all(run: Run) -> list[str]:
    return [word for decision in run.decisions for word in _words(tuple(decision.orders))]


# --- time -----------------------------------------------------------------------------------------------


def test_what_is_below_a_pause_waits() -> None:
    """It goes at its time, by the log's clock, and never earlier; what is above went at once."""
    run = _run("- webhook: a\n- wait: 5s\n- webhook: b\n- wait: 1m\n- webhook: c")
    assert _words(run.feed(plate()).orders) == ["a"]
    assert run.engine.next_due == _at(5)
    assert not run.tick(_at(4.999)).orders
    [second] = run.tick(_at(5)).orders
    assert (second.params["to"], second.created) == ("b", _at(5))
    assert _words(run.tick(_at(70)).orders) == ["c"]
    assert run.state == {}


def test_waiting_makes_things_older() -> None:
    """What a door is asked after a pause is as old as the plate that was read, and too late for it is too late."""
    then = "- wait_for: {kind: call.ended, within: 30s}\n- open: gate\n- relay: {output: lamp, state: 'off'}"
    run = _run(then)
    run.feed(plate())
    late, off = run.tick(_at(30)).orders
    assert (late.occurred, late.received, late.created) == (START, START, _at(30))
    assert late.expires == _at(10)
    assert off.expires is None


@pytest.mark.parametrize(
    ("then", "late"),
    [
        ("[{wait: 10s}, {relay: siren}]", False),
        ("[{wait: 6s}, {wait: 5s}, {relay: siren}]", True),
        ("[{wait: 11s}, {relay: {output: siren, state: 'off'}}]", False),
        ("[{wait: 11s}, {ptz: home}, {webhook: x}]", False),
        ("[{wait: 31s}, {ptz: home}]", True),
        ("[{wait: 11s, if: 'true'}, {relay: siren}]", False),
        ("[{wait_for: {kind: call.ended, within: 1m}}, {relay: siren}]", False),
        ("[{parallel: [{wait: 11s}, {relay: siren}]}]", False),
        ("[{parallel: [{wait: 11s}, {webhook: x}]}, {relay: siren}]", True),
        ("[{webhook: x, on_error: [{wait: 11s}, {do: [{open: gate}]}]}]", True),
    ],
)
def test_what_always_comes_too_late_is_a_mistake(then: str, late: bool) -> None:
    """Nothing is moved for an event that is old by then; so one knows when the rule is written."""
    found = problems_of(f"rules: [{{id: r, when: {{kind: plate.read}}, then: {then}}}]")
    assert [one for one in found if "let `when` wait instead" in one] == found
    assert bool(found) is late


def test_a_rule_of_the_clock_says_itself_how_late_it_may_be() -> None:
    """Its orders are late, not old."""
    text = "rules: [{id: r, when: {at: '07:00', max_lateness: %s}, then: [{wait: 20s}, {relay: siren}]}]"
    assert problems_of(text % "30s") == []
    assert problems_of(text % "15s")


def test_a_door_of_the_site_may_ask_for_a_younger_event() -> None:
    """What is young enough for some door may be too old for this one; without its site nobody can know."""
    text = "rules: [{id: r, when: {kind: plate.read}, then: [{wait: 8s}, {open: main-gate}]}]"
    site = Known(doors=frozenset({"main-gate"}), door_ages={"main-gate": timedelta(seconds=5)})
    [problem] = problems_of(text, known=site)
    assert "`open` comes 8s after the event at the earliest, and is not done for one older than 5s" in problem
    assert problems_of(text) == []
    clock = text.replace("kind: plate.read", "at: '07:00', max_lateness: 30s")
    assert "older than 5s" in problems_of(clock, known=site)[0]


@pytest.mark.parametrize(
    ("when", "then", "said"),
    [
        ("{at: '10:00'}", "{open: gate}", "`open` is never done from `at` alone: say with `max_lateness` in `when`"),
        ("{every: '0 6 * * *'}", "{relay: siren}", "`relay` is never done from `every` alone"),
        ("{silent: nvr1, for: 5m}", "{open: gate}", "`open` is never done from `silent`: that nothing was heard is no"),
        ("{at: '10:00'}", "{relay: {output: siren, state: 'off'}}", None),
        ("{at: '10:00', max_lateness: 30s}", "{open: gate}", None),
        ("{at: '10:00'}", "{ptz: home}", None),
        ("{silent: nvr1, for: 5m}", "{webhook: x}", None),
    ],
)
def test_the_clock_alone_moves_nothing(when: str, then: str, said: str | None) -> None:
    """Nobody stands there: so a rule of the clock says how late it may be, or it is told when it is written."""
    found = problems_of(f"rules: [{{id: r, when: {when}, then: [{then}]}}]")
    assert [said in problem for problem in found if said is not None] == ([True] if said is not None else [])
    assert bool(found) is (said is not None)


def test_what_decided_before_is_read_again() -> None:
    """A rule of which a newer version sees that it moves nothing did decide: that can still be repeated."""
    documents = Documents({"r.yaml": "rules: [{id: r, when: {at: '10:00'}, then: [{open: gate}]}]"}, accepted=True)
    rules = compile_rules(documents, ACTIONS, Known(), SiteSettings())
    again = RuleSet.from_bundle(rules.bundle(), ACTIONS)
    assert again.hash == rules.hash
    assert ["never done" in str(warning) for warning in again.warnings] == [True]


def test_a_pause_can_end_with_another_step() -> None:
    """With `with`, a step of its own holds up what is below until the others have ended, or to its deadline."""
    run = _run("- clip: {as: c}\n- {with: c, wait: 20s}\n- webhook: b")
    [clip] = run.feed(plate()).orders
    assert _words(run.feed(ended(clip, time=_at(3))).orders) == ["b"]
    late = _run("- clip: {as: c}\n- {with: c, wait: 20s}\n- webhook: b")
    late.feed(plate())
    assert _words(late.tick(_at(20)).orders) == ["b"]


def test_steps_that_wait_for_others_hold_up_nobody() -> None:
    """As ever: an action that waits for another one is put aside, and those below it go."""
    run = _run("- clip: {as: c}\n- webhook: {to: a, with: c}\n- webhook: b\n- wait: 1s\n- webhook: d")
    [clip, _] = run.feed(plate()).orders
    assert _words(run.tick(_at(1)).orders) == ["d"]
    assert _words(run.feed(ended(clip, time=_at(2))).orders) == ["a"]


# --- events ---------------------------------------------------------------------------------------------

CALL = """
rules:
  - id: call
    when: {kind: call.started}
    per: caller
    then:
      - webhook: desk
      - wait_for: {kind: call.ended, within: 60s, as: answer}
      - stop: {if: steps.answer.outcome == "done"}
      - webhook: {to: chief, body: {was: "{{ steps.answer.outcome }}"}}
      - wait_for: {kind: custom.ack, per: [], within: 60s, as: ack}
      - mqtt: {topic: end, payload: {by: "{{ steps.ack.event.data.who }}", out: "{{ steps.ack.outcome }}"}}
"""


def _call(kind: str, caller: str, seconds: float, **more: object):  # type: ignore[no-untyped-def]
    return event(kind, {"caller": caller}, time=_at(seconds), **more)  # type: ignore[arg-type]


def test_an_event_of_the_same_key_lets_a_step_go() -> None:
    """What belongs to another key does not; the firing then knows that it was answered."""
    run = _Fragile(rules_of(CALL))
    assert _words(run.feed(_call("call.started", "A", 0)).orders) == ["desk"]
    run.feed(_call("call.started", "B", 1))
    assert not run.feed(_call("call.ended", "A", 30)).orders
    assert [place_of(key) for key in run.state if key.rule == "$firing/call"] == [StateKey("call", "B")]
    assert _words(run.tick(_at(61)).orders) == ["chief"]


def test_at_its_deadline_a_step_knows_that_nothing_came() -> None:
    """Its outcome is `timeout`, what it would have given is null."""
    run = _Fragile(rules_of(CALL))
    run.feed(_call("call.started", "A", 0))
    [chief] = run.tick(_at(60)).orders
    assert chief.params["body"] == {"was": "timeout"}
    [end] = run.tick(_at(120)).orders
    assert end.params["payload"] == {"by": None, "out": "timeout"}
    assert {key.rule for key in run.state} == {"$state"}


def test_the_event_that_came_is_a_result_and_a_cause() -> None:
    """Later steps see it; their orders name it among their causes, are as old as the call, and trusted no more."""
    run = _Fragile(rules_of(CALL))
    run.feed(_call("call.started", "A", 0))
    run.tick(_at(60))
    ack = event("custom.ack", {"who": "ann"}, time=_at(90), channel=None, origin=Origin.BACKFILL)
    answered = run.feed(ack)
    [end] = answered.orders
    assert answered.traces[0].taken == ("then[4] wait_for",)
    assert end.params["payload"] == {"by": "ann", "out": "done"}
    assert end.causes == (ack.id, end.trigger.id)
    assert (end.occurred, end.origin, end.hops) == (START, Origin.BACKFILL, 1)


@pytest.mark.parametrize(
    ("late", "answers"),
    [
        (_call("call.ended", "A", -1), False),
        (_call("call.ended", "A", -1, source="nvr2"), True),
        (_call("call.ended", "A", -11, source="nvr2"), False),
        (_call("call.ended", "A", 5, origin=Origin.RESYNC), False),
        (_call("call.ended", "A", 5, origin=Origin.REPLAY), False),
        (_call("call.ended", "A", 5), True),
    ],
    ids=["before", "another clock", "long before", "a snapshot", "replayed", "after"],
)
def test_an_answer_comes_after_what_it_answers(late: object, answers: bool) -> None:
    """One that happened before is none, however late it comes; nor is one that is not true now."""
    run = _Fragile(rules_of(CALL))
    run.feed(_call("call.started", "A", 0))
    run.feed(late, at=_at(6))  # type: ignore[arg-type]
    assert (not [key for key in run.state if key.rule == "$firing/call"]) is answers


def test_an_event_counts_from_when_the_step_is_reached() -> None:
    """Not before, and the event that fired the rule never."""
    run = _run("- wait: 5s\n- wait_for: {kind: plate.read, within: 1m, match: {score: {at_least: 90}}}\n- webhook: b")
    run.feed(plate("A"))
    run.feed(plate("B", time=_at(3)))
    assert _all(run) == []
    run.tick(_at(8))
    run.feed(plate("C", time=_at(9), score=50))
    assert _all(run) == []
    run.feed(plate("D", time=_at(10)))
    assert _all(run) == ["b", "b"]


def test_what_lasts_is_answered_from_the_same_place() -> None:
    """Where `when` goes by source and channel without being told, so does a `wait_for`."""
    text = """
    rules:
      - id: r
        when: {kind: motion.started, for: 5s}
        then: [{wait_for: {kind: motion.ended, within: 1m}}, {webhook: b}]
    """
    run = _Fragile(rules_of(text))
    run.feed(event("motion.started"))
    run.tick(_at(5))
    run.feed(event("motion.ended", time=_at(6), channel="2"))
    run.feed(event("motion.ended", time=_at(7), source="nvr2"))
    assert _all(run) == []
    assert _words(run.feed(event("motion.ended", time=_at(8))).orders) == ["b"]


def test_two_firings_of_one_key_hear_the_same_event() -> None:
    """Each goes on with it."""
    run = _Fragile(rules_of(CALL.replace("stop: {if: steps.answer.outcome", "stop: {if: steps.answer.event.id")))
    run.feed(_call("call.started", "A", 0))
    run.feed(_call("call.started", "A", 1))
    assert _words(run.feed(_call("call.ended", "A", 2)).orders) == ["chief", "chief"]


# --- branches and blocks --------------------------------------------------------------------------------


def test_branches_do_not_wait_for_each_other_and_what_is_below_waits_for_all() -> None:
    """Each branch is in order by itself."""
    run = _run(
        """
- parallel:
    - webhook: a
    - - wait: 10s
      - webhook: b
      - wait: 10s
    - - wait: 5s
      - webhook: c
- webhook: d
"""
    )
    run.feed(plate())
    assert _all(run) == ["a"]
    run.tick(_at(5))
    run.tick(_at(10))
    assert _all(run) == ["a", "c", "b"]
    run.tick(_at(20))
    assert _all(run) == ["a", "c", "b", "d"]


def test_a_block_is_done_or_left_out_as_one() -> None:
    """With an `if` of its own, asked once, when it is reached; nobody waits for what is left out."""
    then = """
- if: event.data.score > {bound}
  do:
    - webhook: a
    - wait: 5s
    - webhook: {{to: b, as: b}}
- webhook: {{to: c}}
- mqtt: {{topic: d, with: b, wait: 1h}}
"""
    yes, no = _run(then.format(bound=90.0)), _run(then.format(bound=99.0))
    begun = yes.feed(plate())
    assert (_words(begun.orders), begun.traces[0].taken) == (["a"], ("then[0] do",))
    [b, c] = yes.tick(_at(5)).orders
    assert _words((b, c)) == ["b", "c"]
    assert _words(yes.feed(ended(b, time=_at(6))).orders) == ["d"]
    left_out = no.feed(plate())
    assert _words(left_out.orders) == ["c", "d"]
    assert left_out.traces[0].skipped == ("then[0] do: `if` did not hold",)
    assert no.state == {}


def test_a_block_can_wait_for_another_step() -> None:
    """It is held up as a whole, and so is what is below."""
    run = _run("- clip: {as: c}\n- with: c\n  wait: 9s\n  parallel: [{webhook: a}, {webhook: b}]\n- webhook: d")
    [clip] = run.feed(plate()).orders
    assert _words(run.feed(ended(clip, time=_at(3))).orders) == ["a", "b", "d"]


def test_stop_reaches_nothing_more() -> None:
    """Also not in other branches; an action above it that waits for another one still goes."""
    then = """
- clip: {as: c}
- webhook: {to: told, with: c}
- parallel:
    - [{wait: 10s}, {webhook: never}]
    - [{wait: 5s}, {stop: {if: event.data.score > 90.0}}, {webhook: never}]
- webhook: never
"""
    run = _run(then)
    [clip] = run.feed(plate()).orders
    run.tick(_at(5))
    assert run.engine.next_due == _at(300)
    assert _words(run.feed(ended(clip, time=_at(20))).orders) == ["told"]
    assert run.state == {}


def test_what_stop_leaves_is_both_those_that_wait_and_who_looks_after_them() -> None:
    """An action that waits for an order goes after it, though an `on_error` looks after that order as well."""
    run = _run("- clip: {as: c}\n  on_error: [{webhook: told}]\n- webhook: {to: late, with: c}\n- stop:")
    [clip] = run.feed(plate()).orders
    assert _words(run.feed(ended(clip, time=_at(1))).orders) == ["late"]
    assert run.state == {}


# --- failures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["refused", "dead", "expired", "unknown"])
def test_a_failed_step_is_answered_by_its_own_steps(outcome: str) -> None:
    """They know which, and why; of an order that is done they hear nothing, and the firing is over."""
    then = """
- webhook: desk
  on_error:
    - mqtt: {topic: "failed/{{ steps.failed.action }}", payload: "{{ steps.failed.outcome }}"}
    - wait: 5s
    - webhook: chief
- clip: {}
"""
    run, well = _run(then), _run(then)
    desk, clip = run.feed(plate()).orders
    [told] = run.feed(ended(desk, outcome, time=_at(1))).orders
    assert told.params == {"topic": "failed/webhook", "payload": outcome}
    assert not run.feed(ended(clip, "dead", time=_at(2))).orders
    assert _words(run.tick(_at(6)).orders) == ["chief"]
    assert run.state == {}
    desk, _ = well.feed(plate()).orders
    assert not well.feed(ended(desk, time=_at(1))).orders
    assert well.state == {}


def test_the_nearest_on_error_is_told_once() -> None:
    """The step's own, else the block's, else the rule's; and what fails in one is told to the next."""
    then = """
- webhook: {to: a, as: a}
  on_error: [{webhook: for-a}]
- do:
    - webhook: b
    - webhook: c
  on_error: [{webhook: for-block}]
- webhook: d
"""
    run = _run(then, on_error='- webhook: {to: for-rule, body: "{{ steps.failed.step }}"}')
    a, b, c, d = run.feed(plate()).orders
    assert _words(run.feed(ended(b, "dead", time=_at(1))).orders) == ["for-block"]
    assert not run.feed(ended(c, "dead", time=_at(2))).orders
    [for_a] = run.feed(ended(a, "dead", time=_at(3))).orders
    assert _words((for_a,)) == ["for-a"]
    assert _words(run.feed(ended(for_a, "dead", time=_at(4))).orders) == ["for-rule"]
    assert not run.feed(ended(d, "dead", time=_at(5))).orders
    assert run.state == {}


def test_an_on_error_knows_which_step_failed_and_why() -> None:
    """Of an order what was told of its end, of a step that could not be made what was wrong; the trace names it."""
    known = "".join(f", steps.failed.{part}" for part in ("step", "action", "reason", "message"))
    told = f"  on_error: [{{mqtt: {{topic: t, payload: '{{{{ [steps.failed.outcome{known}] }}}}'}}}}]"
    run = _run(f"- webhook: {{to: desk, as: call}}\n{told}")
    [desk] = run.feed(plate().model_copy(update={"raw": "{}"})).orders
    assert "raw" not in next(iter(run.state.values()))["event"]
    end = ended(desk, "dead", time=_at(1))
    assert isinstance(end.data, kinds.ActionEnded)
    why = end.data.model_copy(update={"reason": "unreachable", "message": "no route"})
    decision = run.feed(end.model_copy(update={"data": why}))
    assert decision.orders[0].params["payload"] == ["dead", "call", "webhook", "unreachable", "no route"]
    assert decision.traces[0].taken == ("then[0].on_error on_error",)
    run.feed(desk.trigger.model_copy(update={"id": "another"}))
    late = ended(run.decisions[-1].orders[0], "dead", time=_at(2))
    too_long = why.model_copy(update={"order": run.decisions[-1].orders[0].id, "message": "x" * MOST_TOLD})
    assert run.feed(late.model_copy(update={"data": too_long})).orders[0].params["payload"][-1] is None
    refused = _run(f"- ptz: {{preset: '{{{{ 1 / 0 }}}}'}}\n{told}").feed(plate())
    [outcome, step, action, reason, message] = refused.orders[0].params["payload"]
    assert (outcome, step, action, reason) == ("refused", None, "ptz", "unusable")
    assert refused.traces[0].failed == (f"then[0] ptz: {message}",)


def test_a_second_failure_does_not_change_what_was_told_of_the_first() -> None:
    """The steps of an `on_error` that wait still see the failure that let them go."""
    run = _run("- webhook: a\n- clip: {}", on_error='- wait: 5s\n- webhook: {to: b, body: "{{ steps.failed.action }}"}')
    a, clip = run.feed(plate()).orders
    run.feed(ended(a, "dead", time=_at(1)))
    run.feed(ended(clip, "dead", time=_at(2)))
    assert [order.params["body"] for order in run.tick(_at(6)).orders] == ["webhook"]


def test_an_answer_of_the_same_moment_counts() -> None:
    """Also just so much before as the clocks of two sources may differ."""
    for answer in (_call("call.ended", "A", 0), _call("call.ended", "A", -10, source="nvr2")):
        run = _Fragile(rules_of(CALL))
        run.feed(_call("call.started", "A", 0))
        run.feed(answer, at=_at(1))
        assert not [key for key in run.state if key.rule == "$firing/call"]


def test_a_value_that_is_absent_is_a_failure_too() -> None:
    """The step gives no order, and its `on_error` goes at once."""
    run = _run('- ptz: {preset: "{{ 1 / 0 }}"}\n  on_error: [{webhook: "b"}, {stop: }]\n- wait: 1s\n- webhook: c')
    assert _words(run.feed(plate()).orders) == ["b"]
    assert run.state == {}


def test_a_failure_can_stop_the_rest() -> None:
    """`stop` in an `on_error` ends what the rule still waits for."""
    run = _run("- webhook: a\n- wait: 10s\n- webhook: b", on_error="- stop:\n- webhook: never")
    [a] = run.feed(plate()).orders
    assert not run.feed(ended(a, "refused", time=_at(1))).orders
    assert run.state == {}


def test_an_on_error_looks_after_steps_that_are_not_reached_yet() -> None:
    """And after `stop` still after what was ordered before."""
    run = _run("- wait: 5s\n- webhook: a", on_error="- webhook: told\n- wait: 1s\n- webhook: later")
    run.feed(plate())
    [a] = run.tick(_at(5)).orders
    assert _words(run.feed(ended(a, "dead", time=_at(6))).orders) == ["told"]
    assert _words(run.tick(_at(7)).orders) == ["later"]
    stopped = _run("- webhook: a\n  on_error: [{webhook: told}, {wait: 1s}, {webhook: later}]\n- stop:")
    [a] = stopped.feed(plate()).orders
    assert _words(stopped.feed(ended(a, "dead", time=_at(6))).orders) == ["told"]
    assert _words(stopped.tick(_at(7)).orders) == ["later"]


def test_what_was_made_up_is_answered_by_what_is_made_up() -> None:
    """So that a replay can be followed to its end; its orders are marked as what they are. `raw` is not kept."""
    run = _Fragile(rules_of(CALL))
    run.feed(_call("call.started", "A", 0, origin=Origin.REPLAY))
    run.tick(_at(60))
    ack = event("custom.ack", {"who": "ann"}, time=_at(70), channel=None, origin=Origin.TEST)
    [end] = run.feed(ack.model_copy(update={"raw": "{}"})).orders
    assert end.origin is Origin.TEST
    kept = _run("- wait_for: {kind: custom.ack, within: 9s, as: a}\n- wait: 1h")
    kept.feed(plate())
    kept.feed(event("custom.ack", {}, time=_at(1)).model_copy(update={"raw": "{}"}))
    [waiting] = kept.state.values()
    assert "raw" not in waiting["results"]["a"]["output"]["event"]
    assert json.loads(json.dumps(waiting)) == waiting


def test_nobody_watches_for_ever() -> None:
    """An order whose end is never told is forgotten after a week."""
    run = _run("- webhook: a\n  on_error: [{webhook: b}]")
    run.feed(plate())
    assert run.engine.next_due == START + timedelta(days=7)
    assert not run.tick(START + timedelta(days=7)).orders
    assert run.state == {}


# --- the rest -------------------------------------------------------------------------------------------


def test_ids_of_orders_follow_from_the_place_in_the_row() -> None:
    """Plain steps count as they stand; no two have the same."""
    run = _run("- webhook: a\n- parallel: [{webhook: b}, [{wait: 1s}, {webhook: c}]]\n- webhook: d")
    run.feed(plate())
    run.tick(_at(1))
    orders = [order for decision in run.decisions for order in decision.orders]
    assert [(order.params["to"], order.index) for order in orders] == [("a", 0), ("b", 1), ("c", 3), ("d", 4)]
    assert len({order.id for order in orders}) == 4


def test_a_rule_in_shadow_waits_for_nothing() -> None:
    """What it would have done at once is traced."""
    run = _run("- webhook: a\n- wait: 5s\n- webhook: b", rule="shadow: true\n")
    decision = run.feed(plate())
    assert not decision.orders
    assert len(decision.traces[0].orders) == 1
    assert run.state == {}


def test_what_waited_when_its_rule_changed_is_named() -> None:
    """By where it stands in the rule."""
    run = Run(rules_of(CALL))
    run.feed(_call("call.started", "A", 0))
    decision = run.keep(run.engine.replace_rules(rules_of("rules: []")))
    assert decision.traces[0].skipped == ("then[1] wait_for",)
    assert not run.engine._book.waiting.hears


@pytest.mark.parametrize(
    ("then", "problem"),
    [
        ("[{wait: 5}]", "`wait`: 5 is not a duration"),
        ("[{wait: 32d}]", "`wait`: must not be longer than 31d"),
        ("[{wait: 5s, as: x}]", "`as` does not go with `wait`"),
        ("[{open: a, wait: 5s}]", "`wait` is the longest wait for `with`"),
        ("[{wait_for: {kind: call.ended}}]", "`within` is missing"),
        ("[{wait_for: {kind: call.endd, within: 5s}}]", "did you mean 'call.ended'"),
        ("[{wait_for: {kind: call.ended, within: 5s, match: {callr: A}}}]", "did you mean 'caller'"),
        ("[{wait_for: {kind: call.ended, within: 5s, with: x}}]", "`with` does not go with `wait_for`"),
        ("[{wait_for: call.ended}]", "must be a mapping"),
        ("[{do: {open: a}}]", "`do` is a list of steps"),
        ("[{parallel: []}]", "`parallel` is a list of steps"),
        ("[{parallel: [{open: a, relay: b}]}]", "a step has one action"),
        ("[{stop: now}]", "`stop` takes nothing, or `if`"),
        ("[{stop: {fi: 'true'}}]", "unknown key `fi`"),
        ("[{stop: , on_error: [{open: a}]}]", "`on_error` does not go with `stop`"),
        ("[{open: a, on_error: {webhook: b}}]", "`on_error` is a list of steps"),
        ("[{open: a, as: failed}]", "is what `on_error` calls the step that failed"),
        ("[{open: a, as: x, if: steps.x.outcome == 'done'}]", "unknown name 'steps'"),
        ("[{prallel: [{open: a}]}]", "did you mean 'parallel'"),
        ("[{do: [{do: [{do: [{do: [{do: [{do: [{do: [{do: [{do: [{stop: }]}]}]}]}]}]}]}]}]}]", "more than 8 blocks"),
        (f"[{', '.join(['{open: a}'] * 201)}]", "a rule has at most 200"),
    ],
)
def test_mistakes_are_told_where_they_are(then: str, problem: str) -> None:
    """Each in words."""
    found = problems_of(f"rules: [{{id: r, when: {{kind: plate.read}}, per: score, then: {then}}}]")
    assert any(problem in one for one in found), found


def test_an_event_that_has_no_such_key_needs_one_of_its_own() -> None:
    """Or none, with `per: []`."""
    text = (
        "rules: [{id: r, when: {kind: plate.read}, per: plate, then: [{wait_for: {kind: call.ended, within: 5s%s}}]}]"
    )
    assert any("`per`" in one for one in problems_of(text % ""))
    assert problems_of(text % ", per: []") == []
    assert problems_of(text % ", per: caller") == []


def test_all_of_it_can_be_tested_with_the_virtual_clock() -> None:
    """Named steps end as the test says, events answer, time passes."""
    text = CALL.replace(
        "- webhook: desk", "- webhook: {to: desk, as: told}\n        on_error: [{mqtt: {topic: broken}}]"
    )
    text += """
tests:
  - name: answered
    given: [{kind: call.started, data: {caller: A}}, {wait: 30s}, {kind: call.ended, data: {caller: A}}, {wait: 2m}]
    expect: [{webhook: desk}]
  - name: not answered
    given: [{kind: call.started}, {wait: 70s}, {kind: custom.ack, data: {who: ann}}]
    expect: [{webhook: desk}, {webhook: chief}, {mqtt: {topic: end, payload: {by: ann}}}]
  - name: the desk is not there
    given: [{kind: call.started}, {wait: 5s}]
    results: {told: {outcome: dead, after: 2s}}
    expect: [{webhook: desk}, {mqtt: broken}]
"""
    text = text.replace("{mqtt: broken}", "{mqtt: {topic: broken}}")
    assert [str(result) for result in run_trials(rules_of(text), ACTIONS) if not result.passed] == []


def test_a_step_waits_by_the_lists_of_the_moment() -> None:
    """What was put on a list while it waited counts."""
    text = """
    lists: {guards: {plates: [A]}}
    rules:
      - id: r
        when: {kind: call.started}
        then:
          - wait_for: {kind: plate.read, match: {plate: {in: guards}}, within: 1h}
          - webhook: x
    tests:
      - name: a guard of today
        given:
          - {kind: call.started}
          - {kind: plate.read, data: {plate: B}}
          - {kind: list.changed, data: {list: guards, added: [B]}}
          - {wait: 1s}
          - {kind: plate.read, data: {plate: B}}
        expect: [{webhook: x}]
    """
    assert [str(result) for result in run_trials(rules_of(text), ACTIONS) if not result.passed] == []


def test_one_event_answers_one_wait_in_a_row() -> None:
    """A step that is reached because of an event waits for the next one; also for the ends of orders."""
    run = _run("- wait_for: {kind: custom.ack, within: 9s}\n" * 2 + "- webhook: b")
    run.feed(plate())
    run.feed(event("custom.ack", {}, time=_at(1)))
    assert _all(run) == []
    run.feed(event("custom.ack", {}, time=_at(2)))
    assert _all(run) == ["b"]
    own = _run("- clip: {as: c}\n- {with: c, wait: 5s}\n- wait_for: {kind: action.ended, within: 9s}\n- webhook: b")
    [clip] = own.feed(plate()).orders
    assert not own.feed(ended(clip, time=_at(1))).orders
    assert _words(own.tick(_at(10)).orders) == ["b"]


SCHEMA = jsonschema.Draft202012Validator(rule_schema(ACTIONS))


@pytest.mark.parametrize(
    ("step", "fits"),
    [
        ({"wait": "5s"}, True),
        ({"with": "c", "wait": "5s"}, True),
        ({"webhook": "x", "wait": "5s", "with": "c", "on_error": [{"stop": None}]}, True),
        ({"wait_for": {"kind": "call.ended", "within": "5s", "as": "a", "match": {"caller": "1"}, "per": []}}, True),
        ({"parallel": [{"open": "a"}, [{"wait": "1s"}, {"open": "b"}]]}, True),
        ({"if": "true", "do": [{"open": "a"}]}, True),
        ({"stop": {"if": "true"}}, True),
        ({"emit": {"kind": "custom.x", "data": {"a": 1}}}, True),
        ({"wait_for": {"kind": "call.ended"}}, False),
        ({"wait_for": {"kind": "call.endd", "within": "5s"}}, False),
        ({"wait_for": {"kind": "call.ended", "within": "5s", "match": {"caller": {"atleast": 1}}}}, False),
        ({"parallel": [{"oepn": "a"}]}, False),
        ({"do": []}, False),
        ({"stop": "now"}, False),
        ({"webhook": "x", "open": "a"}, False),
        ({"if": "true"}, False),
    ],
    ids=str,
)
def test_the_schema_knows_what_steps_can_be(step: dict[str, object], fits: bool) -> None:
    """An editor completes and marks them, however deep they stand."""
    for then in ([step], [{"webhook": "x", "on_error": [{"do": [step]}]}]):
        content = {"rules": [{"id": "r", "when": {"kind": "plate.read"}, "then": then}]}
        assert SCHEMA.is_valid(content) is fits


def test_the_guide_names_every_word() -> None:
    """None of what a step can be, or have beside it, is missing from its section."""
    section = GUIDE[GUIDE.index("## Steps") : GUIDE.index("## Time")]
    words = {*WORDS, *RESERVED, "on_error", *(info.alias or name for name, info in WaitFor.model_fields.items())}
    assert [word for word in words if not re.search(rf"`[^`]*\b{word}\b", section)] == []
