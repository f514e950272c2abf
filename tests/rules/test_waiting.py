"""Firings that wait are values of their own: however many there are, none is lost and none costs the others more."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic_core import to_json

from bridge.sdk import Logged, Order, StateKey
from rules import underway
from rules.engine import LONGEST_KEY, Engine
from rules.firing import LARGEST, MOST_TOLD
from rules.state import Book
from tests.rules.support import START, Run, ended, event, plate, rules_of

MANY = 1000
CLIP = """
rules:
  - id: entry
    when: {kind: plate.read}
    then:
      - clip: {as: clip}
      - webhook: {to: backoffice, with: clip, wait: 1h, body: "{{ steps.clip.path }}"}
"""
ANSWER = """
rules:
  - id: call
    when: {kind: custom.call}
    then:
      - wait_for: {kind: custom.ack, within: 1h, as: ack}
      - webhook: {to: x, body: "{{ steps.ack.outcome }}"}
  - {id: told, when: {kind: rule.refused}, then: [{webhook: {to: chief, body: "{{ event.data.wanted }}"}}]}
"""


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def _call(number: float, **data: Any) -> Any:
    return event("custom.call", data, time=_at(number), event_id=f"e{number}")


def _ack(seconds: float) -> Any:
    return event("custom.ack", {}, time=_at(seconds))


def _causes(orders: Any) -> list[str]:
    return [order.trigger.id for order in orders]


def _parked(run: Run) -> dict[StateKey, Mapping[str, Any]]:
    return {key: value for key, value in run.state.items() if key.rule.startswith("$firing/")}


# --- none is lost -----------------------------------------------------------------------------------------


def test_a_thousand_firings_of_one_rule_and_key_go_on_each_with_its_own_clip() -> None:
    """In whatever order the clips end, through crashes on the way; and nothing is left behind."""
    run = Run(rules_of(CLIP))
    clips = [run.feed(plate(time=_at(number), event_id=f"e{number}")).orders[0] for number in range(MANY)]
    run.crash()
    told: list[Order] = []
    for number, clip in enumerate(clips[::-1]):
        if number % 100 == 50:
            run.crash()
        told += run.feed(ended(clip, time=_at(MANY + number / 10), path=clip.trigger.id)).orders
    assert _causes(told) == [order.params["body"] for order in told] == [f"e{n}" for n in reversed(range(MANY))]
    assert not run.state
    assert all(trace.outcome != "dropped" for decision in run.decisions for trace in decision.traces)


def test_a_thousand_deadlines_at_once_are_met_in_the_order_in_which_it_began() -> None:
    """As after an hour in which nobody told the time; crashes before it change no byte."""
    run, twin = Run(rules_of(CLIP)), Run(rules_of(CLIP))
    for number in range(MANY):
        if number % 300 == 200:
            run.state = dict(reversed(run.state.items()))  # they come out of the store in an order of its own
            run.crash()
        for one in (run, twin):
            one.feed(plate(time=START, event_id=f"e{number}"))
    late, told = run.tick(_at(7200)), twin.tick(_at(7200))
    assert _causes(late.orders) == [f"e{number}" for number in range(MANY)]
    assert [order.encode() for order in late.orders] == [order.encode() for order in told.orders]
    assert late.traces == told.traces
    assert not run.state


def test_one_event_answers_all_that_wait_for_it() -> None:
    """First the one that began first."""
    run = Run(rules_of(ANSWER))
    for number in range(MANY):
        run.feed(_call(number))
    run.state = dict(reversed(run.state.items()))
    run.crash()
    assert _causes(run.feed(_ack(MANY)).orders) == [f"e{number}" for number in range(MANY)]
    assert not run.state


def test_what_was_logged_twice_begins_again_as_the_last_one() -> None:
    """It is one firing, and its place is the same after a crash."""
    run, twin = Run(rules_of(ANSWER)), Run(rules_of(ANSWER))
    for one in (run, twin):
        for number in (0, 1, 0):
            one.feed(_call(number), at=_at(2))
    twin.crash()
    assert run.feed(_call(3)).changed == twin.feed(_call(3)).changed
    assert _causes(run.feed(_ack(4)).orders) == ["e1", "e0", "e3"]


# --- what one costs ---------------------------------------------------------------------------------------


class _Counting(Book):
    """Counts what is read and written."""

    reads = 0

    def get(self, key: StateKey) -> Mapping[str, Any] | None:
        """Count a look."""
        type(self).reads += 1
        return super().get(key)


@pytest.mark.parametrize("way", ["end", "deadline", "begin"])
def test_what_one_firing_costs_does_not_grow_with_their_number(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By values looked at, written, and their bytes: beside ten others as beside a thousand."""
    monkeypatch.setattr("rules.engine.Book", _Counting)
    costs = []
    for others in (10, MANY):
        run = Run(rules_of(CLIP))
        clips = [run.feed(plate(time=_at(number), event_id=f"e{number:04}")).orders[0] for number in range(others)]
        _Counting.reads = 0
        one = {
            "end": ended(clips[others // 2], time=_at(others)),
            "deadline": event("bridge.tick", {"due": START}, channel=None, time=_at(3600)),
            "begin": plate(time=_at(others), event_id="another"),
        }[way]
        decision = run.feed(one)
        assert len(decision.orders) == 1
        costs.append(
            (_Counting.reads, len(decision.changed), sum(len(to_json(v)) // 50 for v in decision.changed.values()))
        )
    assert costs[0] == costs[1]
    assert costs[0][1] == 1


def test_an_event_of_one_key_is_looked_at_by_its_own_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of another key that waits for the same kind is not read."""
    monkeypatch.setattr("rules.engine.Book", _Counting)
    text = ANSWER.replace("when: {kind: custom.call}", "when: {kind: custom.call}\n    per: event.data.who")
    costs = []
    for others in (1, 200):
        run = Run(rules_of(text))
        for number in range(others):
            run.feed(_call(number, who=f"w{number}"))
        _Counting.reads = 0
        assert len(run.feed(event("custom.ack", {"who": "w0"}, time=_at(others))).orders) == 1
        costs.append(_Counting.reads)
    assert costs[0] == costs[1]


def test_the_value_of_rule_and_key_does_not_grow() -> None:
    """What a rule remembers beside its firings is no larger for them."""
    run = Run(rules_of(CLIP.replace("    then:", "    limit: 3 per 1h\n    then:")))
    sizes = []
    for number in range(3):
        run.feed(plate(time=_at(number), event_id=f"e{number}"))
        sizes.append(len(to_json(run.state[StateKey("entry", "$")])))
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] == len(to_json(START.isoformat())) + 1


# --- the bounds -------------------------------------------------------------------------------------------


def _refused(run: Run) -> list[tuple[str | None, str | None, Any, str]]:
    found = [trace for decision in run.decisions for trace in decision.traces if trace.condition == "waiting"]
    return [(trace.condition, trace.wanted, trace.seen, trace.event) for trace in found]


def test_beyond_the_bound_the_next_does_not_begin_and_that_is_said_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that wait stay; each that is refused has its trace, under load too, and the rule an event once an hour."""
    monkeypatch.setattr(underway, "MOST_FIRINGS", 5)
    run = Run(rules_of(ANSWER))
    for number in range(5):
        run.feed(_call(number))
    [notice] = run.feed(_call(5), trace=False).orders
    assert (notice.action, notice.params["kind"]) == ("emit", "rule.refused")
    assert notice.params["data"] == {
        "rule": "call",
        "kind": "custom.call",
        "event": "e5",
        "wanted": "at most 5 firings of a rule that wait",
        "seen": 5,
    }
    assert not run.feed(_call(6), trace=False).orders, "told within the hour"
    run.crash()
    assert [trace.condition for trace in run.engine.explain(Logged(9, _at(7), _call(7)), ["call"])] == ["waiting"]
    assert _refused(run) == [("waiting", "at most 5 firings of a rule that wait", 5, f"e{number}") for number in (5, 6)]
    assert _causes(run.feed(_ack(8)).orders) == [f"e{number}" for number in range(5)]
    assert not run.feed(_call(9)).orders
    assert len(_parked(run)) == 1, "there is room again"


def test_those_in_line_count_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """And who is refused has not fired: no cooldown begins, no limit counts, and none of its orders is made."""
    monkeypatch.setattr(underway, "MOST_FIRINGS", 3)
    text = "rules: [{id: r, when: {kind: custom.call}, concurrency: queued, limit: 9 per 1h, "
    run = Run(rules_of(text + "then: [{mqtt: {topic: now}}, {wait: 9s}, {clip: {}}]}]"))
    for number in range(6):
        run.feed(_call(number))
    assert [trace.outcome for decision in run.decisions for trace in decision.traces] == [
        "fired",
        *["queued"] * 2,
        *["unmet"] * 3,
    ]
    assert [order.action for decision in run.decisions for order in decision.orders] == ["mqtt", "emit"]
    assert len(run.state[StateKey("r", "$")]["fired"]) == 3


def test_all_together_are_bounded_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that few large ones do not fill the memory either; what goes takes its bytes along."""
    monkeypatch.setattr(underway, "MOST_BYTES", 250_000)
    run = Run(
        rules_of(ANSWER.replace("when: {kind: custom.call}", "when: {kind: custom.call}\n    per: event.data.who"))
    )
    for number in range(3):
        run.feed(_call(number, text="x" * 100_000, who=f"w{number}"))
    [(_, wanted, seen, who)] = _refused(run)
    assert (wanted, who) == ("at most 250000 bytes of all firings of a rule that wait", "e2")
    assert 200_000 < seen < 202_000
    run.feed(event("custom.ack", {"who": "w0"}, time=_at(4)))
    run.feed(_call(5, text="x" * 100_000, who="w5"))
    assert [value["key"] for value in _parked(run).values()] == ["w1", "w5"]
    run.feed(_call(6, text="x" * 100_000, who="w6"))
    assert [who for *_, who in _refused(run)] == ["e2", "e6"]


def test_a_large_event_waits_as_long_as_its_value_is_far_below_a_message() -> None:
    """256 kB do; more than that does not begin at all, rather than do half of what the rule says."""
    text = "rules: [{id: r, when: {kind: custom.call}, then: [{mqtt: {topic: now}}, {wait: 9s}, {clip: {}}]}]"
    run = Run(rules_of(text))
    assert len(run.feed(_call(0, text="x" * 256_000)).orders) == 1
    [value] = _parked(run).values()
    assert len(to_json(value)) < 258_000
    [notice] = run.feed(_call(1, text="x" * LARGEST)).orders
    assert notice.params["data"]["wanted"] == f"at most {LARGEST} bytes of a firing that waits"
    assert [order.action for order in run.tick(_at(30)).orders] == ["clip"]
    plain = Run(rules_of("rules: [{id: r, when: {kind: custom.call}, then: [{wait: 9s, if: 'false'}, {clip: {}}]}]"))
    assert [order.action for order in plain.feed(_call(1, text="x" * LARGEST)).orders] == ["clip"], "it need not wait"


def test_a_result_that_is_too_large_is_left_out_and_nothing_else() -> None:
    """The step's outcome counts, the firing goes on, and the trace says what is missing."""
    run = Run(rules_of(CLIP))
    [clip] = run.feed(plate()).orders
    decision = run.feed(ended(clip, time=_at(1), path="x" * MOST_TOLD))
    [webhook] = decision.orders
    assert (webhook.params["body"], webhook.steps["clip"].outcome, webhook.steps["clip"].output) == (None, "done", {})
    [trace] = decision.traces
    assert trace.failed[0].startswith("then[0] clip: 2000")
    assert trace.failed[0].endswith("bytes that came of it are too many to be kept, and left out")


def test_many_results_together_stay_small() -> None:
    """Each that fits is kept until there is no room for the next; the firing never outgrows a message."""
    steps = "".join(f"{{clip: {{as: c{number}}}}}, " for number in range(8))
    names = ", ".join(f"c{number}" for number in range(8))
    text = (
        f"rules: [{{id: r, when: {{kind: custom.call}}, then: [{steps}{{with: [{names}], wait: 1h}}, {{clip: {{}}}}]}}]"
    )
    run = Run(rules_of(text))
    clips = run.feed(_call(0, text="x" * 256_000)).orders
    for number, clip in enumerate(clips[:7]):
        run.feed(ended(clip, "dead", time=_at(number), path="x" * 60_000))
    [value] = _parked(run).values()
    kept = [result["output"] != {} for result in value["results"].values()]
    assert kept == [True] * 3 + [False] * 4
    assert len(to_json(value)) < 256_000 + MOST_TOLD + 2000
    assert len(run.feed(ended(clips[7], time=_at(9))).orders) == 1


def test_an_order_that_the_bus_would_not_take_is_not_made() -> None:
    """The original message is left out of it first; if that is not enough, the step is refused, and only that."""
    then = "[{webhook: {to: x, body: '{{ event.data.text }}'}}, {clip: {}}]"
    text = f"rules: [{{id: r, when: {{kind: custom.call}}, then: {then}}}]"
    run = Run(rules_of(text))
    raw = _call(0, text="x").model_copy(update={"raw": "y" * 1_040_000})
    assert [(order.action, order.trigger.raw) for order in run.feed(raw).orders] == [("webhook", None), ("clip", None)]
    decision = run.feed(_call(1, text="x" * 600_000))
    assert [order.action for order in decision.orders] == ["clip"]
    assert decision.traces[0].failed[0].startswith("then[0] webhook: the order would have 1200")


@pytest.mark.parametrize(
    "when",
    [
        "{kind: custom.call, for: 5m, until: {kind: custom.over}}",
        "{absent: {kind: custom.over}, after: {kind: custom.call}, within: 5m}",
    ],
)
def test_what_a_pattern_remembers_stays_below_a_message(when: str) -> None:
    """A large event that has no room is passed over aloud, be it the first; what ends something is always seen."""
    alone = Run(rules_of(f"rules: [{{id: r, when: {when}, then: [{{clip: {{}}}}]}}]"))
    alone.feed(_call(0, text="x" * 600_000))
    assert [who for *_, who in _refused(alone)] == ["e0"]
    run = Run(rules_of(f"rules: [{{id: r, when: {when}, then: [{{clip: {{}}}}]}}]"))
    for number in range(4):
        run.feed(_call(number, text="x" * 200_000))
    assert max(len(to_json(value)) for value in run.state.values()) < 600_000
    assert [who for *_, who in _refused(run)] == ["e2", "e3"]
    run.feed(event("custom.over", {}, time=_at(10)))
    assert [order.action for order in run.tick(_at(900)).orders] == []


def test_a_small_event_is_always_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is remembered already: what ends something must not be missed for that."""
    monkeypatch.setattr("rules.remembering.LARGEST", 100)
    when = "{kind: custom.call, for: 5m, until: {kind: custom.over}}"
    run = Run(rules_of(f"rules: [{{id: r, when: {when}, then: [{{clip: {{}}}}]}}]"))
    for number in range(3):
        run.feed(_call(number, text="x" * 1000))
    run.feed(event("custom.over", {}, time=_at(10)))
    assert not run.tick(_at(900)).orders
    assert not _refused(run)


def test_a_key_that_is_very_long_is_none() -> None:
    """It would stand in each value and order."""
    run = Run(rules_of("rules: [{id: r, when: {kind: custom.call}, per: [who, source], then: [{clip: {}}]}]"))
    fits = LONGEST_KEY - len('["","nvr1"]')
    assert run.feed(_call(0, who="x" * fits)).orders
    decision = run.feed(_call(1, who="x" * (fits + 1)))
    assert not decision.orders
    [trace] = decision.traces
    assert (trace.condition, trace.wanted, trace.seen) == ("per", "at most 20000 characters", LONGEST_KEY + 1)


# --- what cannot be read ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"waiting": {"0": "soon"}},
        {"waiting": {"x": START.isoformat()}},
        {"waiting": None},
        {"number": "first"},
        {"number": None},
        {"size": {}},
        {"left": [0, 99]},
        {"left": None},
        {"event": {"id": "e0", "received": START.isoformat()}},
        {"event": 5},
        {"version": 5},
        {"origin": "nowhere"},
        {"orders": 7},
    ],
    ids=str,
)
def test_a_firing_that_cannot_be_read_is_dropped_and_told(change: dict[str, Any]) -> None:
    """The engine goes on, and so does everything else that waits."""
    run = Run(rules_of(ANSWER))
    for number in range(2):
        run.feed(_call(number))
    damaged, _ = _parked(run)
    run.state[damaged] = {**run.state[damaged], **change}
    run.crash()
    assert _causes(run.feed(_ack(5)).orders) == ["e1"]
    told = [trace for decision in run.decisions for trace in decision.traces if trace.outcome == "dropped"]
    assert [(trace.rule, trace.failed) for trace in told] == [("call", ("what was remembered of it cannot be read",))]
    assert not _parked(run)
    run.keep(run.engine.replace_rules(rules_of("rules: []")))


@pytest.mark.parametrize("value", [[], {}, {"version": 1, "waits": {}, "timers": {}}, {"version": "v", "rest": "late"}])
def test_what_is_remembered_of_a_rule_in_another_form_is_dropped_and_told(value: Any) -> None:
    """As an older version may have left it."""
    run = Run(rules_of(CLIP), {StateKey("entry", "$"): value})
    decision = run.feed(plate())
    assert [trace.outcome for trace in decision.traces] == ["dropped", "fired"]
    assert StateKey("entry", "$") not in run.state


def test_who_stood_in_line_behind_one_that_cannot_be_read_begins() -> None:
    """Nobody waits for what is gone."""
    run = Run(
        rules_of(ANSWER.replace("when: {kind: custom.call}", "when: {kind: custom.call}\n    concurrency: queued"))
    )
    for number in range(2):
        run.feed(_call(number))
    first, _ = _parked(run)
    run.state[first] = {**run.state[first], "left": None}
    run.crash()
    run.feed(_ack(5))
    assert _causes(run.feed(_ack(6)).orders) == ["e1"]


def test_a_firing_of_a_rule_that_is_gone_is_forgotten() -> None:
    """Left behind in the store, it holds up nobody; what went with its rule was told when that changed."""
    for later in ("deadline", "end"):
        run = Run(rules_of(CLIP))
        [clip] = run.feed(plate()).orders
        run.engine = Engine(rules_of("rules: []"), dict(run.state))
        decision = run.tick(_at(7200)) if later == "deadline" else run.feed(ended(clip, time=_at(1)))
        assert (decision.orders, decision.traces, run.state) == ((), (), {})


def test_what_waits_through_a_crash_knows_all_that_it_knew() -> None:
    """When it was decided, what caused and answered it, how many firings led to it, what ended how, and its key."""
    text = """
    rules:
      - id: r
        when: {kind: motion.started, for: 5s}
        then:
          - wait_for: {kind: motion.ended, within: 1m, as: over}
          - wait: 1s
          - webhook: {to: b, as: b}
            on_error: [{wait: 1s}, {mqtt: {topic: t, payload: "{{ steps.failed.outcome }} {{ steps.over.outcome }}"}}]
    """
    run = Run(rules_of(text))
    channel = "c" * 100  # so long a key is filed under its hash
    begun = event("motion.started", channel=channel, received=_at(1)).model_copy(update={"hops": 2})
    over = event("motion.ended", channel=channel, time=_at(6)).model_copy(update={"hops": 4})
    for one in (begun, None, over):
        run.feed(one) if one is not None else run.tick(_at(5))
        run.crash()
    [b] = run.tick(_at(7)).orders
    assert (b.occurred, b.received, b.created) == (_at(5), _at(6), _at(7))
    assert (b.hops, b.causes, b.trigger.id, channel in b.key) == (5, (over.id, begun.id), begun.id, True)
    run.crash()
    assert not run.feed(ended(b, "dead", time=_at(8))).orders
    run.crash()
    [told] = run.tick(_at(9)).orders
    assert (told.params["payload"], told.key, told.rule_version) == ("dead done", b.key, b.rule_version)
    assert not _parked(run)
