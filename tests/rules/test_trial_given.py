"""What tests of rules can give and expect: modes, lists, the sun, some orders, and rules that do not fire."""

from __future__ import annotations

from textwrap import dedent, indent
from typing import Any

import jsonschema
import pytest

from bridge.sdk import Known, parse_moment, parse_yaml
from rules.compiler import compile_rules
from rules.jsonschema import rule_schema
from rules.ruleset import Documents, SiteSettings
from rules.trial import TrialResult, run_trials
from rules.trialreader import site_of_tests
from tests.rules.support import ACTIONS, problems_of, rules_of

RULES = """
lists:
  visitors: {plates: [AA1]}
rules:
  - id: gate
    when: {kind: plate.read, channel: 1}
    match: {plate: {in: visitors}, score: {at_least: 90}}
    mode: {not: away}
    cooldown: 30s
    then:
      - open: main-gate
      - clip: {before: 5s, as: entry}
      - webhook: {to: backoffice, with: entry, wait: 1m, if: 'steps.entry.outcome == "done"'}
  - id: answered
    when: {absent: {kind: call.ended}, after: {kind: call.started}, within: 60s}
    then: [{mqtt: {topic: escalate}}]
  - id: mode-told
    when: {kind: mode.changed}
    then: [{mqtt: {topic: "mode/{{ event.data.mode }}"}}]
"""
READ = "{kind: plate.read, channel: 1, data: {plate: AA1, score: 95}}"
READ_B = "{kind: plate.read, channel: 1, data: {plate: BB2, score: 95}}"
DONE = "[{open: main-gate}, {clip: {}}, {webhook: {}}]"


def _results(tests: str, rules: str = RULES, **more: Any) -> list[TrialResult]:
    compiled = rules_of(dedent(rules) + "tests:\n" + indent(dedent(tests), "  "), **more)
    return run_trials(compiled, ACTIONS)


def _failing(tests: str, rules: str = RULES, **more: Any) -> list[str]:
    return [str(result) for result in _results(tests, rules, **more) if not result.passed]


SUNS = """
rules:
  - id: sun
    when: {at: sunset}
    then: [{mqtt: {topic: sun, payload: "{{ local(event.time) }}"}}]
tests:
  - name: fixed
    at: 2026-01-10T12:00:00
    site: {zone: Europe/Berlin, sunrise: "06:00", sunset: "18:30"}
    given: [{wait: 24h}]
    expect: [{mqtt: {payload: "2026-01-10 18:30:00"}}]
  - name: a place of its own
    at: 2026-06-21T12:00:00
    site: {zone: Asia/Seoul, latitude: 37.5, longitude: 127}
    given: [{wait: 24h}]
    expect: [{mqtt: {}}]
    expect_not: [{mqtt: {payload: "2026-06-21 18:30:00"}}]
  - name: where there is none
    at: 2026-06-21T12:00:00
    site: {zone: Europe/Oslo, latitude: 69.65, longitude: 18.95}
    given: [{wait: 24h}]
    expect: []
  - name: neither sun nor place
    at: 2026-06-21T12:00:00
    site: {zone: Asia/Seoul}
    given: [{wait: 24h}]
    expect: [{mqtt: {payload: "2026-06-21 18:30:00"}}]
"""


def test_each_test_has_the_sun_where_it_says() -> None:
    """A file by itself has the sun where its first test with a `site` has it; one that names a place its own."""
    documents = Documents({"r.yaml": SUNS}, trees={"r.yaml": parse_yaml(SUNS, "r.yaml")})
    compiled = compile_rules(documents, ACTIONS, Known(), site_of_tests(documents))
    assert [str(result) for result in run_trials(compiled, ACTIONS) if not result.passed] == []


