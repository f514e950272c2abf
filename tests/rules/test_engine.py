"""What an event leads to: when a rule fires, what it orders, and what is said when it does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bridge.sdk import ActionClass, Logged, Origin, StateKey, stable_id
from rules.ruleset import SiteSettings
from rules.waiting import place_of
from tests.rules.support import START, Run, ended, event, made, plate, rules_of

GATE = """
rules:
  - id: gate
    when: {kind: plate.read, source: nvr1, channel: [1, 2]}
    match: {score: {at_least: 90}}
    per: plate
    cooldown: 30s
    then:
      - open: main-gate
"""


def _seconds(count: float) -> datetime:
    return START + timedelta(seconds=count)


# --- orders ----------------------------------------------------------------------------------------


def test_an_order_carries_everything_its_runner_needs() -> None:
    """Who, why, when, how it may fail, and until when."""
    run = Run(rules_of(GATE))
    cause = plate(time=_seconds(-2), received=_seconds(-1))
    [order] = run.feed(cause, at=START).orders
    rule = run.rules.by_id["gate"]
    assert order.id == stable_id("gate", rule.version, "12AB345", cause.id, 0)
    assert (order.rule, order.rule_version, order.key, order.index) == ("gate", rule.version, "12AB345", 0)
    assert (order.action, order.action_class, order.params) == ("open", ActionClass.ACTUATING, {"door": "main-gate"})
    assert (order.causes, order.trigger, order.origin) == ((cause.id,), cause, Origin.LIVE)
    assert (order.occurred, order.received, order.created) == (_seconds(-2), _seconds(-1), START)
    assert order.expires == _seconds(8)  # 10 s after it happened, which was before it was received


def test_the_class_follows_from_the_parameters_and_a_release_never_expires() -> None:
    """Switching off releases: no age limit, whatever the rule says."""
    text = """
    rules:
      - id: r
        when: {kind: call.ended}
        max_age: 5s
        then:
          - relay: {output: siren, state: "off"}
          - relay: siren
          - mqtt: {topic: a}
    """
    off, on, told = Run(rules_of(text)).feed(event("call.ended", {"caller": "c"})).orders
    assert (off.action_class, off.expires) == (ActionClass.RELEASING, None)
    assert (on.action_class, on.expires) == (ActionClass.ACTUATING, _seconds(5))
    assert (told.action_class, told.expires) == (ActionClass.INFORMATION, None)


def test_texts_are_rendered_for_their_place() -> None:
    """A value goes into a topic escaped, into JSON with its type."""
    text = """
    rules:
      - id: r
        when: {kind: plate.read}
        per: plate
        then:
          - mqtt:
              topic: gate/{{ event.data.device }}/{{ rule }}
              payload:
                score: "{{ event.data.score }}"
                text: "score {{ event.data.score }} of {{ key }}"
                all: "{{ {'b': 1, 'a': [event.data.plate]} }}"
                at: "{{ local(event.time) }}"
              retain: true
    """
    run = Run(rules_of(text, site=SiteSettings("Asia/Seoul")))
    [(_, params)] = made(run.feed(plate(device="a/#+")))
    assert params["topic"] == "gate/a%2F%23%2B/r"
    assert params["payload"] == {
        "score": 97.0,
        "text": "score 97 of 12AB345",
        "all": {"a": ["12AB345"], "b": 1},
        "at": "2026-01-05 21:00:00",
    }
    assert params["retain"] is True


def test_orders_come_by_priority_and_then_as_written() -> None:
    """Where two rules want one thing, the higher one asks first."""
    text = """
    rules:
      - {id: a, when: {kind: plate.read}, then: [{open: a}, {open: a2}]}
      - {id: b, when: {kind: plate.read}, priority: 5, then: [{open: b}]}
      - {id: c, when: {kind: plate.read, channel: 1}, match: {plate: 12AB345}, then: [{open: c}]}
    """
    orders = Run(rules_of(text)).feed(plate()).orders
    assert [(order.params["door"], order.priority) for order in orders] == [("b", 5), ("a", 0), ("a2", 0), ("c", 0)]


# --- when it fires ---------------------------------------------------------------------------------


def test_source_and_channel_are_checked() -> None:
    """Other sources, other channels, and events without a channel are none of its business."""
    run = Run(rules_of(GATE))
    assert not run.feed(plate(source="nvr2")).traces
    assert not run.feed(plate(channel="3")).traces
    assert not run.feed(plate(channel=None)).traces
    assert run.feed(plate(channel="2")).orders


def test_a_clock_that_was_ahead_does_not_outweigh_what_is_said_when_it_is_right() -> None:
    """A motion that ended is over, although it began an hour later by the camera's own words."""
    text = """
    rules:
      - {id: r, when: {kind: plate.read}, if: 'state("nvr1/1", "motion") == "on"', then: [{webhook: x}]}
    """
    run = Run(rules_of(text))
    later, after = (START + timedelta(seconds=seconds) for seconds in (60, 70))
    run.feed(event("motion.started", time=START + timedelta(hours=1), received=START))
    run.feed(event("motion.ended", time=later, received=later))
    [trace] = run.feed(plate(time=after)).traces
    assert (trace.condition, trace.looked) == ("if", {'state("nvr1/1", "motion")': "off"})


