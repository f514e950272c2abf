"""A firing as a value: what it keeps of its place and of what it is told while its steps wait."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic_core import to_json

from bridge.sdk import Logged, StateKey, VmsEvent
from rules import remembering, underway
from rules.firing import MOST_TOLD
from rules.trace import Trace
from tests.rules.support import START, Run, ended, event, rules_of


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def _run(then: str) -> Run:
    return Run(rules_of(f"rules: [{{id: r, when: {{kind: custom.call}}, then: {then}}}]"))


def _call(number: int, **data: Any) -> VmsEvent:
    return event("custom.call", data, event_id=f"e{number}")


def test_firings_that_wait_again_keep_their_places() -> None:
    """Those of one time go on in the order in which they began, however often they wait and whatever crashes."""
    run = _run("[{wait: 5s}, {wait: 5s}, {clip: {}}]")
    for number in range(6):
        run.feed(_call(number))
    run.tick(_at(5))
    run.crash()
    assert sorted(value["number"] for value in run.state.values()) == [0, 1, 2, 3, 4, 5]
    assert all(None not in value["event"].values() for value in run.state.values()), "what is absent takes no room"
    assert [order.trigger.id for order in run.tick(_at(10)).orders] == [f"e{number}" for number in range(6)]


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("clip: {}", (1, 0, 0, 0)),
        ("ptz: {preset: '{{ 1 / 0 }}'}", (0, 1, 0, 0)),
        ("clip: {}, if: 'false'", (0, 0, 1, 0)),
        ("wait: 5s, if: 'true'", (0, 0, 0, 1)),
        ("wait: 5s", None),
    ],
)
def test_what_a_step_came_to_is_told_when_its_turn_comes(step: str, told: tuple[int, ...] | None) -> None:
    """That it gave an order, could not, was left out, or that its condition held; that it waits is told nobody."""
    run = _run(f"[{{wait: 5s}}, {{{step}}}]")
    run.feed(_call(0))
    traces = [
        (trace.outcome, trace.seq, trace.at, len(trace.orders), len(trace.failed), len(trace.skipped), len(trace.taken))
        for trace in run.tick(_at(5)).traces
    ]
    assert traces == ([("resumed", 2, _at(5), *told)] if told is not None else [])


@pytest.mark.parametrize("more", [0, 1])
def test_a_result_may_fill_the_room_to_the_byte(more: int) -> None:
    """One byte beyond it is left out."""
    room = MOST_TOLD - len(to_json({"path": ""})) - len(to_json(({}, {})))
    run = _run('[{clip: {as: c}}, {webhook: {to: x, with: c, body: "{{ steps.c.path }}"}}]')
    [clip] = run.feed(_call(0)).orders
    [told] = run.feed(ended(clip, time=_at(1), path="x" * (room + more))).orders
    assert (told.params["body"] is None) is bool(more)


@pytest.mark.parametrize("less", [0, 1])
@pytest.mark.parametrize(
    ("bound", "words"),
    [
        ("LARGEST", "bytes of a firing that waits"),
        ("MOST_BYTES", "bytes of all firings of a rule that wait"),
        ("MOST_FIRINGS", "firings of a rule that wait"),
    ],
)
def test_a_firing_may_fill_what_room_there_is(
    bound: str, words: str, less: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte, and to the last one; with one less it does not begin, and its key and size are told."""
    text = "rules: [{id: r, when: {kind: custom.call}, per: who, then: [{wait: 5s}, {clip: {}}]}]"
    [known] = Run(rules_of(text)).feed(_call(0, who="w")).changed.values()
    assert known is not None
    room = (1 if bound == "MOST_FIRINGS" else known["size"]) - less
    monkeypatch.setattr(underway, bound, room)
    run = Run(rules_of(text))
    [explained] = run.engine.explain(Logged(1, START, _call(0, who="w")))
    [trace] = run.feed(_call(0, who="w")).traces
    assert explained == trace
    seen = known["size"] if bound == "LARGEST" else 0
    refused = ("unmet", "w", "waiting", f"at most {room} {words}", seen)
    assert (trace.outcome, trace.key, trace.condition, trace.wanted, trace.seen) == (
        refused if less else ("fired", "w", None, None, None)
    )


