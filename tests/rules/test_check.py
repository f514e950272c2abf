"""What is wrong in a rule file: every mistake at once, each at its place, in words that help."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.sdk import Known, RuleCompileError
from rules.compiler import compile_rules
from rules.load import load_documents
from rules.ruleset import Documents, SiteSettings
from tests.rules.support import ACTIONS, KNOWN, problems_of, rules_of

UNITS = "write a number with its unit: 250ms, 30s, 5m, 1h30m, 7d"
SUN = "sunrise and sunset need the site's `latitude` and `longitude` in bridge.yaml"
TEN_MISTAKES = """\
lists:
  residents: {plates: residents.csv}
schedules:
  night: {from: "22:00", to: "6:00"}
rules:
  - id: gate
    when: {kind: plate.read, sorce: nvr1}
    match:
      plaet: {in: residents}
      score: {at_least: high}
    during: nigt
    then:
      - open: main-gat
      - webhook: {to: backoffice, with: clip}
  - id: gate
    when: {kind: plate.raed}
    cooldown: 30
    then:
      - opn: main-gate
"""


def test_ten_mistakes_are_reported_in_one_run_with_their_places() -> None:
    """A file with ten different mistakes names all ten, in the order of the file."""
    assert problems_of(TEN_MISTAKES, known=KNOWN, residents="plate\n12AB345\n") == [
        "r.yaml:4:30: schedule night: `to`: '6:00' is not a time of day; write \"22:00\", sunset or sunrise+30m",
        "r.yaml:7:30: rule gate: unknown key `sorce`; did you mean `source`?",
        "r.yaml:9:7: rule gate: unknown field of plate.read 'plaet'; did you mean 'plate'?",
        "r.yaml:10:25: rule gate: `score`: it is a number, and 'high' is not",
        "r.yaml:11:13: rule gate: `during`: unknown schedule 'nigt'; did you mean 'night'?",
        "r.yaml:13:15: rule gate: `open`: unknown door 'main-gat'; did you mean 'main-gate'?",
        "r.yaml:14:41: rule gate: `with`: unknown earlier step 'clip'; known: none",
        "r.yaml:15:9: rule gate: id 'gate' exists already, in r.yaml line 6",
        "r.yaml:16:18: rule gate: unknown kind 'plate.raed'; did you mean 'plate.read'?",
        f"r.yaml:17:15: rule gate: `cooldown`: 30 is not a duration; {UNITS}",
        "r.yaml:19:9: rule gate: unknown action 'opn'; did you mean 'open'?",
    ]


def _rule(**parts: str) -> str:
    """Return a file with one good rule, some parts replaced or added."""
    lines = {"id": "r", "when": "{kind: plate.read}", "then": "[{open: main-gate}]", **parts}
    first, *rest = [f"{key.rstrip('_')}: {value}" for key, value in lines.items() if value]
    return "rules:\n  - " + "\n    ".join([first, *rest]) + "\n"


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"id": ""}, "r.yaml:2:5: rule #1: `id` is missing"),
        (
            {"id": "a b"},
            "r.yaml:2:9: rule a b: `id`: 'a b' is not a name; use letters, digits, `-`, `_` and `.`, at most 64",
        ),
        ({"when": ""}, "r.yaml:2:5: rule r: `when` is missing"),
        ({"when": "plate.read"}, "r.yaml:3:11: rule r: `when`: must be a mapping, got 'plate.read'"),
        ({"when": "{source: nvr1}"}, "r.yaml:3:11: rule r: `kind` is missing in `when`"),
        (
            {"when": "{kind: bridge.tick}"},
            "r.yaml:3:18: rule r: bridge.tick is the engine's own; no rule can wait for it",
        ),
        (
            {"when": "{kind: plate.read, source: [nvr1, nvr3]}"},
            "r.yaml:3:45: rule r: unknown source 'nvr3'; did you mean 'nvr2'?",
        ),
        (
            {"when": "{kind: plate.read, source: nvr2, channel: 1}"},
            "r.yaml:3:53: rule r: unknown channel '1'; known: 7 (of nvr2)",
        ),
        (
            {"when": "{kind: plate.read, include: backfill}"},
            "r.yaml:3:39: rule r: `when.include`: must be 'resync' or 'inconclusive', got 'backfill'",
        ),
        ({"when": "{evry: '0 6 * * *'}"}, "r.yaml:3:12: rule r: unknown key `evry`; did you mean `every`?"),
        ({"per": "chanel"}, "r.yaml:5:10: rule r: `per`: 'chanel' is no field of plate.read; did you mean 'channel'?"),
        (
            {"then": "[{open: main-gate, iff: 'true'}]"},
            "r.yaml:4:30: rule r: unknown key `iff`; did you mean `if`?",
        ),
        ({"match": "{lot: x}"}, "r.yaml:5:13: rule r: `lot` has fields of its own; name one: lot.entrance, lot.exit"),
        (
            {"match": "{lot.entrnce: x}"},
            "r.yaml:5:13: rule r: unknown field of plate.read lot 'entrnce'; did you mean 'entrance'?",
        ),
        ({"match": "{direction: in}"}, "r.yaml:5:24: rule r: `direction`: unknown value 'in'; known: entry, exit"),
        (
            {"match": "{score: {atleast: 90}}"},
            "r.yaml:5:21: rule r: `score`: unknown operator `atleast`; did you mean `at_least`?",
        ),
        (
            {"match": "{plate: {at_least: 3}}"},
            "r.yaml:5:31: rule r: `plate`: it is text, which has no order; only numbers and times have",
        ),
        ({"when": "{kind: motion.started}", "match": "{sore: 3}"}, "r.yaml:5:13: rule r: motion.started has no fields"),
        (
            {"when": "{kind: rule.fired}"},
            "r.yaml:3:18: rule r: no event tells that a rule fired: wait for what it does, its `emit`, or",
        ),
        ({"match": "{score: {regex: a}}"}, "r.yaml:5:28: rule r: `score`: it is a number; `regex` looks at texts"),
        ({"match": "{plate: 1.5}"}, "r.yaml:5:20: rule r: `plate`: it is text, and 1.5 is not; put it in quotes"),
        ({"match": "{plate: null}"}, "r.yaml:5:20: rule r: `plate`: it is text, and nothing is not; put it in quotes"),
        ({"match": "{plate: {}}"}, "r.yaml:5:20: rule r: `plate`: say what it must be, for instance {equals: ...}"),
        ({"match": "{plate: {in: residents}}"}, "r.yaml:5:25: rule r: `plate`: unknown list 'residents'; known: none"),
        ({"match": "{plate: {in: []}}"}, "r.yaml:5:25: rule r: `plate`: `in` must not be empty"),
        (
            {"match": "{score: {between: [5]}}"},
            "r.yaml:5:30: rule r: `score`: `between` takes two values: [from, to], both included",
        ),
        (
            {"match": "{score: {between: [9, 5]}}"},
            "r.yaml:5:30: rule r: `score`: `between` has its ends the wrong way round: 9 is above 5",
        ),
        (
            {"match": "{plate: {regex: '(?=a)'}}"},
            "r.yaml:5:28: rule r: `plate`: not a pattern of RE2: invalid perl operator: (?=",
        ),
        ({"match": "{plate: {exists: maybe}}"}, "r.yaml:5:29: rule r: `plate`: `exists` is true or false, got 'maybe'"),
        ({"if_": "event.data.score >"}, "r.yaml:5:9: rule r: `if`: at character 19: mismatched input '<EOF>'"),
        (
            {"if_": "event.data.scor > 9"},
            "r.yaml:5:9: rule r: `if`: unknown field of event.data 'scor'; did you mean 'score'?",
        ),
        (
            {"when": "{kind: motion.started}", "if_": "event.data.foo == 3"},
            "r.yaml:5:9: rule r: `if`: unknown field of event.data 'foo'; known: none",
        ),
        (
            {"if_": "event.dat.score > 9"},
            "r.yaml:5:9: rule r: `if`: unknown attribute of event 'dat'; did you mean 'data'?",
        ),
        ({"if_": "steps.x.path == ''"}, "r.yaml:5:9: rule r: `if`: unknown name 'steps'; known: event, key, rule"),
        ({"if_": "stat('a', 'b') == 'on'"}, "r.yaml:5:9: rule r: `if`: unknown function 'stat'; did you mean 'state'?"),
        (
            {"if_": "state('nvr9/1', 'motion') == 'on'"},
            "r.yaml:5:9: rule r: `if`: state('nvr9/1', 'motion'): unknown source 'nvr9'; did you mean 'nvr2'?",
        ),
        (
            {"during": "{from: sunset, to: sunrise}"},
            f"r.yaml:5:13: rule r: `during`: {SUN}",
        ),
        ({"during": "{from: '22:00'}"}, "r.yaml:5:13: rule r: `during`: `from` and `to` belong together"),
        ({"during": "{not: nights}"}, "r.yaml:5:19: rule r: `during`: unknown schedule 'nights'; known: none"),
        (
            {"during": "{days: mo-fr}"},
            "r.yaml:5:20: rule r: `during.days`: 'mo-fr' is not a day; write mon, or mon-fri, or [sat, sun]",
        ),
        ({"per": "plat"}, "r.yaml:5:10: rule r: `per`: unknown field of plate.read 'plat'; did you mean 'plate'?"),
        (
            {"per": "[plate, devise]"},
            "r.yaml:5:18: rule r: `per`: unknown field of plate.read 'devise'; did you mean 'device'?",
        ),
        ({"cooldown": "0s"}, "r.yaml:5:15: rule r: `cooldown`: must be longer than nothing"),
        ({"priority": "high"}, "r.yaml:5:15: rule r: `priority`: must be a whole number, got 'high'"),
        ({"enabled": "on"}, "r.yaml:5:14: rule r: `enabled`: must be true or false, got 'on'"),
        ({"then": ""}, "r.yaml:2:5: rule r: `then` is missing"),
        ({"then": "[]"}, "r.yaml:4:11: rule r: `then` must say what to do: at least one action"),
        (
            {"then": "[open]"},
            "r.yaml:4:12: rule r: a step is an action and its parameters, like `open: main-gate`; got 'open'",
        ),
        (
            {"then": "[{open: a, clip: {}}]"},
            "r.yaml:4:12: rule r: a step has one action, here are `open` and `clip`; start each with its own `-`",
        ),
        ({"then": "[{mqtt: a/b}]"}, "r.yaml:4:19: rule r: `mqtt` takes a mapping of parameters, got 'a/b'"),
        ({"then": "[{open: {}}]"}, "r.yaml:4:19: rule r: `door` is missing"),
        (
            {"then": "[{clip: {before: 5}}]"},
            f"r.yaml:4:28: rule r: `before`: 5 is not a duration; {UNITS}",
        ),
        ({"then": "[{open: '{{ key }}'}]"}, "r.yaml:4:19: rule r: `open`: `door` takes no {{ }}"),
        ({"then": "[{mqtt: {topic: 'a/{{ event.type '}}]"}, "r.yaml:4:27: rule r: `mqtt`: `{{` without `}}`"),
        (
            {"then": "[{mqtt: {topic: 'a/{{ evnt.type }}'}}]"},
            "r.yaml:4:27: rule r: `mqtt`: {{ evnt.type }}: unknown name 'evnt'; did you mean 'event'?",
        ),
        ({"then": "[{clip: {as: a}}, {clip: {as: a}}]"}, "r.yaml:4:41: rule r: `as`: a step named 'a' exists already"),
        (
            {"then": "[{clip: {as: 'a b'}}]"},
            "r.yaml:4:24: rule r: `as`: 'a b' is not a name for a step; use letters, digits and `_`",
        ),
        (
            {"then": "[{webhook: {to: backoffice, wait: 5s}}]"},
            "r.yaml:4:39: rule r: `wait` is the longest wait for `with`, which is missing here",
        ),
        (
            {"then": "[{clip: {as: a}}, {webhook: {to: backoffice, with: a, wait: 5}}]"},
            "r.yaml:4:71: rule r: `wait`: 5 is not a duration; write a number with its unit: 30s, 5m",
        ),
        (
            {"then": "[{open: main-gate, if: 3}]"},
            "r.yaml:4:34: rule r: `if`: must be a CEL expression in quotes, got 3",
        ),
    ],
    ids=str,
)
def test_a_mistake_has_its_message(parts: dict[str, str], problem: str) -> None:
    """One mistake gives one line, at the place where it is."""
    found = problems_of(_rule(**parts), known=KNOWN)
    assert [line[: len(problem)] for line in found] == [problem]


def test_a_list_is_not_called_empty_for_its_items() -> None:
    """An item that is wrong is missed by the whole it belongs to; that is told once."""
    when = "{sequence: [{kind: motion.started}, {nott: {kind: motion.ended}}], within: 3s}"
    found = problems_of(_rule(when=when))
    assert [problem.partition(": rule r: ")[2] for problem in found] == [
        "`kind` is missing in `when.sequence.1`",
        "unknown key `nott`; did you mean `not`?",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "- a\n",
            "r.yaml:1:1: a rule file is a mapping with lists, holidays, schedules, templates, rules, tests; got a list",
        ),
        ("rule: []\n", "r.yaml:1:1: unknown key `rule`; did you mean `rules`?"),
        ("rules: {}\n", "r.yaml:1:8: `rules` is a list, each rule starting with `- id:`; got a mapping"),
        ("rules: [3]\n", "r.yaml:1:9: rule #1: must be a mapping, got 3"),
        ("lists: [a]\n", "r.yaml:1:8: `lists` is a mapping of names, got a list"),
        ("lists: {a: {}}\n", "r.yaml:1:12: list a: give `plates` or `values`"),
        (
            "lists: {a: {plates: a.csv}}\n",
            "r.yaml:1:21: list a: 'a.csv' is no file beside this one; give a relative path",
        ),
        ("schedules: {a: {}}\n", "r.yaml:1:16: schedule a: is empty; give `from` and `to`, or `days`"),
        (
            "schedules: {a: {days: mon-sun}}\n",
            "r.yaml:1:16: schedule a: all days, all day, is no limit; leave it out, or give `from` and `to`",
        ),
        ("schedules: {a: []}\n", "r.yaml:1:16: schedule a: a schedule has at least one window"),
        (
            "schedules: {a: {from: '08:00', to: '08:00'}}\n",
            "r.yaml:1:16: schedule a: `from` and `to` are the same time; for whole days give `days` alone",
        ),
        (
            "tests: [{name: t, given: [{wait: 1s}]}]\n",
            "r.yaml:1:9: test 't': give `expect`, `expect_some`, `expect_not` or `expect_unmet`; `expect: []` means",
        ),
        (
            "tests: [{name: t, given: [{repeat: 1}], expect: []}]\n",
            "r.yaml:1:27: test 't': `repeat` sends the event before once more, and there is none",
        ),
        (
            "tests: [{name: t, given: [{kind: plate.raed}], expect: []}]\n",
            "r.yaml:1:34: test 't': unknown kind 'plate.raed'; did you mean 'plate.read'?",
        ),
        (
            "tests: [{name: t, given: [{wait: 1s}], expect: [{opn: x}]}]\n",
            "r.yaml:1:50: test 't': unknown action 'opn'; did you mean 'open'?",
        ),
        (
            "tests: [{name: t, given: [{wait: 1s}], expect: [{open: {dor: x}}]}]\n",
            "r.yaml:1:57: test 't': unknown key `dor`; did you mean `door`?",
        ),
        (
            "tests: [{name: t, at: noon, given: [{wait: 1s}], expect: []}]\n",
            "r.yaml:1:23: test 't': 'noon' is not a time; write 2026-01-31T18:00:00, with +01:00 or in the site's zone",
        ),
        (
            "tests: [{name: t, given: [{kind: motion.started, origin: lve}], expect: []}]\n",
            "r.yaml:1:58: test 't': unknown origin 'lve'; did you mean 'live'?",
        ),
        (
            "tests: [{name: t, given: [{kind: parking.count, data: {count: many}}], expect: []}]\n",
            "r.yaml:1:63: test 't': `count`: must be",
        ),
    ],
)
def test_a_mistake_outside_of_rules_has_its_message(text: str, problem: str) -> None:
    """Lists, schedules and tests are checked as closely as rules."""
    found = problems_of(text)
    assert [line[: len(problem)] for line in found] == [problem]


def test_a_broken_yaml_value_gives_no_second_message() -> None:
    """What follows from a mistake in the YAML itself is not reported again."""
    text = _rule(id="*x")
    said = "rules[0].id: aliases are not allowed; quote the text, or write out *x"
    assert problems_of(text) == [f"r.yaml:2:9: {said}"]


def test_names_belong_to_all_files_and_are_unique_among_them() -> None:
    """A rule id or list that exists in another file is refused with the place of the first."""
    rule = _rule()
    with pytest.raises(RuleCompileError) as caught:
        compile_rules(Documents({"a.yaml": rule, "b.yaml": rule}), ACTIONS, Known(), SiteSettings())
    assert [str(problem) for problem in caught.value.problems] == [
        "b.yaml:2:9: rule r: id 'r' exists already, in a.yaml line 2"
    ]


def test_a_list_of_one_file_can_be_used_in_another() -> None:
    """Lists and schedules are shared by all rule files."""
    files = {"a.yaml": "lists: {l: {plates: [A]}}\n", "b.yaml": _rule(match="{plate: {in: l}}")}
    assert compile_rules(Documents(files), ACTIONS, Known(), SiteSettings()).warnings == ()


def test_what_no_rule_uses_is_a_warning_and_no_error() -> None:
    """An unused list or schedule does not stop the file."""
    rules = rules_of("lists: {l: {plates: [A]}}\nschedules: {s: {days: mon}}\n")
    assert [str(warning) for warning in rules.warnings] == [
        "r.yaml:1:9: list l: no rule uses it",
        "r.yaml:2:13: schedule s: no rule uses it",
    ]


def test_what_is_not_known_here_is_not_checked() -> None:
    """Without knowledge of the site any source, channel and door is taken."""
    assert problems_of(_rule(when="{kind: plate.read, source: x, channel: 99}", then="[{open: y}]")) == []


def test_files_that_cannot_be_read_are_problems_like_others(tmp_path: Path) -> None:
    """A missing list, a file in another encoding: one line each, with the rest of the checks."""
    (tmp_path / "a.yaml").write_text("lists: {l: {plates: lists/no.csv}}\nrulez: 1\n")
    (tmp_path / "b.yaml").write_bytes(b"# ok\n# \xe9t\xe9\n")
    documents = load_documents([tmp_path / "a.yaml", tmp_path / "b.yaml", tmp_path / "c.yaml"], tmp_path)
    with pytest.raises(RuleCompileError) as caught:
        compile_rules(documents, ACTIONS, Known(), SiteSettings())
    assert [str(problem) for problem in caught.value.problems] == [
        "a.yaml:1:21: list l: lists/no.csv cannot be read: No such file or directory; create it, or correct the path",
        "a.yaml:2:1: unknown key `rulez`; did you mean `rules`?",
        "b.yaml:2:1: this is not UTF-8; save the file with that encoding",
        "c.yaml: cannot be read: No such file or directory; create it, or correct the path",
    ]


HIDDEN = """\
templates:
  unused:
    inputs: {x: any}
    rule: {whn: {kind: plate.read}, when: {kid: $x}, then: []}
