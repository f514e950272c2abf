"""Events that are told apart by what they never have in common are told by check: the rule would never fire."""

from __future__ import annotations

import pytest

from bridge.sdk import PAYLOADS, Known, kinds
from tests.rules.over_time import at, fired, run_of
from tests.rules.support import event, plate, problems_of, rules_of

SITE = Known(sources=frozenset({"nvr1", "nvr2"}))
READ_AT = "{kind: plate.read, channel: %s}"
ENTRY, EXIT = (f"{{kind: plate.read, match: {{direction: {way}}}}}" for way in ("entry", "exit"))


def _said(when: str, *more: str) -> list[str]:
    """Return what is said of a rule, without its place."""
    lines = "".join(f"\n    {line}" for line in more)
    then = "" if any(line.startswith("then") for line in more) else "\n    then: [{webhook: x}]"
    found = problems_of(f"rules:\n  - id: r\n    when: {when}{lines}{then}\n", known=SITE)
    return [one.partition("rule r: ")[2] for one in found]


@pytest.mark.parametrize(
    ("when", "per", "apart"),
    [
        (f"{{sequence: [{READ_AT % 1}, {READ_AT % 2}], within: 1m}}", "channel", "channel"),
        (f"{{all: [{READ_AT % 1}, {READ_AT % 2}], within: 1m}}", "[plate, channel]", "channel"),
        (f"{{absent: {READ_AT % 2}, after: {READ_AT % 1}, within: 1m}}", "channel", "channel"),
        (f"{{sequence: [{READ_AT % 1}, {{not: {READ_AT % 2}}}, {READ_AT % 1}], within: 1m}}", "channel", "channel"),
        (
            f"{{sequence: [{READ_AT % [1, 2]}, {READ_AT % [2, 3]}, {READ_AT % [3, 1]}], within: 1m}}",
            "channel",
            "channel",
        ),
        (
            "{all: [{kind: plate.read, source: nvr1}, {kind: call.started, source: nvr2}], within: 1m}",
            "source",
            "source",
        ),
        (f"{{absent: {EXIT}, after: {ENTRY}, within: 1m}}", "[plate, direction]", "direction"),
        (
            f"{{sequence: [{ENTRY}, {{kind: custom.x, match: {{direction: exit}}}}], within: 1m}}",
            "direction",
            "direction",
        ),
    ],
)
def test_events_that_never_meet_are_a_mistake(when: str, per: str, apart: str) -> None:
    """One of another channel, source or value has another key, whatever comes."""
    words = f"`per`: the events of `when` never have the same {apart}, so they never meet; take it out of `per`"
    assert _said(when, f"per: {per}") == [words]


def test_an_end_that_never_meets_its_beginning_is_a_mistake() -> None:
    """Also where nothing is said: then it is the same source and channel."""
    until = "{kind: plate.read, channel: 1, for: 9s, until: {kind: motion.ended, channel: 2}}"
    [found] = _said(until)
    cure = "say `per` with what they have in common, like `per: source`, or `per: '\"all\"'` if it is nothing"
    assert found.endswith(f"never have the same channel, so they never meet; {cure}")
    assert _said(until, "per: source") == []


def test_what_the_bridge_tells_never_meets_a_camera() -> None:
    """Its source is `bridge`, and it has no channel; with one key for all it ends what began."""
    until = "{kind: motion.started, for: 9s, until: {kind: mode.changed, match: {mode: home}}}"
    assert ["never have the same source" in one for one in _said(until)] == [True]
    assert [
        "same channel" in one for one in _said(until.replace("mode.changed, match: {mode: home}", "source.lost"))
    ] == [True]
    run = run_of(until, "per: '\"all\"'")
    run.feed(event("motion.started", time=at(0)))
    run.feed(event("mode.changed", {"mode": "home"}, source="bridge", channel=None, time=at(5)))
    run.feed(event("motion.started", time=at(20)))
    run.tick(at(60))
    assert fired(run) == [(60, "all")]
    waits = "then: [{wait_for: {kind: mode.changed, within: 1m%s}}, {webhook: x}]"
    assert [
        "never has the source of what fires" in one for one in _said("{kind: motion.started, for: 9s}", waits % "")
    ] == [True]
    assert _said("{kind: motion.started, for: 9s}", waits % ", per: []") == []


def test_keys_of_different_length_never_meet() -> None:
    """One of the events has a `per` of its own, and the rule has none."""
    when = "{sequence: [{kind: plate.read, per: plate}, {kind: parking.spot%s}], within: 1m}"
    [found] = _said(when % "")
    assert found.endswith("so they never meet; give each of them as much, or none of them any")
    assert _said(when % ", per: plate") == []
    assert len(_said(when % ", per: [plate, spot]")) == 1