@pytest.mark.parametrize("less", [0, 1])
@pytest.mark.parametrize("bound", ["LARGEST", "SMALL"])
def test_a_pattern_may_fill_what_room_there_is(bound: str, less: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte, with all that it remembers or with what one event adds."""
    text = "rules: [{id: r, when: {kind: custom.call, for: 5m, until: {kind: custom.over}}, then: [{clip: {}}]}]"
    [known] = Run(rules_of(text)).feed(_call(0)).changed.values()
    assert known is not None
    size = len(to_json(known["memory"]))
    rooms = {"LARGEST": (size, 0), "SMALL": (0, size - len(to_json({})))}[bound]
    for name, room in zip(("LARGEST", "SMALL"), rooms, strict=True):
        monkeypatch.setattr(remembering, name, room - less)
    run = Run(rules_of(text))
    [explained] = run.engine.explain(Logged(1, START, _call(0)))
    [trace] = run.feed(_call(0)).traces
    assert explained == trace
    wanted = f"at most {remembering.LARGEST} bytes of events that a pattern remembers"
    assert (trace.condition, trace.wanted, trace.seen) == (
        ("waiting", wanted, size) if less else ("when", "the whole pattern", "it lasts; 5m are not over")
    )


def test_an_event_answers_only_what_still_waits() -> None:
    """What it let go may stop another step that waits for it too, be that the end or not."""
    ack = "wait_for: {kind: custom.ack, within: 1h}"
    run = _run(
        f"[{{clip: {{as: c}}}}, {{webhook: {{to: told, with: c}}}}, "
        f"{{parallel: [[{{{ack}}}, {{stop: }}], [{{{ack}}}, {{webhook: never}}]]}}]"
    )
    [clip] = run.feed(_call(0)).orders
    decision = run.feed(event("custom.ack", {}, time=_at(1)))
    assert (decision.orders, [trace.outcome for trace in decision.traces]) == ((), ["resumed"])
    assert [order.params["to"] for order in run.feed(ended(clip, time=_at(2))).orders] == ["told"]
    assert not run.state
    alone = _run(f"[{{parallel: [[{{{ack}}}, {{stop: }}], [{{{ack}}}, {{webhook: never}}]]}}]")
    alone.feed(_call(0))
    decision = alone.feed(event("custom.ack", {}, time=_at(1)))
    assert (decision.orders, [trace.outcome for trace in decision.traces], alone.state) == ((), ["resumed"], {})


@pytest.mark.parametrize(("who", "answers"), [("ann", True), ("bob", False)])
def test_an_answer_passes_every_test_of_the_step(who: str, answers: bool) -> None:
    """Also those by which it is not found."""
    run = _run("[{wait_for: {kind: custom.ack, match: {room: 7, who: {regex: '^a'}}, within: 1h}}, {clip: {}}]")
    run.feed(_call(0))
    assert bool(run.feed(event("custom.ack", {"room": 7, "who": who}, time=_at(1))).orders) is answers


# --- what ends before its time -----------------------------------------------------------------------------


def test_what_goes_with_its_rule_before_anything_is_logged_is_told_at_its_own_time() -> None:
    """As nothing else is known: no place in the log, and when its event was received."""
    run = _run("[{clip: {}}, {wait: 5s}, {wait: 5s, if: 'true'}, {clip: {}}]")
    run.feed(_call(0).model_copy(update={"received": _at(3)}))
    run.crash()
    version = run.rules.rules[0].version
    [trace] = run.engine.replace_rules(rules_of("rules: []")).traces
    assert trace == Trace("r", version, "dropped", 0, "e0", _at(3), "", skipped=("then[1] wait",))


def test_what_belongs_to_no_rule_is_dropped_with_the_next_change() -> None:
    """As it is found after a crash in the middle of one; which steps waited nobody knows any more."""
    run = _run("[{wait: 5s}, {clip: {}}]")
    run.feed(_call(0))
    gone = Run(rules_of("rules: []"), run.state)
    [trace] = gone.engine.replace_rules(gone.rules).traces
    assert (trace.rule, trace.outcome, trace.event, trace.skipped) == ("r", "dropped", "e0", ())


@pytest.mark.parametrize(
    ("filed", "rule", "key"),
    [
        (StateKey("r", "a/b"), "r", "a/b"),
        (StateKey("$firing/r", "a/b/f"), "r", "a/b"),
        (StateKey("gone", "a/b"), "gone", "a/b"),
        (StateKey("$firing/gone", "a/b/f"), "gone", "a/b"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_forgotten_and_told_once(filed: StateKey, rule: str, key: str) -> None:
    """Whose it was, as far as one knows, and at which place of the log it was found."""
    run = Run(_run("[{clip: {}}]").rules, {filed: {}})
    found, *later = [run.feed(event("motion.started", event_id=f"m{number}"), at=_at(9)) for number in range(2)]
    version = run.rules.rules[0].version if rule == "r" else ""
    why = ("what was remembered of it cannot be read",)
    assert found.traces == (Trace(rule, version, "dropped", 1, "m0", _at(9), key, failed=why),)
    assert found.changed[filed] is None
    assert [decision.traces for decision in later] == [()]


@pytest.mark.parametrize("way", ["deadline", "end", "answer", "line"])
def test_what_cannot_be_gone_on_with_is_dropped_when_its_turn_comes(way: str) -> None:
    """At its deadline, by the end of an order, by an answer or in its line; and the next one begins."""
    then = {
        "end": "[{clip: {as: c}}, {with: c, wait: 5s}]",
        "answer": "[{wait_for: {kind: custom.ack, within: 5s}}]",
    }.get(way, "[{wait: 5s}]")
    run = Run(rules_of(f"rules: [{{id: r, when: {{kind: custom.call}}, concurrency: queued, then: {then}}}]"))
    orders = [order for number in range(3) for order in run.feed(_call(number)).orders]
    first, second, _ = sorted(run.state, key=lambda filed: run.state[filed]["number"])
    spoilt = second if way == "line" else first
    run.state[spoilt] = {**run.state[spoilt], "left": None}
    run.crash()
    [end] = [ended(order, time=_at(4)) for order in orders] or [event("custom.ack", {}, time=_at(4))]
    told = run.tick(_at(5)) if way in {"deadline", "line"} else run.feed(end)
    why = ("what was remembered of it cannot be read",)
    dropped = Trace("r", run.rules.rules[0].version, "dropped", 4, told.traces[0].event, run.now, "$", failed=why)
    assert told.traces[0] == dropped
    assert [(trace.outcome, trace.event) for trace in told.traces[1:]] == [("fired", "e2" if way == "line" else "e1")]
    assert spoilt not in run.state