PASSING = f"""
- name: a mode that is set on the way, and told as an event
  given: [{{mode: away}}, {READ}, {{mode: home}}, {READ}]
  expect: [{{mqtt: {{topic: mode/away}}}}, {{mqtt: {{topic: mode/home}}}}, {{open: }}, {{clip: }}, {{webhook: }}]
- name: who is added is let in, until it ends
  given: [{READ_B}, {{list: visitors, add: bb2, for: 1m}}, {READ_B}, {{wait: 1m}}, {READ_B}]
  expect: {DONE}
- name: until a time of the site's zone
  at: 2026-01-05T12:00:00
  given:
    [{{list: visitors, add: [BB2, CC3], until: "2026-01-05T12:01:00"}}, {{wait: 59s}}, {READ_B}, {{wait: 1m}}, {READ_B}]
  expect: {DONE}
- name: who is removed stays out, and comes back
  given: [{{list: visitors, remove: AA1}}, {READ}, {{list: visitors, reset: AA1}}, {READ}]
  expect: {DONE}
- name: a list as it is when the test begins
  lists: {{visitors: BB2}}
  given: [{READ}, {{wait: 1m}}, {READ_B}]
  expect: [{{open: }}, {{clip: }}, {{webhook: }}, {{open: }}, {{clip: }}, {{webhook: }}]
- name: a list without one of its own when the test begins
  lists: {{visitors: {{remove: [AA1]}}}}
  given: [{READ}]
  expect: []
- name: what is repeated is the event, not what changed since
  given: [{READ_B}, {{list: visitors, add: BB2, for: 10s}}, {{wait: 9s}}, {{repeat: 1}}, {{wait: 1m}}, {{repeat: 1}}]
  expect: {DONE}
- name: some of the orders, in their order
  given: [{READ}]
  expect_some: [{{open: main-gate}}, {{webhook: backoffice}}]
- name: orders of one rule
  given: [{READ}, {{mode: home}}]
  expect_some: [{{open: main-gate, rule: gate}}, {{mqtt: , rule: mode-told}}]
- name: why it does not fire again
  given: [{READ}, {{wait: 10s}}, {READ}]
  expect_unmet: [{{rule: gate, by: cooldown, seen: 20s left, times: 1}}]
- name: a field, with what was wanted and seen
  given: [{{kind: plate.read, channel: 1, data: {{plate: AA1, score: 80}}}}]
  expect: []
  expect_unmet: [{{rule: gate, by: match.score, wanted: at least 90, seen: 80, times: 1}}]
- name: another channel
  given: [{{kind: plate.read, channel: 2, data: {{plate: AA1, score: 95}}}}]
  expect_unmet: [{{rule: gate, by: when.channel, seen: 2}}]
- name: a mode that does not let it
  mode: away
  given: [{READ}]
  expect_unmet: [{{rule: gate, by: mode, seen: away}}]
- name: nobody can know
  given: [{{kind: call.started}}, {{wait: 20s}}, {{kind: source.lost}}, {{wait: 2m}}]
  expect: []
  expect_unmet: [{{rule: answered, by: inconclusive}}]
- name: it was answered
  given: [{{kind: call.started}}, {{wait: 20s}}, {{kind: call.ended}}, {{wait: 2m}}]
  expect_unmet: [{{rule: answered, by: when, seen: it was followed in time}}]
"""


def test_what_is_given_and_expected() -> None:
    """Modes and lists, at the start and in between; some orders; reasons for not firing, inconclusive ones too."""
    assert _failing(PASSING) == []
    assert _failing(PASSING, site=SiteSettings("Asia/Seoul")) == []


def test_the_schema_takes_what_tests_say() -> None:
    """An editor marks nothing that is right."""
    tree = parse_yaml(dedent(RULES) + "tests:\n" + indent(dedent(PASSING), "  "), "r.yaml")
    assert list(jsonschema.Draft202012Validator(rule_schema(ACTIONS)).iter_errors(tree.value)) == []


SUN = """
rules:
  - {id: lamp, when: {at: sunset-10m, max_lateness: 30s}, then: [{relay: {output: lamp, state: pulse}}]}
  - {id: dark, when: {kind: motion.started}, during: {from: sunset, to: sunrise}, then: [{clip: {}}]}
"""
SUN_TESTS = """
- name: in Berlin the sun is gone at half past four in December
  site: {zone: Europe/Berlin, latitude: 52.52, longitude: 13.4}
  at: 2026-12-21T15:30:00
  given: [{kind: motion.started}, {wait: 1h}, {repeat: 1}]
  expect: [{relay: {}}, {clip: {}}]
- name: in Singapore it is not
  site: {zone: Asia/Singapore, latitude: 1.35, longitude: 103.8}
  at: 2026-12-21T15:30:00
  given: [{kind: motion.started}, {wait: 1h}, {repeat: 1}]
  expect: []
- name: a sun that sets when one says
  site: {sunrise: "06:00", sunset: "20:00"}
  at: 2026-06-21T19:49:59
  given: [{wait: 1s}, {kind: motion.started}, {wait: 10m}, {repeat: 1}, {wait: 10h}, {repeat: 1}]
  expect: [{relay: lamp}, {clip: {}}]
"""