@pytest.mark.parametrize(
    ("when", "per"),
    [
        (f"{{sequence: [{READ_AT % 1}, {READ_AT % 2}], within: 1m}}", "plate"),
        (f"{{sequence: [{READ_AT % 1}, {READ_AT % [1, 2]}], within: 1m}}", "channel"),
        ("{sequence: [{kind: plate.read, channel: 1}, {kind: plate.read}], within: 1m}", "channel"),
        (f"{{absent: {EXIT}, after: {ENTRY}, within: 1m}}", "[plate, lot.entrance]"),
        (f"{{any: [{READ_AT % 1}, {READ_AT % 2}]}}", "channel"),
        (f"{{all: [{ENTRY}, {{kind: plate.read, match: {{direction: {{exists: true}}}}}}], within: 1m}}", "direction"),
        ("{kind: motion.started, channel: 1, for: 9s}", "channel"),
    ],
)
def test_events_that_may_meet_are_none(when: str, per: str) -> None:
    """Nothing is said where an event decides, nor of `any`, whose events need not meet."""
    assert _said(when, f"per: {per}") == []


def test_such_a_rule_never_fires() -> None:
    """One that tells them apart by what they have in common does."""
    when = f"{{sequence: [{READ_AT % 1}, {READ_AT % 2}], within: 1m}}"
    run = run_of(when, "per: plate")
    for second in range(4):
        run.feed(plate(time=at(second), channel=str(1 + second % 2)))
    assert fired(run) == [(1, "12AB345"), (3, "12AB345")]


def test_of_one_value_there_are_no_different_ones() -> None:
    """`distinct` of what the rule is told apart by never comes to two."""
    when = "{kind: plate.read, distinct: {field: plate, at_least: 3}, within: 1m}"
    assert _said(when, "per: plate") == ["`distinct`: of one `plate` there is only one; take it out of `per`"]
    assert _said(when, "per: channel") == []


@pytest.mark.parametrize(
    ("when", "per", "answer", "why"),
    [
        (
            READ_AT % 1,
            "channel",
            "{kind: plate.read, channel: 2, within: 1m}",
            "plate.read never has the channel of what",
        ),
        (
            "{kind: motion.started, channel: 1, for: 9s}",
            None,
            "{kind: motion.started, channel: 2, within: 1m}",
            "never ha",
        ),
        (
            "{kind: call.started}",
            None,
            "{kind: call.ended, per: caller, within: 1m}",
            "is told apart by something else than",
        ),
        ("{kind: call.started}", "caller", "{kind: call.ended, within: 1m}", None),
        ("{kind: call.started}", None, "{kind: call.ended, within: 1m}", None),
        (READ_AT % 1, "channel", "{kind: plate.read, channel: 2, within: 1m, per: []}", None),
        (READ_AT % 1, "plate", "{kind: plate.read, channel: 2, within: 1m}", None),
    ],
)
def test_an_answer_that_never_comes_is_a_mistake(when: str, per: str | None, answer: str, why: str | None) -> None:
    """A `wait_for` hears what has the key of the firing, or with `per: []` whatever comes."""
    more = [f"per: {per}"] if per is not None else []
    found = _said(when, *more, f"then: [{{wait_for: {answer}}}, {{webhook: x}}]")
    assert [why in one for one in found] == ([True] if why else [])


@pytest.mark.parametrize(
    ("when", "said"),
    [
        (
            "{kind: mode.changed, source: nvr1}",
            "mode.changed never comes from nvr1: the bridge itself tells it; leave `sou",
        ),
        ("{kind: action.ended, channel: 1}", "action.ended is about no channel; leave `channel` out"),
        ("{kind: source.lost, source: nvr1, channel: 1}", "source.lost is about no channel; leave `channel` out"),
        ("{kind: plate.read, source: bridge}", "unknown source 'bridge'; known: nvr1, nvr2"),
        ("{kind: source.lost, source: bridge}", "unknown source 'bridge'; known: nvr1, nvr2"),
        ("{kind: action.ended, source: bridge}", None),
        ("{kind: custom.x, source: bridge, channel: 1}", None),
        ("{kind: custom.x, source: nvr1}", None),
        ("{kind: clip.ready, source: nvr1, channel: 1}", None),
        ("{kind: source.lost, source: nvr1}", None),
    ],
)
def test_what_the_bridge_tells_comes_from_no_source(when: str, said: str | None) -> None:
    """It is `bridge`, and about no channel; clips are their camera's, links their source's."""
    found = _said(when)
    assert [one.startswith(said) for one in found] == [True] if said else found == []


def test_kinds_that_come_from_the_bridge_do() -> None:
    """No name in the tables is misspelt, or stands for two places."""
    assert PAYLOADS.keys() >= kinds.FROM_BRIDGE | kinds.LINKS
    assert not kinds.FROM_BRIDGE & (kinds.BY_CHANNEL | kinds.LINKS)


def test_a_stored_rule_that_never_meets_still_decides() -> None:
    """It decided last week, and explains last week."""
    from rules.ruleset import RuleSet
    from tests.rules.support import ACTIONS

    when = f"{{sequence: [{READ_AT % 1}, {READ_AT % 1}], within: 1m}}"
    text = f"rules: [{{id: r, when: {when}, per: channel, then: [{{webhook: x}}]}}]"
    bundle = rules_of(text).bundle().replace(b"channel: 1}]", b"channel: 2}]")
    assert ["never meet" in str(one) for one in RuleSet.from_bundle(bundle, ACTIONS).warnings] == [True]
