"""Templates: one body for many rules, what stands in it for an input, and where its mistakes are told."""

from __future__ import annotations

from textwrap import dedent

import jsonschema
import pytest

from bridge.sdk import Known, RuleCompileError, parse_yaml
from rules.compiler import compile_rules
from rules.inserts import filled
from rules.jsonschema import rule_schema
from rules.reuse import MAX_CHAIN
from rules.ruleset import Documents, RuleSet, SiteSettings
from rules.trial import run_trials
from tests.rules.support import ACTIONS, KNOWN, Run, made, plate, problems_of, rules_of

GATE = """\
lists: {residents: {plates: [12AB345]}}
templates:
  gate:
    description: Opens for residents.
    inputs:
      source: source
      channels: list of channel
      door: door
      list: {type: list, default: residents}
      rest: {type: duration, default: 30s}
      score: {type: number, default: 90, description: Of the reading.}
      side: {one-of: [entry, exit], default: entry}
    rule:
      when: {kind: plate.read, source: $source, channel: $channels}
      match: {plate: {in: $list}, score: {at_least: $score}, direction: $side}
      if: 'event.data.score >= $score && state("$source/1", "name") != "lost$$"'
      cooldown: $rest
      then:
        - open: $door
        - mqtt: {topic: "gates/$door/$(side)s", payload: "{{ event.data.plate + ' at $door ' + $side }}"}
"""
USE = """\
rules:
  - id: one
    use: gate
    with: {source: nvr1, channels: [1, 2], door: main-gate}
"""


def _with(inputs: str, more: str = "") -> list[str]:
    text = USE.replace("{source: nvr1, channels: [1, 2], door: main-gate}", inputs)
    return problems_of(GATE + text + more, known=KNOWN)


# --- what comes out ------------------------------------------------------------------------------------


def test_a_use_is_the_rule_that_the_body_says() -> None:
    """The version covers the text put together: the same rule written out has the same."""
    plain = """
        lists: {residents: {plates: [12AB345]}}
        rules:
          - id: one
            when: {kind: plate.read, source: nvr1, channel: [1, 2]}
            match: {plate: {in: residents}, score: {at_least: 90}, direction: entry}
            if: 'event.data.score >= 90 && state("nvr1/1", "name") != "lost$"'
            cooldown: 30s
            then:
              - open: main-gate
              - mqtt:
                  topic: gates/main-gate/entrys
                  payload: "{{ event.data.plate + ' at main-gate ' + \\"entry\\" }}"
        """
    used, written = rules_of(GATE + USE, known=KNOWN).rules[0], rules_of(plain, known=KNOWN).rules[0]
    assert used.version == written.version
    assert (used.file, used.line) == ("r.yaml", 22)


def test_twenty_gates_need_one_body() -> None:
    """Each opens its own door, from its own channel, with a cooldown of its own."""
    uses = "".join(
        f"  - {{id: gate-{n}, use: gate, with: {{source: nvr1, channels: [{n}], door: door-{n}}}}}\n" for n in range(20)
    )
    run = Run(rules_of(f"{GATE}rules:\n{uses}"))
    orders = [made(run.feed(plate(direction="entry", channel=str(n)))) for n in range(20)]
    assert [found[0] for found in orders] == [("open", {"door": f"door-{n}"}) for n in range(20)]
    assert orders[7][1][1] == {
        "topic": "gates/door-7/entrys",
        "payload": "12AB345 at door-7 entry",
    }
    assert made(run.feed(plate(direction="entry", channel="7"))) == []


def test_a_template_of_one_file_serves_another_and_its_tests() -> None:
    """Tests of the file with the use see the rule that comes out."""
    tests = """\
        tests:
          - name: opens
            given: [{kind: plate.read, channel: 2, data: {plate: 12AB345, score: 95, direction: entry}}]
            expect: [{open: main-gate}, {mqtt: {topic: gates/main-gate/entrys}}]
        """
    rules = compile_rules(
        Documents({"bodies.yaml": GATE, "gates.yaml": USE + dedent(tests)}), ACTIONS, KNOWN, SiteSettings()
    )
    results = run_trials(rules, ACTIONS)
    assert [result.passed for result in results] == [True], "\n".join(map(str, results))
    assert rules.rules[0].file == "gates.yaml"
    assert RuleSet.from_bundle(rules.bundle(), ACTIONS).rules[0].version == rules.rules[0].version


