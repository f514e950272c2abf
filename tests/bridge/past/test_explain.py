"""Why a rule fired, or did not: kept ones are taken, others worked out again, and honest where neither helps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge.bus.acks import Acks
from bridge.bus.wire import Outgoing
from bridge.past.explain import Answer, Explained
from bridge.schema.event import VmsEvent
from tests.bridge.bus.helpers import effect, event, result, until
from tests.bridge.past.world import World, world

RULES = """
lists: {residents: {plates: [A]}}
rules:
  - id: gate
    when: {kind: plate.read}
    match: {plate: {in: residents}}
    cooldown: 1h
    then: [{webhook: {to: x, as: told}}]
  - id: pairs
    when: {kind: plate.read, count: 2, within: 1h}
    then: [{clip: {before: 1s, after: 1s}}]
  - id: moved
    when: {kind: motion.started}
    then: [{webhook: y}]
"""


def plate(number: int, text: str) -> VmsEvent:
    """The read of a plate."""
    return event(number, "plate.read", data={"plate": text, "plate_raw": text, "score": 90})


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as one:
        yield one


async def _decided(site: World, *events: VmsEvent, checkpoints: bool = True) -> None:
    async with site.running(checkpoints=checkpoints) as host:
        await site.use(RULES)
        await site.put(*events)
        await until(lambda: host.position >= len(events) + 1)


def _by_rule(answers: Any) -> dict[str, Answer]:
    return {answer.trace["rule"]: answer for answer in answers}


async def test_what_was_kept_is_taken_and_the_rest_is_worked_out_again(site: World) -> None:
    """Each rule has one answer: the touched ones their trace, the others what the engine gives again."""
    await _decided(site, plate(1, "B"), plate(2, "A"), plate(3, "A"))
    told = _by_rule((await site.explainer.event(await site.logged(4))).answers)
    assert {rule: (one.kept, one.outcome, one.elsewhere) for rule, one in told.items()} == {
        "gate": (True, "unmet", False),
        "pairs": (True, "unmet", False),
        "moved": (False, "unmet", True),
    }
    assert told["gate"].trace["condition"] == "cooldown"
    assert "left" in told["gate"].trace["seen"]
    assert told["pairs"].trace["seen"] == "1 of 2 within 1h"


async def test_asked_for_one_rule_it_tells_of_no_other(site: World) -> None:
    """Kept or worked out again: the other rules that looked at the event are left out."""
    await _decided(site, plate(1, "A"))
    for rule, outcome in (("gate", "fired"), ("pairs", "unmet"), ("moved", "unmet")):
        explained = await site.explainer.event(await site.logged(2), rule)
        assert [(one.trace["rule"], one.outcome) for one in explained.answers] == [(rule, outcome)]
        assert {one.trace["rule"] for one in explained.later} <= {rule}


async def test_without_any_trace_the_answer_is_the_same(site: World) -> None:
    """From the beginning of the log, and from a checkpoint in the middle: the same to the byte."""
    await _decided(site, plate(1, "B"), plate(2, "A"))
    async with site.running() as host:
        await site.checkpoint(host, 3)
        await site.put(plate(3, "A"))
        await until(lambda: host.position >= 4)
    kept = [await _answers(site, seq) for seq in (2, 3, 4)]
    await site.bus.connection.api(f"STREAM.PURGE.{site.bus.stream('TRACES')}")
    computed = [await _answers(site, seq) for seq in (2, 3, 4)]
    assert all(not answer.kept for answers in computed for answer in answers.values())
    for before, after in zip(kept, computed, strict=True):
        assert {rule: answer.trace for rule, answer in before.items()} == {
            rule: answer.trace for rule, answer in after.items()
        }


async def _answers(site: World, seq: int) -> dict[str, Answer]:
    return _by_rule((await site.explainer.event(await site.logged(seq))).answers)


async def test_where_nothing_is_known_that_is_the_answer(site: World) -> None:
    """The log lost its beginning, and the first checkpoint is later: only what was kept is told."""
    await _decided(site, plate(1, "B"), plate(2, "A"), plate(3, "A"), checkpoints=False)
    await site.bus.connection.api(f"STREAM.PURGE.{site.bus.stream('EVENTS')}", {"seq": 2})
    explained = await site.explainer.event(await site.logged(3))
    assert (explained.unknown, explained.unknown_before) == (True, None)
    assert _by_rule(explained.answers)["gate"].outcome == "fired"
    async with site.running() as host:
        await site.checkpoint(host, 4)
    await site.put(plate(4, "A"))
    explained = await site.explainer.event(await site.logged(3))
    assert explained.unknown_before == await site.log.stamp(4)
    answers = [one async for one in site.explainer.span(1, 5)]
    assert [(one.logged.seq, one.unknown) for one in answers] == [
        (2, True),
        (2, False),
        (3, False),
        (4, False),
        (5, False),
    ]


async def test_a_damaged_checkpoint_is_passed_over_and_that_is_said(site: World) -> None:
    """The one before it serves as well; here it is the beginning of the log."""
    await _decided(site, plate(1, "A"), checkpoints=False)
    async with site.running(checkpoints=False) as host:
        await site.checkpoint(host, 2)
        await site.put(plate(2, "A"))
        await until(lambda: host.position >= 3)
    await Acks(site.bus.connection).store([Outgoing("vms.home.checkpoint.0.2.0", b"?")], 5)
    explained = await site.explainer.event(await site.logged(3))
    assert list(explained.notes) == ["a checkpoint is not used: part 0 of the checkpoint at 2 is damaged"]
    assert _by_rule(explained.answers)["moved"].elsewhere


async def test_a_checkpoint_of_another_log_is_not_used(site: World) -> None:
    """Somebody put an older copy of the events beside newer checkpoints."""
    await _decided(site, plate(1, "A"), plate(2, "A"), checkpoints=False)
    await site.bus.checkpoints().write(2, event().time, "", {})
    explained = await site.explainer.event(await site.logged(3))
    assert list(explained.notes) == ["a checkpoint is not used: the one at 2 belongs to another log"]


async def test_a_firing_leads_on_to_what_came_of_it(site: World) -> None:
    """Its order, how that ended, and the clip."""
    await _decided(site, plate(1, "A"), plate(2, "A"))
    orders = {order.rule: order for order in site.orders}
    gate, pairs = orders["gate"], orders["pairs"]
    ended = result(gate.id, order=gate.id, rule="gate", step="told", ended=gate.created, attempts=2)
    await site.bus.effects.claim(effect(gate.id, order=gate.id, status="ended", result=ended))
    clip = {
        "clip": "c", "path": "2026/c.mp4", "sha256": "0", "size": 1, "duration": 2, "began": event().time,
        "ended": event().time, "order": pairs.id, "rule": "pairs", "complete": True,
    }  # fmt: skip
    await site.put(event(9, "clip.ready", data=clip))
    [led] = _by_rule((await site.explainer.event(await site.logged(2))).answers)["gate"].led_to
    assert (led.action, led.step, led.status, led.attempts, led.seconds) == ("webhook", "told", "done", 2, 0)
    [led] = _by_rule((await site.explainer.event(await site.logged(3))).answers)["pairs"].led_to
    assert (led.action, led.status, led.clips) == ("clip", "not begun", ("2026/c.mp4",))


async def test_a_span_tells_what_rules_had_to_decide(site: World) -> None:
    """Every place at which one was touched; with a rule, what it made of everything that it is about."""
    await _decided(site, plate(1, "B"), event(2), event(3, "motion.ended"), plate(4, "A"))
    told = [one async for one in site.explainer.span(0, 5)]
    assert [(one.logged.seq, [a.trace["rule"] for a in one.answers if a.outcome == "fired"]) for one in told] == [
        (2, []),
        (3, ["moved"]),
        (5, ["gate", "pairs"]),
    ]
    assert all(answer.kept for one in told for answer in one.answers)
    gate: list[Explained] = [one async for one in site.explainer.span(0, 5, "gate")]
    assert [(one.logged.seq, [answer.outcome for answer in one.answers]) for one in gate] == [
        (2, ["unmet"]),
        (5, ["fired"]),
    ]


async def test_an_event_is_found_by_its_id_and_what_came_of_it_later_too(site: World) -> None:
    """The newest one of that id; a firing that came with the next event names it."""
    await _decided(site, plate(1, "B"), plate(2, "B"))
    found = await site.log.find("e1")
    assert found is not None
    assert found.seq == 2
    assert await site.log.find("e") is None
    explained = await site.explainer.event(found, "pairs")
    assert [answer.outcome for answer in explained.answers] == ["unmet"]
    assert explained.later == []


async def test_what_a_timer_told_at_a_place_is_no_answer_for_the_event_there(site: World) -> None:
    """Asked for a rule and an event, the rule's view of that event is told as well."""
    rules = "rules:\n  - {id: lasts, when: {kind: motion.started, for: 200ms}, then: [{webhook: x}]}\n"
    async with site.running() as host:
        await site.use(rules)
        await site.put(event(1))
        await until(lambda: any(trace.fired for trace in site.traces))
        [fired] = [trace for trace in site.traces if trace.fired]
        await until(lambda: host.position >= fired.seq)
    explained = await site.explainer.event(await site.logged(fired.seq), "lasts")
    assert [(one.trace["event"], one.outcome, one.kept) for one in explained.answers] == [
        ("e1", "fired", True),
        (explained.logged.event.id, "unmet", False),
    ]
    [later] = (await site.explainer.event(await site.logged(2), "lasts")).later
    assert (later.outcome, later.trace["seq"]) == ("fired", fired.seq)