def test_a_test_plays_where_it_says() -> None:
    """Zone, latitude and longitude, or the sun itself, whatever the site is."""
    assert _failing(SUN_TESTS, SUN, site=SiteSettings("UTC", 0.0, 0.0)) == []


def test_a_site_far_north_and_one_without_the_sun() -> None:
    """Who has no position is told so; a test does not stand in for it unless it is asked to."""
    with pytest.raises(Exception, match="need the site's `latitude`"):
        _results(SUN_TESTS, SUN)


BAD = [
    (
        f"{{name: t, given: [{READ}], expect_unmet: [{{rule: gaet, by: cooldown}}]}}",
        "unknown rule of this file 'gaet'; did you mean 'gate'?",
    ),
    (
        f"{{name: t, given: [{READ}], expect_unmet: [{{rule: gate, by: coldown}}]}}",
        "unknown condition of rule gate 'coldown'; did you mean 'cooldown'?",
    ),
    (
        f"{{name: t, given: [{READ}], expect_unmet: [{{rule: gate, by: limit}}]}}",
        "unknown condition of rule gate 'limit'; known: cooldown",
    ),
    (f"{{name: t, given: [{READ}], expect: [{{open: , rule: gaet}}]}}", "did you mean 'gate'?"),
    (f"{{name: t, given: [{READ}], expect: [], expect_some: [{{open: }}]}}", "`expect` says all orders"),
    ("{name: t, given: [{list: visitor, add: A}], expect: []}", "unknown list 'visitor'; did you mean 'visitors'?"),
    ("{name: t, given: [{list: visitors}], expect: []}", "changes nothing; give `add`"),
    ("{name: t, given: [{list: visitors, add: A, for: 1s, until: 2026-01-01T00:00:00}], expect: []}", "not both"),
    ("{name: t, given: [{list: visitors, add: A, until: noon}], expect: []}", "'noon' is not a time"),
    ("{name: t, lists: {visitor: A}, given: [{wait: 1s}], expect: []}", "unknown list 'visitor'; did you mean"),
    ("{name: t, given: [{mode: a, channel: 1}], expect: []}", "unknown key `channel`"),
    ("{name: t, site: {zone: Europe/Berlni}, given: [{wait: 1s}], expect: []}", "did you mean 'Europe/Berlin'?"),
    ("{name: t, site: {latitude: 1}, given: [{wait: 1s}], expect: []}", "`latitude` and `longitude` belong together"),
    ('{name: t, site: {sunrise: "20:00", sunset: "06:00"}, given: [{wait: 1s}], expect: []}', "before `sunset`"),
    ("{name: t, given: [{repeat: 1}], expect: []}", "sends the event before once more"),
]


@pytest.mark.parametrize(("test", "message"), BAD, ids=[message for _, message in BAD])
def test_a_mistake_in_a_test_has_its_message(test: str, message: str) -> None:
    """With the nearest name; a test that cannot hold what it says is none."""
    [problem] = problems_of(dedent(RULES) + f"tests:\n  - {test}\n")
    assert problem.startswith("r.yaml:21:")
    assert message in problem


def test_modes_and_steps_that_there_are_none_of_are_told() -> None:
    """Modes where the site says which there are; a step's end that nobody has only changes nothing."""
    test = f"tests: [{{name: t, mode: awya, given: [{{mode: hmoe}}, {READ}], expect_not: [{{relay: }}]}}]\n"
    assert problems_of(dedent(RULES) + test) == []
    found = problems_of(dedent(RULES) + test, known=Known(modes=frozenset({"home", "away"})))
    assert [problem.rpartition(";")[2] for problem in found] == [" did you mean 'away'?", " did you mean 'home'?"]
    test = f"tests: [{{name: t, given: [{READ}], results: {{enrty: {{}}}}, expect_not: [{{relay: }}]}}]\n"
    [warning] = rules_of(dedent(RULES) + test).warnings
    assert "unknown step of this file 'enrty'; did you mean 'entry'?" in str(warning)


def test_names_of_rules_with_mistakes_are_not_told_twice() -> None:
    """A rule that cannot be read is missing for tests too, and that is not the tests' mistake."""
    test = f"tests: [{{name: t, given: [{READ}], expect_unmet: [{{rule: gate, by: cooldown}}]}}]\n"
    [problem] = problems_of(dedent(RULES).replace("cooldown: 30s", "cooldown: 30") + test)
    assert "rule gate" in problem


# --- differences -----------------------------------------------------------------------------------------


def _told(test: str, rules: str = RULES) -> list[str]:
    [result] = _results(f"- {{name: t, {test}}}\n", rules)
    return list(result.difference)