def test_a_rule_says_some_things_for_itself() -> None:
    """Whether it is on, in the shadow, its priority; the template's own are the default."""
    body = GATE.replace("      cooldown: $rest", "      cooldown: $rest\n      priority: 7\n      shadow: true")
    text = f"{body}{USE}    priority: 5\n" + USE.removeprefix("rules:\n").replace("one", "two")
    first, second = sorted(rules_of(text + "    enabled: true\n").rules, key=lambda rule: rule.id)
    assert (first.priority, first.shadow) == (5, True)
    assert (second.priority, second.shadow) == (7, True)


def test_a_template_may_use_another() -> None:
    """Its inputs go on, whole or in texts; what it says beside `use` counts, unless the rule says otherwise."""
    text = (
        GATE
        + """\
  north:
    inputs: {number: number, doors: {type: list of door, default: [a]}}
    rule:
      use: gate
      with: {source: "nvr$number", channels: [$number, 9], door: "gate-$number"}
      shadow: true
rules:
  - {id: n1, use: north, with: {number: 1}}
  - {id: n2, use: north, with: {number: 2}, shadow: false}
"""
    )
    rules = {rule.id: rule for rule in rules_of(text).rules}
    assert [rules[name].shadow for name in ("n1", "n2")] == [True, False]
    assert [rules[name].steps[0].does.fixed for name in ("n1", "n2")] == [{"door": "gate-1"}, {"door": "gate-2"}]


@pytest.mark.parametrize(
    ("text", "cel", "result"),
    [
        ("$a-$(a)b, $$a, $ $1 x$", False, "A-Ab, $a, $ $1 x$"),
        ("{{ $a + '$a' + \"$n\" }} $a", False, '{{ "A" + \'A\' + "5" }} A'),
        ("$l.exists(x, x == $a) && -$n < $m", True, '["x", 1].exists(x, x == "A") && -5 < (-2.5)'),
        ("'$q' + \"$q\"", True, '\'it\\\'s \\"q\\"\' + "it\\\'s \\"q\\""'),
        ("$q == r'$a\\d$$'", True, '"it\'s \\"q\\"" == r\'A\\d$\''),
        ("$e {{ $e }}", False, '}} {{ 1 {{ "}} {{ 1" }}'),
        ("$t ? $z : 1", True, "true ? null : 1"),
        ("^a{{2}}$|b$", False, "^a{{2}}$|b$"),
    ],
)
def test_an_input_in_a_text_is_text_and_in_cel_a_literal(text: str, cel: bool, result: str) -> None:
    """Nothing that an input holds can end a text of CEL, and nothing is looked at twice."""
    values = {"a": "A", "n": 5, "m": -2.5, "l": ["x", 1], "q": 'it\'s "q"', "e": "}} {{ 1", "t": True, "z": None}
    assert filled(text, values, cel=cel) == result


# --- mistakes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        (
            "{source: nvr1, channels: [1]}",
            "r.yaml:24:11: rule one: input `door` of template gate is missing: door",
        ),
        (
            "{source: nvr1, channels: [1], dor: main-gate, door: main-gate}",
            "r.yaml:24:41: rule one: unknown input of template gate 'dor'; did you mean 'door'?",
        ),
        (
            "{source: nvr1, channels: 1, door: main-gate}",
            "r.yaml:24:36: rule one: input `channels`: must be a list of channel, got 1",
        ),
        (
            "{source: nvr1, channels: [1, true], door: main-gate}",
            "r.yaml:24:40: rule one: input `channels`: must be a channel, got true",
        ),
        (
            "{source: nvr9, channels: [1], door: main-gate}",
            "r.yaml:24:20: rule one: input `source`: unknown source 'nvr9'; did you mean 'nvr2'?",
        ),
        (
            "{source: nvr1, channels: [1], door: main-gat}",
            "r.yaml:24:47: rule one: input `door`: unknown door 'main-gat'; did you mean 'main-gate'?",
        ),
        (
            "{source: nvr1, channels: [1], door: main-gate, rest: 30}",
            "r.yaml:24:64: rule one: input `rest`: 30 is not a duration; write a number with its unit: 30s, 5m",
        ),
        (
            "{source: nvr1, channels: [1], door: main-gate, score: high}",
            "r.yaml:24:65: rule one: input `score`: must be a number, got 'high'",
        ),
        (
            "{source: nvr1, channels: [1], door: main-gate, side: entri}",
            "r.yaml:24:64: rule one: input `side`: unknown value 'entri'; did you mean 'entry'?",
        ),
        (
            "{source: nvr1, channels: [1], door: main-gate, list: residants}",
            "r.yaml:24:64: rule one: input `list`: unknown list 'residants'; did you mean 'residents'?",
        ),
        ("[nvr1]", "r.yaml:24:11: rule one: `with` is a mapping of inputs, got a list"),
        (
            "{source: nvr2, channels: [7, 3], door: main-gate}",
            (
                "r.yaml:24:40: rule one: unknown channel '3'; known: 7 (of nvr2) "
                "(as template gate has it in r.yaml line 14)"
            ),
        ),
    ],
)
def test_a_wrong_input_is_told_where_it_is_given(inputs: str, problem: str) -> None:
    """Missing, unknown, of another type, or wrong in a way that only the rule shows."""
    assert problem in _with(inputs)


