"""What can never come of an expression, or of a name at a site, is told when the file is read."""

from __future__ import annotations

import json

import pytest

from bridge.sdk import PAYLOADS, Known, facts, kinds
from rules.ruleset import RuleSet
from tests.rules.support import ACTIONS, event, problems_of, rules_of

SITE = Known(
    sources=frozenset({"nvr1", "gate"}),
    channels={"nvr1": frozenset({"1", "2", "3"})},
    modes=frozenset({"home", "night"}),
)


def _rule(condition: str = "true", *, kind: str = "plate.read", more: str = "", then: str = "[{webhook: x}]") -> str:
    lines = ["rules:", "  - id: r", f"    when: {{kind: {kind}}}", f"    if: {json.dumps(condition)}", f"    {more}"]
    return "\n".join([*lines, f"    then: {then}\n"])


def _said(condition: str, **more: str) -> list[str]:
    """Return what is said of an expression, without its place."""
    return [problem.partition("rule r: `if`: ")[2] for problem in problems_of(_rule(condition, **more), known=SITE)]


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (
            'event.data.direction == "entri"',
            "`event.data.direction` is never 'entri': unknown value 'entri'; did you mean 'entry'?",
        ),
        (
            '"exti" != event.data.direction',
            "`event.data.direction` is never 'exti': unknown value 'exti'; did you mean 'exit'?",
        ),
        (
            'event.data.direction in ["entry", "exti"]',
            "`event.data.direction` is never 'exti': unknown value 'exti'; did you mean 'exit'?",
        ),
        ('event.data.plate == "12-ab"', "`event.data.plate` is never '12-ab': plates are in capitals without"),
        ('event.data.score > "a"', '`event.data.score` is a number and `"a"` is text: neither comes before the other'),
        ('event.data.score == "90"', '`event.data.score` is a number and `"90"` is text: they are never equal'),
        ("event.subject == 3", "`event.subject` is text and `3` is a number: they are never equal"),
        ("key == 3", "`key` is text and `3` is a number: they are never equal"),
        ('event.data.lot == "P1"', '`event.data.lot` is a mapping and `"P1"` is text: they are never equal'),
        ("event.data.linked_channels.exists(c, c == 3)", "`c` is text and `3` is a number: they are never equal"),
        ("3 in event.data.linked_channels", "`3` is a number and `event.data.linked_channels` is text: they are never"),
        ('"1" in event.data.plate', "`event.data.plate` is text, and `in` looks into a list; for a part of a text"),
        ('event.type == "plate.raed"', "`event.type` is never 'plate.raed': unknown kind 'plate.raed'; did you mean"),
        ('event.source == "nvr1"', "`event.source` is never 'nvr1': it is '<site>/<source>'; the source alone stands"),
        (
            'event.origin == "comand"',
            "`event.origin` is never 'comand': unknown origin 'comand'; did you mean 'command'",
        ),
        (
            'event.time > timestamp("2026-01-01T00:00:00Z")',
            '`event.time` is text and `timestamp("2026-01-01T00:00:00Z")` is a timestamp: neither comes before',
        ),
        ('state("nvr1/1", "motion") == "onn"', "`state(\"nvr1/1\", \"motion\")` is never 'onn': unknown value 'onn'"),
        ('state("nvr1/1", "recording") == "on"', '`state("nvr1/1", "recording")` is true or false and `"on"` is text'),
        ('state("nvr1/1", "recordng") == true', "state('nvr1/1', 'recordng'): unknown attribute 'recordng'; did you"),
        ('state("nvr1/9", "motion") == "on"', "state('nvr1/9', 'motion'): unknown channel of nvr1 '9'; known: 1, 2, 3"),
        ('state("nvr1/1", "link") == "up"', "state('nvr1/1', 'link'): `link` is one of the source as a whole: state("),
        ('state("bridge", "mod") == "home"', "state('bridge', 'mod'): unknown attribute of bridge 'mod'; did you mean"),
        ('state("bridge", "mode") == "nihgt"', "`state(\"bridge\", \"mode\")` is never 'nihgt': unknown mode 'nihgt'"),
    ],
)
def test_what_can_never_be_is_a_mistake(condition: str, said: str) -> None:
    """Of another type, no value of its field, no attribute, no mode: with the nearest that there is."""
    [found] = _said(condition)
    assert found.startswith(said)