def test_a_missing_order_says_why_the_rule_did_not_fire() -> None:
    """The look that came nearest, with the value seen and the event."""
    wrong = "{kind: plate.read, channel: 2, data: {plate: AA1, score: 95}}"
    assert _told(f"given: [{wrong}], expect: [{{open: }}]") == [
        "- open {} was expected",
        "    rule gate did not fire: when.channel: wanted 1, saw 2 (given[0] plate.read)",
    ]
    blurred = "{kind: plate.read, channel: 1, data: {plate: AA1, score: 80}}"
    assert _told(f"given: [{wrong}, {blurred}], expect: [{{open: }}]") == [
        "- open {} was expected",
        "    rule gate did not fire: match.score: wanted at least 90, saw 80.0 (given[1] plate.read)",
    ]
    assert _told("given: [{wait: 1s}], expect: [{open: }]")[1:] == [
        "    rule gate did not fire: there was no plate.read"
    ]
    assert _told("given: [{wait: 1s}], expect: [{relay: }]")[1:] == ["    no rule of this file orders `relay`"]
    assert _told("given: [{wait: 1s}], expect: [{open: garage}]")[1:] == [
        "    no rule of this file orders `open` like this",
        "    rule gate did not fire: there was no plate.read",
    ]


def test_a_missing_step_says_what_became_of_it() -> None:
    """It waits, or its own condition did not hold."""
    some = "expect: [{open: }, {clip: }, {webhook: }]"
    waits = _told(f"given: [{READ}], results: {{entry: {{outcome: pending}}}}, {some}")
    assert waits == [
        "  open {}",
        "  clip {}",
        "- webhook {} was expected",
        "    rule gate fired, and then[2] webhook still waits",
    ]
    left_out = _told(f"given: [{READ}], results: {{entry: {{outcome: dead}}}}, {some}")
    assert left_out[-1] == "    rule gate resumed from given[0] plate.read: then[2] webhook: `if` did not hold"


def test_parameters_that_differ_stand_side_by_side() -> None:
    """Only those, as the action reads them, however deep."""
    told = _told(f"given: [{READ}], expect: [{{open: }}, {{clip: {{before: 7s, channels: [3]}}}}, {{webhook: }}]")
    assert told == [
        "  open {}",
        "~ clip was ordered by rule gate from given[0] plate.read",
        "              expected  came",
        '    channels  ["3"]     []',
        '    before    "7s"      "5s"',
        "  webhook {}",
    ]


def test_some_orders_that_are_missing_are_told_without_the_others() -> None:
    """What else was ordered is no difference."""
    told = _told(f"given: [{READ}], expect_some: [{{webhook: }}, {{open: main-gate}}]")
    elsewhere = "    rule gate fired, and ordered it less often, or in another place"
    assert told[:2] == ["- webhook {} was expected", elsewhere]
    assert told[-1] == '  open {"door": "main-gate"}'
    assert not any(line.startswith("+") for line in told)


def test_a_reason_that_was_another_shows_how_the_rule_looked() -> None:
    """Fired, or not for what was said."""
    told = _told(f"given: [{READ}, {READ}], expect_unmet: [{{rule: gate, by: mode}}]")
    rested = "rested until 2026-01-05 12:00:30+00:00"
    assert told == [
        "- rule gate not to fire by mode was expected",
        "    rule gate fired from given[0] plate.read",
        f"    rule gate did not fire: cooldown: wanted {rested}, saw 30s left (given[1] plate.read)",
    ]
    told = _told(f"given: [{READ}, {READ}], expect_unmet: [{{rule: gate, by: cooldown, times: 2}}]")
    assert told[0] == "- rule gate not to fire by cooldown was expected 2 times, and it was 1 times"


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("{nvr1/1: {stauts: disconnected}}", "`state` of 'nvr1/1': unknown attribute 'stauts'; did you mean 'status'?"),
        ("{nvr1/1: {status: down}}", "`state` of 'nvr1/1': `status` is never 'down'"),
        ("{nvr1/1: {recording: 'yes'}}", "`state` of 'nvr1/1': `recording` is never 'yes'"),
        ("{nvr1/P1: {count: '3'}}", "`state` of 'nvr1/P1': `count` is never '3'"),
        ("{bridge: {mod: home}}", "`state` of 'bridge': unknown attribute of bridge 'mod'; did you mean 'mode'?"),
        ("{bridge: {mode: hoem}}", "`state` of 'bridge': unknown mode 'hoem'; did you mean 'home'?"),
        ("{nvr1/1: {status: disconnected, motion: on, recording: true, name: null}}", None),
        ("{nvr1: {link: down}, nvr1/P1: {count: -1}, rules/garage: {door: {a: 1}}, bridge: {mode: home}}", None),
    ],
)
def test_what_is_known_at_first_is_such_as_is_told(state: str, why: str | None) -> None:
    """A misspelt attribute would be green where nothing is expected, whatever the rule says."""
    rule = "{id: r, when: {kind: motion.started}, then: [{webhook: x}]}"
    test = f"{{name: t, state: {state}, given: [{{kind: motion.started}}], expect: []}}"
    found = problems_of(f"rules: [{rule}]\ntests: [{test}]", known=Known(modes=frozenset({"home"})))
    assert [one.partition("test 't': ")[2] for one in found] == ([why] if why else [])