rules:
  - id: broken
    when: {kind: plate.read}
    if: 'event.data.scor > 3 && event.data.direction == "in"'
    then: [{webhook: x}]
  - id: fine
    when: {kind: plate.read}
    match: {score: {at_least: 3}}
    then: [{webhook: x}]
tests:
  - name: t
    given: [{kind: plate.raed}, {kind: motion.started, time: noon}]
    expct: []
    expect_some: [{webook: x}]
  - name: u
    given: [{wait: 1s}]
    expect: []
    expect_unmet:
      - {rule: broken, by: anything}
      - {rule: fine, by: match.plate}
      - {rule: fin, by: if}
"""


def test_no_mistake_hides_another() -> None:
    """In a test whose keys are wrong, beside a rule that is broken, in one expression, in a body that nobody uses."""
    found = [problem.partition(": ")[2] for problem in problems_of(HIDDEN)]
    wanted = [
        "template unused: unknown key `whn`; did you mean `when`?",
        "template unused: unknown key `kid`; did you mean `kind`?",
        "rule broken: `if`: unknown field of event.data 'scor'; did you mean",
        "test 't': unknown kind 'plate.raed'; did you mean 'plate.read'?",
        "test 't': 'noon' is not a time; write 2026-01-31T18:00:00",
        "test 't': unknown key `expct`; did you mean `expect`?",
        "test 't': unknown action 'webook'; did you mean 'webhook'?",
        "test 'u': unknown condition of rule fine 'match.plate'; did you mean",
        "test 'u': unknown rule of this file 'fin'; did you mean 'fine'?",
    ]
    assert [one[: len(start)] for one, start in zip(found, wanted, strict=True)] == wanted
    assert "`event.data.direction` is never 'in'" in found[2]