def test_a_cooldown_is_per_key_and_by_the_logs_clock() -> None:
    """Within the cooldown a key fires once; another key is not held back; after it, again."""
    run = Run(rules_of(GATE))
    assert run.feed(plate("A"), at=START).orders
    held = run.feed(plate("A", time=_seconds(1)), at=_seconds(29.999))
    assert not held.orders
    [trace] = held.traces
    assert (trace.condition, trace.seen, trace.key) == ("cooldown", "1ms left", "A")
    assert run.feed(plate("B", time=_seconds(2)), at=_seconds(29.999)).orders
    assert run.feed(plate("A", time=_seconds(3)), at=_seconds(30)).orders


@pytest.mark.parametrize(
    "start",
    [
        datetime(2026, 1, 5, 22, 59, 50, tzinfo=UTC),  # midnight in Berlin
        datetime(2026, 3, 29, 0, 59, 50, tzinfo=UTC),  # the clock jumps from 2 to 3
        datetime(2026, 10, 25, 0, 59, 50, tzinfo=UTC),  # the hour from 2 to 3 comes again
        datetime(2026, 12, 31, 22, 59, 50, tzinfo=UTC),
    ],
)
def test_a_cooldown_is_the_same_over_midnight_and_clock_changes(start: datetime) -> None:
    """Thirty seconds are thirty seconds."""
    run = Run(rules_of(GATE, site=SiteSettings("Europe/Berlin")))
    fired = [bool(run.feed(plate(time=start + timedelta(seconds=s))).orders) for s in range(0, 61, 10)]
    assert fired == [True, False, False, True, False, False, True]


def test_a_cooldown_that_is_over_is_forgotten() -> None:
    """State stays bounded by what is still held back, and nobody is woken for it."""
    run = Run(rules_of(GATE))
    for number in range(100):
        run.feed(plate(f"P{number}", time=_seconds(number)))
    assert len(run.state) <= 31
    assert run.engine.next_due is None
    run.tick(_seconds(200))
    for _ in range(4):
        run.tick(_seconds(201))
    assert run.state == {}


def test_a_rule_does_not_fire_from_an_event_older_than_it_takes() -> None:
    """Age is by the event's own time or its receipt, whichever is older."""
    text = "rules: [{id: r, when: {kind: plate.read}, max_age: 10s, then: [{clip: {}}]}]"
    run = Run(rules_of(text))
    assert run.feed(plate(time=START), at=_seconds(10)).orders
    late = run.feed(plate(time=_seconds(20), received=_seconds(9)), at=_seconds(20))
    assert not late.orders
    assert (late.traces[0].condition, late.traces[0].seen) == ("max_age", "11s")
    assert run.feed(plate(time=_seconds(90)), at=_seconds(30)).orders  # the future is not old


