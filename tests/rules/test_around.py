"""What holds a rule back although its pattern is complete: the site's mode, a silence that is waited for, a limit."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.sdk import Logged
from rules.resting import parse_limit
from rules.ruleset import RuleSet, SiteSettings
from rules.trace import Trace
from rules.trial import run_trials
from tests.rules.support import ACTIONS, KNOWN, START, Run, event, plate, problems_of, rules_of


def _rule(around: str, when: str = "{kind: plate.read}", *, per: str = "plate") -> RuleSet:
    return rules_of(f"rules: [{{id: r, when: {when}, per: {per}, {around}, then: [{{clip: {{}}}}]}}]")


def _seconds(count: float) -> datetime:
    return START + timedelta(seconds=count)


def _fires(run: Run, second: float, number: str = "A") -> bool:
    return bool(run.feed(plate(number, time=_seconds(second), event_id=f"{number}{second}")).orders)


def _why(run: Run) -> str:
    [trace] = run.decisions[-1].traces
    return f"{trace.condition}: wanted {trace.wanted}, saw {trace.seen}"


# --- mode ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "modes"),
    [
        ("armed", {"armed"}),
        ("[armed, night]", {"armed", "night"}),
        ("{not: armed}", {"home", "night", None}),
        ("{not: [armed, home]}", {"night", None}),
        ("7", set()),
    ],
)
def test_a_rule_acts_in_its_modes_alone(gate: str, modes: set[str | None]) -> None:
    """Whoever has set it; as long as nobody has, the site is in none."""
    for mode in (None, "armed", "home", "night"):
        run = Run(_rule(f"mode: {gate}"))
        if mode is not None:
            run.feed(event("mode.changed", {"mode": "other"}, source="bridge", channel=None))
            run.feed(event("mode.changed", {"mode": mode}, source="nvr2", time=_seconds(1)))
        run.crash()
        assert _fires(run, 2) == (mode in modes), mode


def test_the_trace_says_which_mode_was_wanted_and_seen() -> None:
    """Nothing, where no mode was ever set."""
    run = Run(_rule("mode: {not: [home, armed]}"))
    run.feed(event("mode.changed", {"mode": "home"}, source="bridge", channel=None))
    assert not _fires(run, 1)
    assert _why(run) == "mode: wanted not armed or home, saw home"
    run = Run(_rule("mode: armed"))
    assert not _fires(run, 1)
    assert _why(run) == "mode: wanted armed, saw None"


def test_an_expression_sees_the_mode() -> None:
    """As a fact of the bridge, which is a known name for the check as well."""
    text = (
        """rules: [{id: r, when: {kind: plate.read}, if: 'state("bridge", "mode") == "armed"', then: [{clip: {}}]}]"""
    )
    run = Run(rules_of(text, known=KNOWN))
    run.feed(event("mode.changed", {"mode": "armed"}, source="bridge", channel=None))
    assert _fires(run, 1)


def test_a_test_begins_in_a_mode() -> None:
    """And an event changes it."""
    text = """
    rules: [{id: r, when: {kind: motion.started}, mode: armed, then: [{clip: {}}]}]
    tests:
      - {name: armed, mode: armed, given: [{kind: motion.started}], expect: [{clip: {}}]}
      - {name: none, given: [{kind: motion.started}], expect: []}
      - name: changed
        mode: home
        given: [{kind: mode.changed, data: {mode: armed}}, {kind: motion.started}]
        expect: [{clip: {}}]
      - {name: wrong, mode: home, given: [{kind: motion.started}], expect: [{clip: {}}]}
    """
    *passed, failed = run_trials(rules_of(text), ACTIONS)
    assert [str(result) for result in passed if not result.passed] == []
    assert "rule r did not fire: mode: wanted armed, saw home" in str(failed)


# --- quiet_for -------------------------------------------------------------------------------------


def test_a_cooldown_says_until_when_by_the_clock_of_the_site() -> None:
    """To the second: a person compares it with the time of the event."""
    text = "rules: [{id: r, when: {kind: motion.started}, cooldown: 1h, then: [{clip: {}}]}]"
    run = Run(rules_of(text, site=SiteSettings("Asia/Kathmandu")))
    for number in (1, 2):
        stamp = START + timedelta(microseconds=number)
        [trace] = run.engine.step(Logged(number, stamp, event("motion.started", time=stamp)), trace=True).traces
    until = (START + timedelta(hours=1)).astimezone(ZoneInfo("Asia/Kathmandu"))
    assert trace.wanted == f"rested until {until:%Y-%m-%d %H:%M:%S}+05:45"


def test_quiet_for_waits_for_silence_and_a_cooldown_does_not() -> None:
    """Whoever keeps coming is told once; whoever comes again after the silence is told again."""
    seconds = [0, 50, 100, 150, 209, 270, 271]
    quiet, cool = Run(_rule("quiet_for: 60s")), Run(_rule("cooldown: 60s"))
    assert [second for second in seconds if _fires(quiet, second)] == [0, 270]
    assert [second for second in seconds if _fires(cool, second)] == [0, 100, 209, 270]
    assert not _fires(cool, 329.9)
    assert _fires(cool, 330)


def test_the_silence_is_of_the_key_and_is_told() -> None:
    """Exactly when it has lasted long enough it is long enough."""
    run = Run(_rule("quiet_for: 60s"))
    assert _fires(run, 0)
    assert not _fires(run, 20)
    assert _why(run) == "quiet_for: wanted nothing for 1m, saw quiet for 20s"
    assert _fires(run, 79, "B")
    assert not _fires(run, 79.9)
    assert _fires(run, 139.9)


def test_what_comes_disturbs_whether_the_other_conditions_hold_or_not() -> None:
    """Somebody is there all the while, though the mode has changed."""
    run = Run(_rule("quiet_for: 60s, mode: armed"))
    run.feed(event("mode.changed", {"mode": "armed"}, time=START))
    assert _fires(run, 0)
    run.feed(event("mode.changed", {"mode": "home"}, time=_seconds(1)))
    assert not _fires(run, 50)
    run.feed(event("mode.changed", {"mode": "armed"}, time=_seconds(51)))
    assert not _fires(run, 100)
    assert _fires(run, 160)


def test_what_comes_when_the_silence_was_long_enough_disturbs_nothing() -> None:
    """To the moment: it would have fired, had another condition held."""
    run = Run(_rule("quiet_for: 60s, mode: armed"))
    fired = []
    for second, mode in ((0, "armed"), (60, "home"), (61, "armed")):
        run.feed(event("mode.changed", {"mode": mode}, time=_seconds(second)))
        for number in range(30 if second == 0 else 0):  # more of them end at once than a step sweeps
            assert _fires(run, 0, f"A{number}")
        fired.append(_fires(run, second, "Z"))
    assert fired == [True, False, True]


def test_quiet_for_goes_with_patterns_and_their_timers() -> None:
    """What is counted is how often the whole pattern was complete, by an event or by the clock."""
    run = Run(_rule("quiet_for: 60s", "{kind: motion.started, for: 10s}", per="channel"))
    fired = []
    for second in (0, 40, 80, 160):
        run.feed(event("motion.started", time=_seconds(second), event_id=f"on{second}"))
        if run.tick(_seconds(second + 10)).orders:
            fired.append(second + 10)
        run.feed(event("motion.ended", time=_seconds(second + 11), event_id=f"off{second}"))
    assert fired == [10, 170]


def test_what_never_fired_waits_for_no_silence() -> None:
    """Events that other conditions kept away leave nothing behind."""
    run = Run(_rule("quiet_for: 60s, mode: armed"))
    assert not _fires(run, 0)
    assert not run.state
    run.feed(event("mode.changed", {"mode": "armed"}, time=_seconds(1)))
    assert _fires(run, 2)


# --- limit -----------------------------------------------------------------------------------------


def test_a_limit_slides_and_is_of_the_key() -> None:
    """A firing counts for exactly its span."""
    run = Run(_rule("limit: 2 per minute"))
    assert [second for second in (0, 30, 59, 60, 89, 90, 91) if _fires(run, second)] == [0, 30, 60, 90]
    assert _why(run) == "limit: wanted at most 2 per minute, saw 2 already, the next in 29s"
    assert _fires(run, 92, "B")


def test_what_other_conditions_hold_back_is_not_counted() -> None:
    """Only firings are."""
    run = Run(_rule("limit: 1 per hour, cooldown: 10s, if: 'event.data.score > 50'"))
    run.feed(plate("A", score=10, event_id="low"))
    assert _why(run).startswith("if:")
    assert _fires(run, 1)
    assert not _fires(run, 2)
    assert _why(run).startswith("cooldown:")
    assert not _fires(run, 20)
    assert _why(run) == "limit: wanted at most 1 per hour, saw 1 already, the next in 59m41s"


def test_a_shadow_is_held_back_as_it_would_be_in_earnest() -> None:
    """Or what it shows would not be what would have happened."""
    run = Run(_rule("shadow: true, limit: 1 per hour"))
    assert [trace.fired for second in (0, 1) for trace in _shown(run, second)] == [True, False]


def _shown(run: Run, second: float) -> list[Trace]:
    decision = run.feed(plate("A", time=_seconds(second), event_id=f"{second}"))
    assert not decision.orders
    return list(decision.traces)


@pytest.mark.parametrize(
    ("written", "shown"),
    [("5 per hour", "5 per hour"), ("5/hour", "5 per hour"), ("1 per 60m", "1 per hour"), ("3 / 90s", "3 per 1m30s")],
)
def test_a_limit_is_read_as_people_write_it(written: str, shown: str) -> None:
    """And is shown as it is documented."""
    assert str(parse_limit(written)) == shown
    assert parse_limit(shown) == parse_limit(written)


@pytest.mark.parametrize(
    ("around", "why"),
    [
        ("limit: 5", "`limit`: 5 is not a limit; write 5 per hour, or 1 per 10m"),
        ("limit: often", "'often' is not a limit"),
        ("limit: 5 per moon", "'moon' is not a duration"),
        ("limit: 0 per hour", "must be 1 to 1000 firings, got 0"),
        ("limit: 1001 per hour", "must be 1 to 1000 firings, got 1001"),
        ("limit: 5 per 0s", "must be in a span of more than nothing and at most 31 days"),
        ("limit: 5 per 32d", "must be in a span of more than nothing and at most 31 days"),
        ("quiet_for: 0s", "`quiet_for`: must be longer than nothing"),
        ("mode: []", "`mode`: must not be empty"),
        ("mode: {no: armed}", "unknown key `no`; did you mean `not`?"),
    ],
)
def test_what_cannot_be_meant_is_said(around: str, why: str) -> None:
    """At check time, in words."""
    problems = problems_of(f"rules: [{{id: r, when: {{kind: plate.read}}, {around}, then: [{{clip: {{}}}}]}}]")
    assert any(why in problem for problem in problems), problems


@pytest.mark.parametrize("around", ["cooldown: 60s", "quiet_for: 60s", "limit: 1 per minute"])
def test_what_is_over_is_over_whether_it_was_swept_away_or_not(around: str) -> None:
    """More end at once than one step sweeps."""
    run = Run(_rule(around))
    keys = [f"A{number}" for number in range(20)]
    assert all(_fires(run, 0, key) for key in keys)
    assert not any(_fires(run, 59.9, key) for key in keys[:5] if around != "quiet_for: 60s")
    assert all(_fires(run, 60, key) for key in reversed(keys))


@pytest.mark.parametrize("around", ["cooldown: 60s", "quiet_for: 60s", "limit: 1 per minute"])
def test_what_is_over_is_forgotten(around: str) -> None:
    """With the first event after it, and not before."""
    run = Run(_rule(around))
    assert _fires(run, 0)
    run.tick(_seconds(59.9))
    assert run.state
    run.tick(_seconds(60))
    assert not run.state


@pytest.mark.parametrize("others", [0, 20])
def test_a_memory_that_is_over_is_over_whether_it_was_swept_away_or_not(others: int) -> None:
    """More end at once than one step sweeps; of what came before nothing is known, not even how late it was."""
    run = Run(
        _rule("cooldown: 1s", "{sequence: [{kind: plate.read}, {kind: plate.read, match: {score: 1}}], within: 1m}")
    )
    for number in range(others):
        run.feed(plate(f"A{number}"))
    run.feed(plate("B"))
    [over] = {value["forget"] for value in run.state.values()}
    run.feed(plate("B", time=_seconds(-3600), event_id="old"), at=datetime.fromisoformat(over))
    assert _why(run) == "when: wanted the whole pattern, saw 1 of 2 in order within 1m"


def test_a_pattern_begins_anew_beside_what_holds_its_rule_back() -> None:
    """It remembers nothing then, though the rule still rests."""
    run = Run(_rule("cooldown: 1h", "{kind: plate.read, field: score, rises_above: 90, rearm_below: 80}"))
    for second, score in ((0, 95), (1, 70)):
        run.feed(plate(score=score, time=_seconds(second)))
    run.tick(_seconds(600))
    [value] = run.state.values()
    assert value.keys() == {"version", "rest"}
    assert [trace.condition for trace in run.feed(plate(score=95, time=_seconds(601))).traces] == ["cooldown"]


# --- all of it, against a slow reference ----------------------------------------------------------

_AROUND = "quiet_for: 7s, cooldown: 3s, limit: 2 per 20s"
_steps = st.lists(
    st.tuples(
        st.integers(0, 80).map(lambda tenths: tenths / 8), st.sampled_from("AB"), st.sampled_from(["", "crash", "tick"])
    ),
    max_size=40,
)


@given(_steps)
@settings(max_examples=150, deadline=None)
def test_firings_are_those_of_the_plain_words_and_nothing_stays_behind(steps: list[tuple[float, str, str]]) -> None:
    """However it is interrupted, and whatever was swept away between."""
    run = Run(_rule(_AROUND))
    came: dict[str, float] = {}
    fired: dict[str, list[float]] = {"A": [], "B": []}
    armed = {"A": True, "B": True}
    now = 0.0
    for wait, number, between in steps:
        now += wait
        armed[number] |= now - came.get(number, -7) >= 7
        wanted = (
            armed[number]
            and all(now - second >= 3 for second in fired[number][-1:])
            and sum(now - second < 20 for second in fired[number]) < 2
        )
        if between == "crash":
            run.crash()
        elif between == "tick":
            run.tick(_seconds(now))
        assert _fires(run, now, number) == wanted
        came[number] = now
        if wanted:
            fired[number].append(now)
            armed[number] = False
    run.tick(_seconds(now + 20))
    assert not run.state