@pytest.mark.parametrize("otherwise", ["seen: 81", "seen: null", "wanted: at least 91", "key: AA1", "times: 2"])
def test_a_reason_is_compared_in_all_that_is_said_of_it(otherwise: str) -> None:
    """What was wanted, what was seen, for which key, how often."""
    blurred = "{kind: plate.read, channel: 1, data: {plate: AA1, score: 80}}"
    assert _told(f"given: [{blurred}], expect_unmet: [{{rule: gate, by: match.score}}]") == []
    told = _told(f"given: [{blurred}], expect_unmet: [{{rule: gate, by: match.score, {otherwise}}}]")
    assert told[1:] == [
        "    rule gate did not fire: match.score: wanted at least 90, saw 80.0 (given[0] plate.read)",
    ]


@pytest.mark.parametrize("parts", [(1, 2), (2, 1)])
def test_of_several_events_that_a_rule_waits_for_the_nearest_is_told(parts: tuple[int, int]) -> None:
    """That it might also have been another channel helps nobody."""
    some = ", ".join(f"{{kind: plate.read, channel: {n}, match: {{score: {{at_least: 90}}}}}}" for n in parts)
    rules = f"rules: [{{id: r, when: {{any: [{some}]}}, then: [{{open: main-gate}}]}}]\n"
    blurred = "{kind: plate.read, channel: 1, data: {plate: AA1, score: 80}}"
    assert _told(f"given: [{blurred}], expect_unmet: [{{rule: r, by: match.score, times: 1}}]", rules) == []


def test_a_rule_in_shadow_says_so() -> None:
    """It fires and orders nothing; who expects otherwise is told."""
    told = _told(f"given: [{READ}], expect: [{{open: }}]", RULES.replace("- id: gate", "- id: gate\n    shadow: true"))
    assert told[1] == "    rule gate is in shadow: it fired from given[0] plate.read, and orders nothing"


def test_a_leap_second_is_a_time() -> None:
    """`23:59:60` is the second after it, with or without zone, wherever a file writes a time."""
    rules = """
    lists: {guests: {plates: guests.csv}}
    rules:
      - id: r
        when: {kind: plate.read}
        match: {plate: {in: guests}, first_seen: {at_least: "2016-12-31T23:59:60Z"}}
        then: [{mqtt: {topic: "{{ string(event.time) }}"}}]
    tests:
      - name: of the world
        at: 2016-12-31T23:59:50Z
        given:
          - {kind: plate.read, time: "2016-12-31T23:59:60.5Z", data: {plate: A1, first_seen: "2016-12-31T23:59:60Z"}}
        expect: [{mqtt: {topic: "2017-01-01T00:00:00.500000Z"}}]
      - name: of the site
        at: 2016-12-31T23:59:60
        given:
          - {kind: plate.read, data: {plate: A1, first_seen: "2017-01-01T05:29:60+05:30"}}
          - {kind: plate.read, data: {plate: A1, first_seen: "2016-12-31T23:59:59Z"}}
        expect: [{mqtt: {topic: "2017-01-01T00:00:00Z"}}]
    """
    table = "plate,valid_from,valid_until\nA1,2016-12-31 23:59:60,2017-01-02\n"
    assert [str(one) for one in run_trials(rules_of(rules, guests=table), ACTIONS) if not one.passed] == []


@pytest.mark.parametrize(
    "text", ["2016-12-31T23:59:61Z", "2016-12-31T23:60:60Z", "2016-12-31T24:59:60Z", "23:59:60", "60"]
)
def test_what_only_looks_like_one_is_none(text: str) -> None:
    """There is no 61st second."""
    with pytest.raises(ValueError, match=r".+"):
        parse_moment(text)