def test_what_stands_beside_use_is_told() -> None:
    """A key of a rule belongs into the template; a misspelt one gets the nearest."""
    assert _with("{source: nvr1, channels: [1], door: main-gate}", "    cooldown: 5s\n    enabld: true\n") == [
        "r.yaml:25:5: rule one: `cooldown` cannot stand beside `use`; say it in the template, as an input if it varies",
        "r.yaml:26:5: rule one: unknown key `enabld`; did you mean `enabled`?",
    ]
    misspelt = problems_of(GATE + USE.replace("use: gate", "use: gat"), known=KNOWN)
    assert misspelt == ["r.yaml:23:10: rule one: unknown template 'gat'; did you mean 'gate'?"]


def test_a_mistake_in_the_body_is_told_once_with_its_uses() -> None:
    """Twenty gates, one line: the body's place, the first use and how many more."""
    uses = "".join(
        f"  - {{id: g{n}, use: gate, with: {{source: nvr1, channels: [1], door: main-gate}}}}\n" for n in range(20)
    )
    text = f"{GATE}rules:\n{uses}".replace("direction:", "dirction:").replace("event.data.score >=", "event.scor >=")
    assert problems_of(text, known=KNOWN) == [
        (
            "r.yaml:15:62: rule g0: unknown field of plate.read 'dirction'; did you mean 'direction'? "
            "(in template gate, used in r.yaml line 22, and by 19 more)"
        ),
        (
            "r.yaml:16:11: rule g0: `if`: unknown attribute of event 'scor'; did you mean 'source'? "
            "(in template gate, used in r.yaml line 22, and by 19 more)"
        ),
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "source: $source,",
            "source: $sorce,",
            "r.yaml:14:40: template gate: unknown input 'sorce'; did you mean 'source'?; for a dollar sign write `$$`",
        ),
        (
            "door: door",
            "door: dor",
            "r.yaml:8:13: template gate: `inputs.door.type`: unknown type of input 'dor'; did you mean 'door'?",
        ),
        (
            "default: 30s",
            "default: 30",
            "r.yaml:10:39: template gate: input `rest`: 30 is not a duration; write a number with its unit: 30s, 5m",
        ),
        (
            "default: entry",
            "default: enter",
            "r.yaml:12:46: template gate: input `side`: unknown value 'enter'; did you mean 'entry'?",
        ),
        (
            "cooldown: $rest",
            "cooldown: $rest\n      id: x",
            "r.yaml:18:7: template gate: a template's rule has no `id`; each rule that uses it has its own",
        ),
        (
            "direction: $side",
            "$side: entry",
            "r.yaml:15:62: template gate: `$side`: an input can be a value, not a key",
        ),
        ("    rule:", "    rul:", "r.yaml:13:5: template gate: unknown key `rul`; did you mean `rule`?"),
        (
            "gates/$door",
            "gates/$channels",
            (
                "r.yaml:20:25: rule one: input `channels` is a list; it can be a whole value, not a part of a text "
                "(in template gate, used in r.yaml line 22)"
            ),
        ),
    ],
)
def test_a_wrong_template_is_told_where_it_is(old: str, new: str, problem: str) -> None:
    """And the rules that use it are not reported on top."""
    assert problem in problems_of(GATE.replace(old, new) + USE, known=KNOWN)