@pytest.mark.parametrize(
    "condition",
    [
        "event.data.score",
        "event.data.plate",
        "size(event.data.plate)",
        "event.data.score > 3 && event.data.plate",
        "!event.data.plate || true",
        "event.data.plate ? true : false",
        "event.data.score + 1.0",
        '"yes"',
        "event.data.linked_channels.all(c, c)",
        'state("nvr1/1", "motion")',
        "[true]",
        "event",
    ],
)
def test_a_condition_that_is_none_is_a_mistake(condition: str) -> None:
    """It would never hold, whatever comes; so would a part of it between `&&` and `||`."""
    [found] = _said(condition)
    assert "not true or false; say what it must be" in found


@pytest.mark.parametrize(
    "condition",
    [
        'event.data.direction == "entry" || event.data.direction == null',
        'event.data.lot != null && event.data.lot.entrance == "P1"',
        "has(event.data.lot) && event.data.score >= 90",
        "dyn(event.data.plate)",
        'event.data.plate.startsWith("A") && size(event.data.plate) > 3',
        "event.data.linked_channels.filter(c, c == '3').size() > 0",
        "event.data.linked_channels.map(c, c + 'x') == ['3x']",
        'timestamp(event.time) - duration("1h") < timestamp(event.time)',
        'state("nvr1/" + event.subject, "anything")',
        'state("nvr1", "link") == "up" && state("nvr1/1", "status") != "disconnected"',
        'state("bridge", "mode") in ["home", "night"]',
        'state("nvr1/P1", "available") < 3',
        'event.source == "site/nvr1"',
        "(event.data.score > 3) == true",
        "event.data.hat ? event.data.bag : false",
        "true",
    ],
)
def test_what_may_be_is_none(condition: str) -> None:
    """Nothing is said of what is right, or depends on what comes."""
    kind = "object.detected" if "hat" in condition else "plate.read"
    assert _said(condition, kind=kind) == []


def test_it_is_told_where_it_stands() -> None:
    """In a template, the `if` of a step and `per` as well, each at its own place; and all names of one `if` at once."""
    text = """\
rules:
  - id: r
    when: {kind: plate.read}
    per: 'event.data.direction == "in"'
    if: 'event.data.sore > 3 && stat("a", "b") == foo'
    then:
      - mqtt: {topic: a, payload: "{{ event.data.direction == 'inn' ? 1 : 2 }}"}
      - webhook: x
        if: 'event.data.score'
"""
    first, second, third, fourth = problems_of(text, known=SITE)
    assert first.startswith("r.yaml:4:10: rule r: `per`: `event.data.direction` is never 'in'")
    assert second.startswith("r.yaml:5:9: rule r: `if`: unknown field of event.data 'sore'; did you mean 'score'?; unk")
    assert second.endswith("did you mean 'state'?; unknown name 'foo'; known: event, key, rule")
    assert third.startswith("r.yaml:7:35: rule r: `mqtt`: `event.data.direction` is never 'inn'")
    assert fourth.startswith("r.yaml:9:13: rule r: `if`: `event.data.score` is a number")


def test_rules_that_decided_before_this_was_told_go_on() -> None:
    """A stored rule set is read with a warning: what decided last week is what explains last week."""
    bundle = rules_of(_rule('event.data.direction == "exit"')).bundle().replace(b"exit", b"entri")
    assert ["entri" in str(one) for one in RuleSet.from_bundle(bundle, ACTIONS).warnings] == [True]


# --- the names of a site ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "said"),
    [
        ("{mode: nihgt}", "`mode`: unknown mode 'nihgt'; did you mean 'night'?"),
        ("{previous: {not_in: [hoem]}}", "`previous`: unknown mode 'hoem'; did you mean 'home'?"),
    ],
)
def test_a_mode_that_a_match_names_must_exist(match: str, said: str) -> None:
    """As one that `mode` names."""
    [found] = problems_of(_rule(kind="mode.changed", more=f"match: {match}"), known=SITE)
    assert found.endswith(said)
    assert problems_of(_rule(kind="mode.changed", more="match: {mode: {in: [home, night]}}"), known=SITE) == []


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("plate.read, source: nvr1, channel: 33", "unknown channel '33'; did you mean '3'? (of nvr1)"),
        ("motion.started, source: nvr1, channel: hall", "unknown channel 'hall'; known: 1, 2, 3 (of nvr1)"),
        ("plate.read, source: nvr1, channel: LPR-1", None),  # a reader without a camera
        ("parking.count, source: nvr1, channel: P1", None),  # a lot
        ("channel.added, source: nvr1, channel: 4", None),  # not there yet
        ("motion.started, source: gate, channel: 9", None),  # nobody knows what it has
        ("motion.started, channel: 9", None),  # perhaps of the gate
    ],
)
def test_a_channel_must_exist_where_it_is_known_which_do(place: str, said: str | None) -> None:
    """And only for kinds that belong to a channel."""
    found = problems_of(_rule(kind=place), known=SITE)
    assert [problem.partition("rule r: ")[2] for problem in found] == ([said] if said else [])