def test_a_snapshots_differences_fire_only_rules_that_say_so() -> None:
    """`origin: resync` is no edge."""
    text = """
    rules:
      - {id: edge, when: {kind: motion.started}, then: [{open: a}]}
      - {id: both, when: {kind: motion.started, include: resync}, then: [{open: b}]}
    """
    decision = Run(rules_of(text)).feed(event("motion.started", origin=Origin.RESYNC))
    assert [order.rule for order in decision.orders] == ["both"]
    assert [trace.condition for trace in decision.traces if not trace.fired] == ["when.include"]


@pytest.mark.parametrize("origin", [Origin.BACKFILL, Origin.REPLAY, Origin.TEST, Origin.COMMAND])
def test_other_origins_are_decided_and_handed_on(origin: Origin) -> None:
    """What an event of old may do is the gate's business; the order says where it came from."""
    [order] = Run(rules_of(GATE)).feed(plate(origin=origin)).orders
    assert order.origin is origin


def test_a_rule_never_fires_from_its_own_doing() -> None:
    """It would feed itself for ever; another rule may react."""
    text = """
    rules:
      - {id: a, when: {kind: action.ended}, match: {outcome: dead}, then: [{webhook: x}]}
      - {id: b, when: {kind: action.ended}, match: {outcome: dead}, then: [{webhook: y}]}
    """
    run = Run(rules_of(text))
    data = {"order": "o", "rule": "a", "action": "webhook", "outcome": "dead"}
    decision = run.feed(event("action.ended", data, source="bridge", channel=None))
    assert [order.rule for order in decision.orders] == ["b"]


def test_an_expression_is_asked_last_and_its_error_is_a_no() -> None:
    """A value that is absent or of another type does not stop the engine."""
    text = """
    rules:
      - {id: lot, when: {kind: plate.read}, if: 'event.data.lot.entrance == "P1"', then: [{open: a}]}
      - {id: text, when: {kind: plate.read}, if: 'dyn(event.data.plate)', then: [{open: a}]}
      - {id: sure, when: {kind: plate.read}, if: 'event.data.lot == null && event.data.score > 90', then: [{open: a}]}
    """
    decision = Run(rules_of(text)).feed(plate())
    assert [order.rule for order in decision.orders] == ["sure"]
    seen = {trace.rule: (trace.condition, trace.seen) for trace in decision.traces if not trace.fired}
    assert seen["text"] == ("if", "12AB345")
    assert seen["lot"][0] == "if"


def test_state_in_conditions_is_what_is_known_now() -> None:
    """`state()` gives the last fact, the one of the event itself included, and null for what is unknown."""
    text = """
    rules:
      - {id: on, when: {kind: plate.read}, if: 'state("nvr1/1", "motion") == "on"', then: [{open: a}]}
      - {id: unknown, when: {kind: plate.read}, if: 'state("nvr1/1", "motion") == null', then: [{open: a}]}
      - id: own
        when: {kind: motion.started}
        if: 'state("nvr1", "motion") == null && state("nvr1/" + event.subject, "motion") == "on"'
        then: [{open: a}]
    """
    run = Run(rules_of(text))
    assert [order.rule for order in run.feed(plate("A")).orders] == ["unknown"]
    assert [order.rule for order in run.feed(event("motion.started")).orders] == ["own"]
    assert [order.rule for order in run.feed(plate("B")).orders] == ["on"]
    run.crash()
    assert [order.rule for order in run.feed(plate("C")).orders] == ["on"]
    run.feed(event("motion.ended", time=_seconds(-60)))  # older than what is known
    assert [order.rule for order in run.feed(plate("D")).orders] == ["on"]
    run.feed(event("motion.ended", time=_seconds(1), origin=Origin.TEST))  # made up
    assert [order.rule for order in run.feed(plate("E")).orders] == ["on"]
    run.feed(event("motion.ended", time=_seconds(1)))
    assert not run.feed(plate("F")).orders


def test_of_two_facts_at_the_same_time_the_later_in_the_log_counts() -> None:
    """Equal time stamps leave the order of the log."""
    text = """
    rules:
      - {id: r, when: {kind: plate.read}, if: 'state("nvr1/1", "motion") == "off"', then: [{open: a}]}
    """
    run = Run(rules_of(text))
    run.feed(event("motion.started"))
    run.feed(event("motion.ended"))
    assert run.feed(plate()).orders


