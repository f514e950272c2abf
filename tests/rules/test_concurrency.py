"""What a rule does that fires again while steps of its earlier firing wait."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from bridge.sdk import Logged
from rules.ruleset import RuleSet
from rules.trial import run_trials
from tests.rules.support import ACTIONS, START, Run, ended, event, plate, problems_of, rules_of

WAIT = 10


def _rule(concurrency: str, then: str = "[{mqtt: {topic: begin}}, {wait: 10s}, {mqtt: {topic: end}}]") -> RuleSet:
    return rules_of(
        f"rules: [{{id: r, when: {{kind: plate.read}}, per: plate, concurrency: {concurrency}, then: {then}}}]"
    )


def _seconds(count: float) -> datetime:
    return START + timedelta(seconds=count)


def _until(run: Run, second: float) -> None:
    """Let timers fire on the way, as the host does."""
    while (due := run.engine.next_due) is not None and due <= _seconds(second):
        run.tick(max(due, run.now))


def _read(run: Run, second: float, number: str = "A") -> None:
    _until(run, second)
    run.feed(plate(number, time=_seconds(second), event_id=f"{number}{second}"))


def _done(run: Run) -> list[tuple[float, str, str]]:
    """Return what was ordered: when, what, and for which event."""
    orders = [order for decision in run.decisions for order in decision.orders]
    return [((o.created - START).total_seconds(), o.params["topic"], o.causes[0]) for o in orders]


def _outcomes(run: Run) -> list[str]:
    return [trace.outcome for decision in run.decisions for trace in decision.traces]


def test_parallel_firings_do_not_mind_each_other() -> None:
    """As long as nothing is said."""
    run = Run(_rule("parallel"))
    _read(run, 0)
    _read(run, 4)
    _until(run, 60)
    assert _done(run) == [(0, "begin", "A0"), (4, "begin", "A4"), (10, "end", "A0"), (14, "end", "A4")]


def test_a_single_one_lets_nobody_beside_it() -> None:
    """And the trace says why; another key is another matter."""
    run = Run(_rule("single"))
    _read(run, 0)
    _read(run, 4)
    [trace] = run.decisions[-1].traces
    assert str(trace) == (
        "rule r did not fire: concurrency: wanted one at a time, saw steps of the one before still wait"
    )
    _read(run, 5, "B")
    _read(run, 10)  # over at exactly that time
    assert _done(run) == [(0, "begin", "A0"), (5, "begin", "B5"), (10, "end", "A0"), (10, "begin", "A10")]


def test_a_restart_ends_the_one_before() -> None:
    """Its orders stand, its steps that wait are dropped, and that is traced."""
    run = Run(_rule("restart"))
    _read(run, 0)
    _read(run, 4)
    assert [(t.outcome, t.seq, t.at, t.event, t.skipped) for t in run.decisions[-1].traces] == [
        ("dropped", 2, _seconds(4), "A0", ("then[1] wait",)),
        ("fired", 2, _seconds(4), "A4", ()),
    ]
    run.crash()
    _until(run, 60)
    assert _done(run) == [(0, "begin", "A0"), (4, "begin", "A4"), (14, "end", "A4")]
    assert not run.state


def test_those_in_line_begin_one_after_the_other() -> None:
    """Each with its own event; through a crash as well."""
    run = Run(_rule("queued"))
    for second in (0, 1, 2):
        _read(run, second)
    assert _outcomes(run) == ["fired", "queued", "queued"]
    run.crash()
    _until(run, 60)
    assert _done(run) == [
        (0, "begin", "A0"),
        (10, "end", "A0"),
        (10, "begin", "A1"),
        (20, "end", "A1"),
        (20, "begin", "A2"),
        (30, "end", "A2"),
    ]
    assert not run.state


def test_a_long_line_is_gone_through_in_order() -> None:
    """Everybody's turn comes, whatever the events weigh; through a crash as well."""
    text = "rules: [{id: r, when: {kind: custom.big}, concurrency: queued, then: [{wait: 9s}, {clip: {}}]}]"
    run = Run(rules_of(text))
    for number in range(30):
        run.feed(event("custom.big", {"text": "x" * 60_000}, time=_seconds(number / 8), event_id=f"e{number}"))
    assert _outcomes(run) == ["fired", *["queued"] * 29]
    assert max(len(to_json(value)) for value in run.state.values()) < 61_000
    run.state = dict(reversed(run.state.items()))  # the store gives them back in an order of its own
    run.crash()
    _until(run, 1000)
    orders = [order for decision in run.decisions for order in decision.orders]
    assert [(order.trigger.id, order.created) for order in orders] == [
        (f"e{n}", _seconds(9 * n + 9)) for n in range(30)
    ]
    assert not run.state