def test_what_rules_remember_must_be_set_by_one() -> None:
    """A warning: it may have been set by a rule that is gone. Of an entity from an event the attribute counts."""
    sets = "[{set_state: {entity: garage, attribute: door, value: open}}]"
    asks = 'state("rules/garage", "dor") == "open" || state("rules/garag", "door") == null'
    rules = rules_of(_rule(asks, then=sets))
    first, second = map(str, rules.warnings)
    assert first.startswith("r.yaml:4:9: rule r: state('rules/garag', 'door'): no rule sets that; unknown entity")
    assert second.endswith(
        "state('rules/garage', 'dor'): no rule sets that; unknown attribute 'dor'; did you mean 'door'?"
    )
    anywhere = sets.replace("garage", "'{{ event.data.plate }}'")
    assert rules_of(_rule('state("rules/x", "door") == "open"', then=anywhere)).warnings == ()


def test_every_attribute_that_events_tell_is_known() -> None:
    """The table of attributes is that of the facts."""
    from bridge.schema.state import ATTRIBUTES, LINK, OF_CHANNEL

    examples = {"recording.status": {"streaming": True, "recording": True}, "channel.status": {"state": "connected"}}
    told: set[str] = set()
    for kind in PAYLOADS.keys() - {"state.changed", "mode.changed", "bridge.tick"}:
        model = PAYLOADS[kind]
        data = {name: "x" for name, info in model.model_fields.items() if info.is_required() and info.annotation is str}
        data |= {name: 1 for name, info in model.model_fields.items() if info.is_required() and info.annotation is int}
        try:
            made = event(kind, data | examples.get(kind, {}))
        except ValueError:
            made = event(kind, data | {"since": "2026-01-01T00:00:00Z"}) if kind == "source.lost" else None
        told |= {fact.attribute for fact in facts(made)} if made is not None else set()
    assert told == ATTRIBUTES.keys() >= {LINK, *OF_CHANNEL}


# --- what the bridge tells of itself -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "own"),
    [
        ("{kind: source.lost}", "source.lost"),
        ("{kind: clip.ready, count: 2, within: 1m}", "clip.ready"),
        ("{sequence: [{kind: plate.read}, {kind: action.ended}], within: 1m}", "action.ended"),
        ("{absent: {kind: plate.read}, after: {kind: source.connected}, within: 1m}", "source.connected"),
        ("{any: [{kind: source.lost}, {kind: outage.started}]}", "source.lost"),
        ("{kind: source.lost, for: 1m}", "source.lost"),
        ("{any: [{kind: source.lost}, {kind: plate.read}]}", None),
        ("{absent: {kind: action.ended}, after: {kind: plate.read}, within: 1m}", None),
        ("{sequence: [{kind: plate.read}, {not: {kind: source.lost}}, {kind: plate.read}], within: 1m}", None),
        ("{kind: mode.changed}", None),  # a person may have asked for it
        ("{kind: custom.x}", None),
    ],
)
def test_what_the_bridge_tells_of_itself_moves_nothing(when: str, own: str | None) -> None:
    """The gate refuses it every time, so it is a mistake; a webhook from it is none."""
    text = (
        f"rules: [{{id: r, when: {when}, then: [{{open: a}}, {{relay: {{output: a, state: 'off'}}}}, {{webhook: x}}]}}]"
    )
    found = problems_of(text)
    assert [one.partition(": the bridge")[0].partition("rule r: ")[2] for one in found] == (
        [f"`open` is never done from {own}"] if own else []
    )


