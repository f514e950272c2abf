"""What tests show of rules: every condition met and decisive, by how rules looked at the events and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from textwrap import dedent, indent

import pytest

import rules
from bridge.sdk import Known
from rules.compiler import compile_rules
from rules.coverage import Coverage, covered
from rules.gates import AROUND
from rules.load import load_documents
from rules.ruleset import RuleSet, SiteSettings
from rules.trial import TrialResult, run_trials, trial_results
from rules.watching import how_far
from tests.rules.support import ACTIONS, rules_of

EXAMPLES = Path(rules.__file__).parent / "examples"

RULES = """
rules:
  - id: gate
    when: {kind: plate.read, channel: 1}
    match: {plate: {in: [AA1, AA2], glob: "A*"}, score: {at_least: 90}}
    if: 'state("nvr1", "link") != "down"'
    during: {from: "08:00", to: "20:00"}
    mode: home
    per: plate
    cooldown: 30s
    max_age: 10s
    limit: 3 per hour
    then: [{open: main-gate}]
"""
READ = "{kind: plate.read, channel: 1, data: {plate: AA1, score: 95}}"


def _of(tests: str, text: str = RULES) -> tuple[RuleSet, list[TrialResult]]:
    compiled = rules_of(dedent(text) + "tests:\n" + indent(dedent(tests), "  "))
    results = run_trials(compiled, ACTIONS, watch=True)
    assert [str(result) for result in results if not result.passed] == []
    return compiled, results


def _coverage(tests: str, text: str = RULES) -> Coverage:
    compiled, results = _of(tests, text)
    return covered(compiled, [goal for result in results for goal in result.reached])


def _missing(tests: str, text: str = RULES) -> list[str]:
    return [words for rule in _coverage(tests, text).rules for words in rule.words]


def test_a_rule_that_no_test_fires_says_that_alone() -> None:
    """Its conditions are not worth a line each; they count all the same."""
    coverage = _coverage(f"- {{name: t, mode: away, given: [{READ}], expect: []}}\n")
    [rule] = coverage.rules
    assert rule.words == ["never fired"]
    assert not rule.fired
    assert (rule.goals, coverage.goals) == (19, 19)
    # met: plate in, plate like, score, max_age, during; decisive: mode
    assert coverage.reached == 6
    assert coverage.percent == 31.5


def test_firing_once_meets_every_condition_and_decides_none() -> None:
    """Met is not enough: a condition that never makes a difference may as well not be there."""
    assert _missing(f"- {{name: t, mode: home, given: [{READ}], expect: [{{open: }}]}}\n") == [
        "match.plate in AA1, AA2: never decisive",
        "match.plate like A*: never decisive",
        "match.score at least 90: never decisive",
        "max_age 10s: never decisive",
        "during 08:00-20:00: never decisive",
        "mode home: never decisive",
        "cooldown 30s: never decisive",
        "limit 3 per hour: never decisive",
        'if state("nvr1", "link") != "down": never decisive',
    ]


ALL = f"""
- name: every condition makes the difference once
  mode: home
  given:
    - {READ}
    - {{repeat: 1}}
    - {{wait: 30s}}
    - {{repeat: 1}}
    - {{wait: 30s}}
    - {{repeat: 1}}
    - {{wait: 30s}}
    - {{repeat: 1}}
    - {{wait: 2h}}
    - {{kind: plate.read, channel: 1, data: {{plate: BB1, score: 95}}}}
    - {{kind: plate.read, channel: 1, data: {{plate: AA1, score: 5}}}}
    - {{kind: plate.read, channel: 1, age: 11s, data: {{plate: AA1, score: 95}}}}
    - {{kind: source.lost}}
    - {READ}
    - {{mode: away}}
    - {READ}
    - {{wait: 8h}}
    - {READ}
  expect: [{{open: }}, {{open: }}, {{open: }}]
"""


def test_conditions_that_a_test_shows_both_ways_are_covered() -> None:
    """Whatever was decisive stops the row: what comes after it was not asked."""
    assert _missing(ALL) == ["match.plate like A*: never decisive"]


def test_the_row_of_gates_is_that_in_which_they_are_asked() -> None:
    """What is asked before the one that stops a rule was met; what comes after it was not asked."""
    never = {
        "max_age": "age: 1m, ",
        "during": "",
        "mode": "",
        "if": "",
    }
    for name, old in never.items():
        at = "2026-01-05T23:00:00" if name in ("max_age", "during") else "2026-01-05T12:00:00"
        mode = "away" if name in ("max_age", "during", "mode") else "home"
        lost = "{kind: source.lost}, "
        read = READ.replace("channel: 1, ", f"channel: 1, {old}")
        unmet = f"expect_unmet: [{{rule: gate, by: {name}}}]"
        _, [result] = _of(f"- {{name: t, at: {at}, mode: {mode}, given: [{lost}{read}], {unmet}}}\n")
        around = {goal.condition: goal.side for goal in result.reached if goal.condition in AROUND}
        before = AROUND[: AROUND.index(name)]
        assert around == {**{one: "met" for one in before if one in around}, name: "decisive"}
        assert set(around) == {*before, name} - {"quiet_for", "concurrency"}


PARTS = """
rules:
  - id: in-order
    when:
      sequence: [{kind: motion.started, channel: 1}, {not: {kind: plate.read}}, {kind: motion.started, channel: 2}]
      within: 20s
    then: [{webhook: x}]
  - id: unanswered
    when: {absent: {kind: call.ended}, after: {kind: call.started, match: {caller: "1"}}, within: 60s}
    then: [{webhook: x}]
  - id: either
    when: {any: [{kind: call.started}, {kind: call.ended, match: {caller: "2"}}]}
    then: [{webhook: x}]
  - id: both
    when: {all: [{kind: door.opened}, {kind: motion.ended}], within: 1m}
    then: [{webhook: x}]
  - id: held
    when: {kind: channel.status, for: 1m}
    match: {state: no_video}
    then: [{webhook: x}]
  - id: clock
    when: {at: "13:00"}
    then: [{webhook: x}]