def test_state_of_what_is_no_name_is_unknown(capfd: pytest.CaptureFixture[str]) -> None:
    """Asked with a number it knows nothing, and complains to nobody."""
    text = """
    rules:
      - id: r
        when: {kind: plate.read}
        if: 'state(event.data.score, "x") == null && state("x", 1) == null && local(5) == ""'
        then: [{open: a}]
    """
    assert Run(rules_of(text)).feed(plate()).orders
    assert capfd.readouterr() == ("", "")


def test_a_fact_that_is_known_already_is_not_written_again() -> None:
    """A counter that reports the same every second costs no writes."""
    run = Run(rules_of("rules: []"))
    assert run.feed(event("parking.count", {"lot": "P", "count": 3}, channel="P")).changed
    assert not run.feed(event("parking.count", {"lot": "P", "count": 3}, channel="P", time=_seconds(1))).changed


def test_a_tick_fires_no_rule_and_changes_nothing() -> None:
    """The engine's own time is no event for rules."""
    assert Run(rules_of(GATE)).tick(START) == Run(rules_of("rules: []")).tick(START)


def test_a_rule_that_is_off_is_not_there_and_one_in_shadow_does_nothing() -> None:
    """In shadow it decides and traces, cooldown and all."""
    text = """
    rules:
      - {id: off, when: {kind: plate.read}, enabled: false, then: [{open: a}]}
      - id: shadow
        when: {kind: plate.read}
        cooldown: 1m
        shadow: true
        then: [{open: a}, {clip: {as: c}}, {webhook: {to: x, with: c}}]
    """
    run = Run(rules_of(text))
    decision = run.feed(plate())
    assert not decision.orders
    [trace] = decision.traces
    assert (trace.rule, trace.fired, trace.shadow, len(trace.orders)) == ("shadow", True, True, 2)
    assert run.feed(plate("B")).traces[0].condition == "cooldown"
    assert run.engine.next_due is None


# --- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("per", "key"),
    [
        ("plate", "12AB345"),
        ("score", "97"),
        ("direction", "null"),
        ("channel", "1"),
        ("source", "nvr1"),
        ("[source, channel, plate]", '["nvr1","1","12AB345"]'),
        ("'event.data.plate.substring(0, 2)'", None),
        ("'event.source + \"-\" + event.subject'", "site/nvr1-1"),
        ("linked_channels", '["1","2"]'),
    ],
)
def test_what_firings_are_told_apart_by(per: str, key: str | None) -> None:
    """A field, parts of the envelope, several, or an expression."""
    text = f"rules: [{{id: r, when: {{kind: plate.read}}, per: {per}, then: [{{open: a}}]}}]"
    if key is None:
        with pytest.raises(Exception, match="unknown function 'substring'"):
            rules_of(text)
        return
    [order] = Run(rules_of(text)).feed(plate(linked_channels=["1", "2"])).orders
    assert order.key == key


@pytest.mark.parametrize("key", ["", "$", "$x", "x" * 5000, "서울" * 30, "a.b c/*>", "\ud7ff"])
def test_any_key_can_be_filed_and_found_again(key: str) -> None:
    """A key may be empty, long or in any script; its cooldown holds over a crash, and no other key shares it."""
    text = "rules: [{id: r, when: {kind: custom.x}, per: k, cooldown: 1m, then: [{open: a}]}]"
    run = Run(rules_of(text))
    assert run.feed(event("custom.x", {"k": key})).orders
    run.crash()
    assert not run.feed(event("custom.x", {"k": key})).orders
    assert run.feed(event("custom.x", {"k": key + "!"} if len(key) < 4096 else {"k": "!" + key})).orders
    assert all(state.key and len(state.key.encode()) * 3 <= 200 for state in run.state)


# --- steps that wait -------------------------------------------------------------------------------

ENTRY = """
rules:
  - id: entry
    when: {kind: plate.read}
    per: plate
    then:
      - clip: {as: clip}
      - webhook:
          to: backoffice
          with: clip
          wait: 60s
          body: {path: "{{ steps.clip.path }}", outcome: "{{ steps.clip.outcome }}"}
"""


