"""What a test of rules may cost: however much it asks for, it ends, and says why it ended early."""

from __future__ import annotations

import pytest

from rules import trial, trialdiff
from rules.trial import run_trials
from tests.rules.support import ACTIONS, problems_of, rules_of

EVERY_MINUTE = 'rules: [{id: r, when: {every: "* * * * *"}, then: [{mqtt: {topic: x}}]}]\n'
READS = "rules: [{id: r, when: {kind: plate.read}, then: [{mqtt: {topic: x}}]}]\n"


def _told(rules: str, *tests: str) -> list[tuple[str, ...]]:
    return [result.difference for result in run_trials(rules_of(f"{rules}tests: [{', '.join(tests)}]\n"), ACTIONS)]


def test_a_test_that_waits_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events, timers, orders and looks are counted; it fails and says how far it came, and nothing is kept of it."""
    monkeypatch.setattr(trial, "MOST_OF_ONE", 90)
    [result] = run_trials(rules_of(EVERY_MINUTE + "tests: [{name: x, given: [{wait: 36500d}], expect: []}]\n"), ACTIONS)
    [line] = result.difference
    assert line.startswith("stopped at 2026-01-05 12:30:00 UTC: it led to more than 90 events and firings; give fewer")
    assert (result.orders, result.traces) == ((), ())


def test_events_that_are_given_too_often_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeated or written one by one; one that stays below the bound goes through."""
    monkeypatch.setattr(trial, "MOST_OF_ONE", 90)
    repeated = "{name: a, given: [{kind: plate.read}, {repeat: 10000}, {wait: 1s}], expect: []}"
    written = "{name: b, given: [" + "{kind: plate.read}, " * 40 + "], expect: []}"
    few = "{name: c, given: [{kind: plate.read}, {repeat: 9}], expect: [" + "{mqtt: }, " * 10 + "]}"
    told = _told(READS, repeated, written, few)
    assert ["stopped at" in "".join(lines) for lines in told] == [True, True, False]
    assert told[2] == ()


def test_all_tests_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests before used up is left to none."""
    monkeypatch.setattr(trial, "MOST_OF_ALL", 50)
    test = "{name: a, given: [{kind: plate.read}, {repeat: 9}], expect: [" + "{mqtt: }, " * 10 + "]}"
    told = _told(READS, test, test, test)
    assert told[0] == ()
    assert [line.split(":")[0] for lines in told[1:] for line in lines] == ["not finished", "not finished"]


def test_a_long_difference_is_shown_from_where_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A difference after many orders costs no more than what is shown of it."""
    monkeypatch.setattr(trialdiff, "MOST_BESIDE", 20)
    expect = ", ".join(["{mqtt: {topic: x}}"] * 50 + ["{mqtt: {topic: y}}"] * 40)
    [lines] = _told(READS, f"{{name: a, given: [{{kind: plate.read}}, {{repeat: 99}}], expect: [{expect}]}}")
    assert lines[0] == "  (the first 50 orders are as expected)"
    assert lines[1] == "~ mqtt was ordered by rule r from given[1] plate.read"
    assert lines[-1] == "  (from there on 40 orders were expected and 50 came; not all are shown)"
    assert len(lines) == 2 + 20 * 3
    some = ", ".join(["{mqtt: {topic: x}}"] * 99)
    assert _told(READS, f"{{name: a, given: [{{kind: plate.read}}, {{repeat: 99}}], expect_some: [{some}]}}") == [()]


def test_orders_that_must_not_be_are_not_all_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some hundred a count says the same."""
    monkeypatch.setattr(trialdiff, "MOST_BESIDE", 20)
    [lines] = _told(READS, "{name: a, given: [{kind: plate.read}, {repeat: 29}], expect_not: [{mqtt: }]}")
    assert lines[-1] == "  (and 10 more)"
    assert len(lines) == 21


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("given: [{wait: 36500d}, {wait: 36500d}], expect: []", "the test would wait beyond 2200"),
        (
            'at: "9999-12-31T23:59:59", given: [{wait: 1d}], expect: []',
            "is not between 1970 and 2200, where tests play",
        ),
        ('at: "0001-01-01T00:00:00+14:00", given: [{wait: 1d}], expect: []', "is not between 1970 and 2200"),
        ("given: [{wait: 1d}], expect: [" + "{mqtt: }, " * 1001 + "]", "should have at most 1000 items"),
        ("given: [{wait: 1d}], expect_not: [" + "{mqtt: }, " * 101 + "]", "should have at most 100 items"),
    ],
)
def test_what_no_test_needs_is_refused(test: str, said: str) -> None:
    """Times that no calendar goes to, and more expectations than a person reads."""
    problems = problems_of(f"{EVERY_MINUTE}tests: [{{name: x, {test}}}]\n")
    assert [said in problem for problem in problems] == [True]