def test_what_nobody_uses_is_a_warning() -> None:
    """Inputs and templates."""
    text = GATE.replace("      door: door\n", "      door: door\n      spare: {type: text, default: x}\n")
    warnings = [str(one) for one in rules_of(text).warnings]
    assert warnings == [
        "r.yaml:1:9: list residents: no rule uses it",
        "r.yaml:3:3: template gate: no rule uses it",
        "r.yaml:9:7: template gate: input `spare` is not used in the rule",
    ]
    assert [str(one) for one in rules_of(GATE + USE).warnings] == []


def _chain(names: list[str], last: str) -> str:
    following = [*names[1:], last]
    return "templates:\n" + "".join(f"  {a}: {{rule: {{use: {b}}}}}\n" for a, b in zip(names, following, strict=True))


def test_templates_in_a_ring_are_named() -> None:
    """Once for each ring, wherever one enters it."""
    text = _chain(["x", "a", "b", "c"], "a") + "rules: [{id: r, use: x}]\n"
    assert problems_of(text) == [
        "r.yaml:5:19: template c: templates use each other in a ring: a → b → c → a; nothing could come out of it"
    ]
    assert "ring: a → a;" in problems_of(_chain(["a"], "a"))[0]


def test_a_chain_of_templates_has_an_end() -> None:
    """Eight, and no more; one that leads nowhere says so."""
    names = [f"t{n}" for n in range(MAX_CHAIN)]
    end = "  end: {rule: {when: {kind: plate.read}, then: [{open: a}]}}\nrules: [{id: r, use: t1}]\n"
    assert problems_of(_chain(names, "end") + end)[0].startswith("r.yaml:9:20: template t7: more than 8 templates use")
    assert problems_of(_chain(names[1:], "end") + end) == []
    assert problems_of(_chain(["t1"], "ende") + end)[0].endswith("unknown template 'ende'; did you mean 'end'?")


def test_inputs_that_double_again_and_again_are_bounded() -> None:
    """A billion laughs of eight lines are refused, at once, with the rule that laughs."""
    body = "rule: {when: {kind: plate.read}, then: [{mqtt: {topic: a, payload: $x}}]}"
    texts = [f"  t{n}: {{inputs: {{x: text}}, rule: {{use: t{n + 1}, with: {{x: {'$x' * 20}}}}}}}" for n in range(7)]
    lists = [line.replace("$x" * 20, f"[{', '.join(['$x'] * 20)}]").replace("text", "any") for line in texts]
    use = "rules: [{id: r, use: t0, with: {x: haha}}]"
    said = problems_of("\n".join(["templates:", *texts, f"  t7: {{inputs: {{x: text}}, {body}}}", use]))
    assert said == [
        (
            "r.yaml:4:53: rule r: with its inputs this has 32000 characters, at most 16384 "
            "(in template t0, used in r.yaml line 10)"
        )
    ]
    said = problems_of("\n".join(["templates:", *lists, f"  t7: {{inputs: {{x: any}}, {body}}}", use]))
    assert said == ["r.yaml:10:9: rule r: the rule made from template t0 is too large: more than 5000 values"]


def test_an_editor_knows_templates_and_uses() -> None:
    """What is right fits the schema, what is misspelt does not."""
    validator = jsonschema.Draft202012Validator(rule_schema(ACTIONS))
    good = parse_yaml(GATE + USE).value
    assert [error.message for error in validator.iter_errors(good)] == []
    for old, new in (("inputs:", "input:"), ("cooldown: $rest", "coldown: $rest"), ("with:", "wit:")):
        bad = parse_yaml((GATE + USE).replace(old, new)).value
        assert list(validator.iter_errors(bad)), new


def test_an_unused_template_is_checked_as_far_as_it_can_be() -> None:
    """What no use shows is still found in the body: names of inputs."""
    with pytest.raises(RuleCompileError) as caught:
        rules_of(GATE.replace("$door", "$dor"), known=Known())
    assert "unknown input 'dor'" in str(caught.value)