def test_a_step_goes_when_the_one_it_waits_for_has_ended() -> None:
    """It gets the result, keeps the cause, and is made once."""
    run = Run(rules_of(ENTRY))
    cause = plate()
    [clip] = run.feed(cause).orders
    assert run.engine.next_due == _seconds(60)
    run.feed(
        ended(clip, time=_seconds(1)).model_copy(
            update={"data": ended(clip).data.model_copy(update={"order": "another"})}
        )
    )
    [webhook] = run.feed(ended(clip, path="2026/a.mp4", time=_seconds(20))).orders
    assert webhook.params == {"to": "backoffice", "with": ["clip"], "body": {"path": "2026/a.mp4", "outcome": "done"}}
    assert (webhook.index, webhook.causes, webhook.trigger) == (1, (cause.id,), cause)
    assert (webhook.created, webhook.occurred) == (_seconds(20), START)
    assert webhook.steps["clip"].output == {"path": "2026/a.mp4"}
    assert run.state == {}
    assert run.engine.next_due is None
    assert not run.engine._book.waiting.for_order(clip.id)
    assert not run.feed(ended(clip, time=_seconds(21))).orders
    assert not run.tick(_seconds(70)).orders


def test_at_its_deadline_a_step_goes_without() -> None:
    """What never came is pending, and null where a text asks for it; what comes later changes nothing."""
    run = Run(rules_of(ENTRY))
    [clip] = run.feed(plate()).orders
    assert not run.tick(_seconds(59.999)).orders
    run.crash()
    [webhook] = run.tick(_seconds(60)).orders
    assert webhook.params["body"] == {"path": None, "outcome": "pending"}
    assert webhook.created == _seconds(60)
    assert run.state == {}
    assert not run.feed(ended(clip, time=_seconds(61))).orders


def test_any_event_lets_the_time_pass_before_it_is_looked_at() -> None:
    """A deadline that is over fires first, so the result that comes with the same stamp is too late."""
    run = Run(rules_of(ENTRY))
    [clip] = run.feed(plate()).orders
    decision = run.feed(ended(clip, path="x", time=_seconds(60)))
    [webhook] = decision.orders
    assert webhook.params["body"]["outcome"] == "pending"


def test_two_firings_of_one_key_wait_side_by_side() -> None:
    """Each gets its own result."""
    run = Run(rules_of(ENTRY))
    [first] = run.feed(plate(time=START)).orders
    [second] = run.feed(plate(time=_seconds(1))).orders
    [for_second] = run.feed(ended(second, path="2", time=_seconds(2))).orders
    [for_first] = run.feed(ended(first, path="1", time=_seconds(3))).orders
    assert (for_first.params["body"]["path"], for_second.params["body"]["path"]) == ("1", "2")
    assert for_first.id != for_second.id


def test_timers_fire_by_time_and_then_by_name() -> None:
    """The order does not depend on how they were set."""
    run = Run(rules_of(ENTRY))
    for name in ("C", "A", "B"):
        run.feed(plate(name))
    assert [order.key for order in run.tick(_seconds(60)).orders] == ["A", "B", "C"]


def test_steps_can_wait_for_several_and_in_a_row() -> None:
    """One that waits may itself be waited for."""
    text = """
    rules:
      - id: r
        when: {kind: plate.read}
        then:
          - clip: {as: one}
          - clip: {as: two, channels: [2]}
          - webhook: {to: both, with: [one, two], as: told}
          - mqtt: {topic: told, with: told, payload: "{{ steps.told.outcome }}"}
    """
    run = Run(rules_of(text))
    one, two = run.feed(plate()).orders
    assert not run.feed(ended(two)).orders
    [both] = run.feed(ended(one, "dead")).orders
    assert {name: result.outcome for name, result in both.steps.items()} == {"one": "dead", "two": "done"}
    [told] = run.feed(ended(both)).orders
    assert told.params["payload"] == "done"
    assert run.state == {}