def test_the_same_events_stand_in_line_once() -> None:
    """Logged twice they are still one firing, and the one that waits keeps what it knows."""
    run = Run(_rule("queued"))
    _read(run, 0)
    for _ in range(2):
        run.feed(plate("A", time=START, event_id="A0"), at=_seconds(1))
    _until(run, 60)
    assert _done(run) == [(0, "begin", "A0"), (10, "end", "A0")]
    assert not run.state


def test_those_in_line_that_have_nothing_to_wait_for_go_at_once() -> None:
    """One whose `if` leaves out its wait holds up nobody."""
    then = "[{mqtt: {topic: begin}}, {wait: 10s, if: 'event.data.score > 50'}, {mqtt: {topic: end}}]"
    run = Run(_rule("queued", then))
    _read(run, 0)
    for second in (1, 2):
        run.feed(plate("A", score=10, time=_seconds(second), event_id=f"A{second}"))
    _read(run, 3)
    _until(run, 15)
    whole = [(0, "begin", "A0")] + [
        (10, what, who)
        for what, who in (
            ("end", "A0"),
            ("begin", "A1"),
            ("end", "A1"),
            ("begin", "A2"),
            ("end", "A2"),
            ("begin", "A3"),
        )
    ]
    assert _done(run) == whole


def test_the_end_of_an_order_lets_the_next_one_begin() -> None:
    """What is waited for need not be the clock."""
    run = Run(_rule("queued", "[{mqtt: {topic: begin, as: said}}, {mqtt: {topic: end, with: said}}]"))
    _read(run, 0)
    [order] = run.decisions[-1].orders
    _read(run, 1)
    run.feed(ended(order, time=_seconds(2)))
    assert _done(run) == [(0, "begin", "A0"), (2, "end", "A0"), (2, "begin", "A1")]


def test_a_door_that_was_asked_for_in_line_is_too_old() -> None:
    """An order expires by the age of its cause, whenever its turn comes."""
    run = Run(_rule("queued", "[{open: main-gate}, {wait: 10s}]"))
    _read(run, 0)
    _read(run, 1)
    _until(run, 10)
    late = [order for decision in run.decisions for order in decision.orders][-1]
    assert (late.created, late.expires) == (_seconds(10), _seconds(11))


def test_another_version_of_the_rule_drops_those_in_line() -> None:
    """As it drops those that wait."""
    run = Run(_rule("queued"))
    for second in (0, 1):
        _read(run, second)
    decision = run.keep(run.engine.replace_rules(_rule("single")))
    assert [(trace.outcome, trace.event) for trace in decision.traces] == [("dropped", "A0"), ("dropped", "A1")]
    assert not run.state


def test_what_is_explained_beforehand_is_what_happens() -> None:
    """Would it fire, stand in line, or neither?"""
    for concurrency, outcome in (("single", "unmet"), ("restart", "fired"), ("queued", "queued")):
        run = Run(_rule(concurrency))
        _read(run, 0)
        [trace] = run.engine.explain(Logged(9, _seconds(1), plate("A", time=_seconds(1))))
        assert trace.outcome == outcome