def test_kinds_of_the_bridge_are_kinds() -> None:
    """No name in the tables is misspelt."""
    assert PAYLOADS.keys() >= kinds.OWN | kinds.BY_CHANNEL


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("{absent: {kind: source.connected}, after: {kind: source.lost}, within: 60s}", "<source>"),
        ("{absent: {kind: motion.started}, after: {kind: source.lost, source: nvr1}, within: 60s}", "nvr1"),
        ("{absent: {kind: plate.read, source: nvr1}, after: {kind: source.lost, source: nvr1}, within: 60s}", "nvr1"),
        ("{absent: {kind: plate.read, source: gate}, after: {kind: source.lost, source: nvr1}, within: 60s}", None),
        ("{absent: {kind: source.lost}, after: {kind: source.connected}, within: 60s}", None),
        (
            "{absent: {kind: source.connected}, after: {kind: source.lost}, within: 60s, include: inconclusive}",
            None,
        ),
    ],
)
def test_what_a_lost_source_did_not_say_is_never_known(when: str, told: str | None) -> None:
    """The rule would never fire; the message says which two would."""
    found = problems_of(f"rules: [{{id: r, when: {when}, then: [{{webhook: x}}]}}]", known=SITE)
    ways = f"`when: {{kind: source.lost, for: 1m}}`, or `when: {{silent: {told}, for: 1m}}`"
    assert [one.endswith(ways) for one in found] == ([True] if told else [])


@pytest.mark.parametrize(
    ("match", "why"),
    [
        ("{score: {at_least: 90, at_most: 5}}", "`score`: nothing is at least 90 and at most 5, so nothing ever"),
        ("{score: {at_least: 5, at_most: 5}}", None),
        ("{plate: {exists: false, equals: A1}}", "`plate`: what is absent passes nothing but `exists: false`, so"),
        ("{plate: {exists: true, equals: A1}}", None),
        ("{plate: {exists: false}}", None),
    ],
)
def test_a_match_that_nothing_passes_is_a_mistake(match: str, why: str | None) -> None:
    """Such a rule never fires, and a test of it that expects nothing would pass."""
    found = problems_of(f"rules: [{{id: r, when: {{kind: plate.read}}, match: {match}, then: [{{webhook: x}}]}}]")
    assert [why in one for one in found] == [True] if why else found == []


@pytest.mark.parametrize(
    ("when", "during", "never"),
    [
        ('{at: "12:00"}', "{from: '22:00', to: '06:00'}", True),
        ('{at: ["12:00", "23:00"]}', "{from: '22:00', to: '06:00'}", False),
        ('{every: "0 12 * * *"}', "{from: '22:00', to: '06:00'}", True),
        ('{every: "0 12 * * *", zone: Asia/Seoul}', "{from: '02:00', to: '04:00'}", False),
        ('{at: "12:00", days: mon-fri}', "{days: sat}", True),
        ('{at: "12:00", days: mon-fri}', "{from: '08:00', to: '13:00', days: fri}", False),
        ('{every: "0 12 1 1 *"}', "{days: [mon, tue]}", False),  # in some years
        ('{every: "*/5 * * * *"}', "{from: '00:01', to: '00:02'}", False),  # too many to look at
        ("{kind: plate.read}", "{from: '22:00', to: '06:00'}", False),
    ],
)
def test_a_time_at_which_it_is_never_open_is_a_mistake(when: str, during: str, never: bool) -> None:
    """The rule would never fire. What comes so often that a year cannot be looked at is left alone."""
    found = problems_of(f"rules: [{{id: r, when: {when}, during: {during}, then: [{{webhook: x}}]}}]", known=SITE)
    words = "`during`: it is never open when the clock of `when` rings, so this never fires"
    assert [one.partition("rule r: ")[2] for one in found] == ([words] if never else [])


def test_what_rules_remember_is_named_as_it_is_told() -> None:
    """`set_state` of `garage` is told of `rules/garage`."""
    [found] = problems_of(_rule(kind="state.changed", more="match: {entity: garage}"), known=SITE)
    assert found.endswith("`entity` is never 'garage': what rules remember is 'rules/garage'")
    assert problems_of(_rule(kind="state.changed", more="match: {entity: rules/garage}"), known=SITE) == []
    assert problems_of(_rule(kind="state.changed", more="match: {entity: {glob: '*/garage'}}"), known=SITE) == []


def test_times_that_are_tried_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may be made of nothing else: for all rules together there are so many tries; the rest is left alone."""
    monkeypatch.setattr("rules.reader.MOST_TRIES", 2 * 367 + 1)
    never = 'when: {at: "12:00"}, during: {from: "22:00", to: "06:00"}'
    text = "".join(f"  - {{id: r{number}, {never}, then: [{{webhook: x}}]}}\n" for number in range(4))
    assert len(problems_of(f"rules:\n{text}", known=SITE)) == 2