def test_a_step_with_a_condition_of_its_own_is_left_out_and_nobody_waits_for_it() -> None:
    """`if` on a step decides for that step alone."""
    text = """
    rules:
      - id: r
        when: {kind: plate.read}
        then:
          - clip: {as: c, if: event.data.score > 98.0}
          - webhook: {to: a, with: c}
          - open: gate
            if: event.data.score > 90.0
    """
    decision = Run(rules_of(text)).feed(plate())
    assert [order.action for order in decision.orders] == ["webhook", "open"]
    assert decision.orders[0].steps["c"].outcome == "refused"
    assert decision.traces[0].skipped == ("then[0] clip: `if` did not hold",)


def test_a_text_that_cannot_be_made_costs_its_own_step_only() -> None:
    """The others are ordered, the trace says what failed, the engine goes on."""
    text = """
    rules:
      - id: r
        when: {kind: plate.read}
        then:
          - mqtt: {topic: "a/{{ event.data.lot.entrance }}", as: told}
          - ptz: {preset: "{{ 1 / 0 }}"}
          - open: gate
          - webhook: {to: x, with: told}
    """
    decision = Run(rules_of(text)).feed(plate())
    assert [order.action for order in decision.orders] == ["open", "webhook"]
    [trace] = decision.traces
    assert [note.partition(":")[0] for note in trace.failed] == ["then[0] mqtt", "then[1] ptz"]


# --- other rules ------------------------------------------------------------------------------------


def test_new_rules_keep_what_unchanged_rules_remember() -> None:
    """A changed or removed rule starts afresh; its waiting steps end with a trace; the rest goes on."""
    text = ENTRY + GATE.replace("\nrules:\n", "")
    run = Run(rules_of(text))
    run.feed(event("motion.started"))
    run.feed(plate("A"))
    assert {key.rule for key in run.state} == {"$state", "$firing/entry", "gate"}
    decision = run.keep(run.engine.replace_rules(rules_of(text.replace("wait: 60s", "wait: 61s"))))
    [(gone, value)] = decision.changed.items()
    assert (place_of(gone), value) == (StateKey("entry", "A"), None)
    assert [(trace.rule, trace.outcome) for trace in decision.traces] == [("entry", "dropped")]
    run.rules = rules_of("rules: []")
    assert run.keep(run.engine.replace_rules(run.rules)).changed == {StateKey("gate", "A"): None}
    assert [key.rule for key in run.state] == ["$state"]
    assert run.engine.next_due is None


def test_a_new_resident_resets_no_cooldown() -> None:
    """What a list holds is not part of what a rule means."""
    text = """
    lists: {l: {plates: l.csv}}
    rules: [{id: r, when: {kind: plate.read}, match: {plate: {in: l}}, cooldown: 1m, then: [{open: a}]}]
    """
    run = Run(rules_of(text, l="plate\nA\n"))
    assert run.feed(plate("A")).orders
    run.keep(run.engine.replace_rules(rules_of(text, l="plate\nA\nB\n")))
    assert run.feed(plate("B")).traces[0].condition == "cooldown"


def test_state_left_by_another_version_is_neither_used_nor_kept() -> None:
    """Old state is never mixed with new rules, even if it was not dropped in time."""
    run = Run(rules_of(ENTRY))
    run.feed(plate("A"))
    other = Run(rules_of(ENTRY.replace("60s", "61s")), run.state)
    assert not other.tick(_seconds(60)).orders
    assert other.state == {}


# --- traces ------------------------------------------------------------------------------------------


def test_a_trace_says_what_was_wanted_and_what_was_seen() -> None:
    """The first condition that did not hold, in words and values."""
    run = Run(rules_of(GATE))
    [trace] = run.feed(plate(score=80)).traces
    assert (trace.condition, trace.wanted, trace.seen) == ("match.score", "at least 90", 80.0)
    assert str(trace) == "rule gate did not fire: match.score: wanted at least 90, saw 80.0"
    told = trace.as_json()
    assert told == {
        "id": trace.id,
        "fired": False,
        "words": str(trace),
        "rule": "gate",
        "version": run.rules.rules[0].version,
        "outcome": "unmet",
        "seq": 1,
        "event": plate(score=80).id,
        "at": "2026-01-05T12:00:00Z",
        "condition": "match.score",
        "wanted": "at least 90",
        "seen": 80.0,
    }
    assert not run.feed(plate(score=80), trace=False).traces