def test_a_rule_whose_steps_do_not_wait_is_told_so() -> None:
    """Its firings never meet, which somebody who says `single` may not know."""
    rules = _rule("single", "[{clip: {}}]")
    [warning] = rules.warnings
    assert str(warning).endswith("rule r: no step of this rule waits, so none of its firings meet")
    assert not _rule("single", "[{clip: {as: c}}, {webhook: {to: x, with: c}}]").warnings
    assert not _rule("single", "[{clip: {}, on_error: [{webhook: x}]}]").warnings
    [problem] = problems_of(
        "rules: [{id: r, when: {kind: plate.read}, concurrency: double, then: [{wait: 1s}, {clip: {}}]}]"
    )
    assert "`concurrency`: must be 'parallel', 'single', 'restart' or 'queued', got 'double'" in problem


def test_it_can_be_tried_in_a_test() -> None:
    """A light that goes out ten seconds after the last motion."""
    text = """
    rules:
      - id: light
        when: {kind: motion.started}
        per: channel
        concurrency: restart
        then: [{mqtt: {topic: on}}, {wait: 10s}, {mqtt: {topic: off}}]
    tests:
      - name: goes out after the last
        given: [{kind: motion.started}, {wait: 6s}, {kind: motion.started}, {wait: 9s}]
        expect: [{mqtt: {topic: on}}, {mqtt: {topic: on}}]
      - name: and does go out
        given: [{kind: motion.started}, {wait: 6s}, {kind: motion.started}, {wait: 10s}]
        expect: [{mqtt: {topic: on}}, {mqtt: {topic: on}}, {mqtt: {topic: off}}]
    """
    assert [str(result) for result in run_trials(rules_of(text), ACTIONS) if not result.passed] == []


# --- against a slow reference ------------------------------------------------------------------------


def _reference(concurrency: str, seconds: list[float], horizon: float) -> list[tuple[float, str, str]]:
    """Return what is ordered for one key, said plainly."""
    spans: list[tuple[float, float, str]] = []
    for second in seconds:
        underway = [span for span in spans if span[1] > second]
        if concurrency == "single" and underway:
            continue
        begin = max([second, *(end for _, end, _ in spans)]) if concurrency == "queued" else second
        if concurrency == "restart":
            spans = [(start, end if end <= second else horizon + 1, who) for start, end, who in spans]
        spans.append((begin, begin + WAIT, f"A{second}"))
    orders = [(begin, "begin", who) for begin, _, who in spans] + [(end, "end", who) for _, end, who in spans]
    return sorted(one for one in orders if one[0] <= horizon)


@pytest.mark.parametrize("concurrency", ["parallel", "single", "restart", "queued"])
@given(steps=st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=30))
@settings(max_examples=40, deadline=None)
def test_orders_are_those_of_the_plain_words(concurrency: str, steps: list[tuple[int, bool]]) -> None:
    """Whatever comes when, and however often it crashes."""
    run = Run(_rule(concurrency))
    second, seconds = 0.0, []
    for wait, crash in steps:
        second += wait / 4
        seconds.append(second)
        if crash:
            run.crash()
        _read(run, second)
    horizon = second + 400
    _until(run, horizon)
    assert sorted(_done(run)) == _reference(concurrency, seconds, horizon)
    assert not run.state


def test_an_event_answers_one_wait_alone() -> None:
    """Also where the next in line waits for the same kind of event."""
    then = "[{wait_for: {kind: call.ended, within: 60s}}, {mqtt: {topic: end}}]"
    rule = "{id: r, when: {kind: plate.read}, per: channel, concurrency: queued"
    run = Run(rules_of(f"rules: [{rule}, then: {then}}}]"))
    _read(run, 0)
    _read(run, 1)
    run.feed(event("call.ended", {"caller": "c"}, time=_seconds(5), event_id="c5"))
    assert _done(run) == [(5, "end", "c5")]
    run.feed(event("call.ended", {"caller": "c"}, time=_seconds(6), event_id="c6"))
    assert _done(run) == [(5, "end", "c5"), (6, "end", "c6")]