""".replace("door.opened", "motion.started")


def test_parts_of_a_pattern_count_by_themselves() -> None:
    """Each has to be seen, and what each asks has to be met and decisive, at its own place."""
    told = _missing("- {name: t, given: [{wait: 2h}], expect: [{webhook: x}]}\n", PARTS)
    assert told == ["never fired"] * 5
    coverage = _coverage(
        "- {name: t, given: [{kind: call.started, data: {caller: '1'}}], expect_some: [{webhook: }]}\n", PARTS
    )
    lacks = {rule.rule: [str(goal) for goal in rule.missing] for rule in coverage.rules}
    assert lacks["in-order"] == [
        "never fired",
        "sequence[0]: never seen",
        "sequence[1]: never seen",
        "sequence[2]: never seen",
    ]
    assert lacks["unanswered"] == [
        "never fired",
        "after.match.caller equals 1: never decisive",
        "absent: never seen",
    ]
    assert lacks["either"] == [
        "any[1]: never seen",
        "any[1].match.caller equals 2: never met",
        "any[1].match.caller equals 2: never decisive",
    ]
    assert lacks["both"][1:] == ["all[0]: never seen", "all[1]: never seen"]
    assert lacks["held"][1:] == [
        "match.state equals no_video: never met",
        "match.state equals no_video: never decisive",
        "until: never seen",
    ]


STEPS = """
rules:
  - id: steps
    when: {kind: call.started}
    per: caller
    concurrency: single
    then:
      - webhook: {to: x, if: 'event.data.caller == "1"', as: told}
      - do: [{clip: {}}]
        if: 'event.data.caller == "2"'
      - stop: {if: 'event.data.caller == "3"'}
      - wait_for: {kind: call.ended, match: {caller: "4"}, within: 1m}
      - mqtt: {topic: over}
    on_error: [{mqtt: {topic: failed}}]
"""


def test_steps_show_their_conditions_answers_and_failures() -> None:
    """Whether in shadow or not, and also where nothing but a `stop` was reached."""
    one = "- {name: t, given: [{kind: call.started, data: {caller: '1'}}], expect: [{webhook: x}]}\n"
    assert _missing(one, STEPS) == [
        "concurrency single: never decisive",
        'then[0] webhook if event.data.caller == "1": never decisive',
        'then[1] do if event.data.caller == "2": never met',
        'then[2] stop if event.data.caller == "3": never met',
        "then[3] wait_for: never answered",
        "on_error: never needed",
    ]
    more = """
    - name: t
      given:
        - {kind: call.started, data: {caller: "1"}}
        - {kind: call.started, data: {caller: "1"}}
        - {kind: call.started, data: {caller: "2"}}
        - {kind: call.started, data: {caller: "3"}}
        - {kind: call.started, data: {caller: "4"}}
        - {kind: call.ended, data: {caller: "4"}}
      results: {told: {outcome: dead}}
      expect_some: [{webhook: x}, {mqtt: {topic: failed}}, {clip: {}}, {mqtt: {topic: over}}]
    """
    assert _missing(more, STEPS) == []
    shadow = STEPS.replace("per: caller", "per: caller\n    shadow: true").replace("concurrency: single", "")
    quiet = "- {name: t, given: [{kind: call.started, data: {caller: '3'}}], expect: []}\n"
    assert _missing(quiet, shadow) == [
        'then[0] webhook if event.data.caller == "1": never met',
        'then[1] do if event.data.caller == "2": never met',
        'then[2] stop if event.data.caller == "3": never decisive',
        "then[3] wait_for: never answered",
        "on_error: never needed",
    ]


def test_of_no_rules_everything_is_shown() -> None:
    """A file of lists alone does not fail for its coverage."""
    assert covered(rules_of("lists: {a: {plates: [A]}}\n"), []).percent == 100.0


def test_how_near_a_rule_came_follows_the_order_of_asking() -> None:
    """Another channel is farther off than another score, and that farther than a cooldown."""
    row = ["when.kind", "when.source", "when.channel", "match.score", "when", *AROUND, None]
    assert [how_far(name) for name in row] == sorted(how_far(name) for name in row)
    assert len({how_far(name) for name in row}) == len(row)


# --- the same again --------------------------------------------------------------------------------------


def test_tests_give_the_same_however_often_and_in_whatever_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, and without a socket: each has an engine, a clock and a log of its own."""

    def refuse(*args: object, **more: object) -> None:
        raise AssertionError("a test of rules wants the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    files = sorted(EXAMPLES.glob("*.yaml"))
    compiled = compile_rules(load_documents(files, EXAMPLES), ACTIONS, Known(), SiteSettings("Europe/Berlin"))
    forward = [*trial_results(compiled, ACTIONS, watch=True)]
    backward = [*trial_results(replace(compiled, trials=compiled.trials[::-1]), ACTIONS, watch=True)]
    assert [repr(result) for result in forward] == [repr(result) for result in reversed(backward)]
    assert [result.reached for result in forward] == [result.reached for result in reversed(backward)]
    assert [result.orders for result in run_trials(compiled, ACTIONS)] == [result.orders for result in forward]