def test_a_firing_is_traced_even_when_nothing_else_is() -> None:
    """Sampling never loses a firing."""
    run = Run(rules_of(GATE))
    decision = run.feed(plate(), trace=False)
    assert [trace.orders for trace in decision.traces] == [(decision.orders[0].id,)]


def test_rules_about_another_value_are_not_traced() -> None:
    """A thousand rules for a thousand plates say nothing about the one that was read; a list does."""
    many = "".join(
        f"  - {{id: r{i}, when: {{kind: plate.read}}, match: {{plate: P{i}}}, then: [{{open: a}}]}}\n"
        for i in range(100)
    )
    listed = "".join(
        f"  - {{id: l{i}, when: {{kind: plate.read}}, match: {{plate: {{in: l}}}}, then: [{{open: a}}]}}\n"
        for i in range(20)
    )
    run = Run(rules_of(f"lists: {{l: {{plates: [A]}}}}\nrules:\n{many}{listed}"))
    [trace] = run.feed(plate("P7X")).traces
    assert (trace.rule, trace.condition, trace.wanted, trace.seen) == ("l0", "match.plate", "in l", "P7X")


def test_explain_tells_about_any_rule_and_remembers_nothing() -> None:
    """Also about those that the index never reaches."""
    text = GATE + "  - {id: other, when: {kind: plate.read, source: nvr2}, match: {plate: X}, then: [{open: a}]}\n"
    run = Run(rules_of(text))
    logged = Logged(1, START, plate())
    gate, other = run.engine.explain(logged)
    assert (gate.outcome, gate.key) == ("fired", "12AB345")
    assert (other.condition, other.wanted, other.seen) == ("when.source", "site/nvr2", "site/nvr1")
    assert run.feed(plate()).orders
    [gate] = run.engine.explain(logged, ["gate"])
    assert (gate.condition, gate.seen) == ("cooldown", "30s left")


def test_only_what_a_step_did_not_give_is_null() -> None:
    """Other absent values, and results that cannot be worked with, still cost the step."""
    text = """
    rules:
      - id: r
        when: {kind: system.log}
        then:
          - clip: {as: c}
          - mqtt: {topic: a, payload: "{{ event.data.param.nothing }}"}
          - mqtt: {topic: b, payload: "{{ steps.c.nothing }}", with: c}
          - mqtt: {topic: c, payload: "{{ steps.c.frames / 0 }}", with: c}
    """
    run = Run(rules_of(text))
    log = {"log_id": "1", "log_type": 1, "began": START}
    first = run.feed(event("system.log", log))
    [clip] = first.orders
    assert first.traces[0].failed == ("then[1] mqtt: 'nothing' is absent",)
    second = run.feed(ended(clip, frames=3))
    assert [order.params for order in second.orders] == [{"topic": "b", "payload": None}]
    assert second.traces[0].outcome == "resumed"
    assert len(second.traces[0].failed) == 1


def test_an_order_that_nobody_waits_for_is_not_remembered() -> None:
    """Its end finds nothing to go on with."""
    text = """
    rules:
      - id: r
        when: {kind: plate.read}
        then: [{clip: {as: a}}, {clip: {as: b}}, {webhook: {to: x, with: b}}]
    """
    run = Run(rules_of(text))
    first, second = run.feed(plate()).orders
    assert not run.feed(ended(first)).changed
    assert run.feed(ended(second)).orders


def test_a_rest_that_began_anew_is_not_swept_with_the_old_one() -> None:
    """Even when more rests ended at once than one step sweeps."""
    run = Run(rules_of(GATE))
    for number in range(30):
        run.feed(plate(f"P{number:02}"))
    assert run.feed(plate("P29", time=_seconds(31))).orders
    for second in range(32, 40):
        run.tick(_seconds(second))
    assert set(run.state) == {StateKey("gate", "P29")}
    assert not run.feed(plate("P29", time=_seconds(40))).orders
