"""One walk at a time along the effect path: what is written down, what is done, and when the next walk is due.

The path stands alone here, without its runner and without lanes; records are compared whole.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.actions import path as effect_path
from bridge.actions.lanes import Job
from bridge.actions.path import POISON_AFTER, EffectPath
from bridge.actions.plan import Plan, plan
from bridge.actions.records import burial, ended_effect, result_of, started_effect, waiting_effect
from bridge.actions.tally import Tally
from bridge.contracts import ActionContext, Claimed
from bridge.errors import ActionRejectedError, ActionUnavailableError, ActionUnknownError, StoreUnavailableError
from bridge.safety.reasons import WORDS, Reason
from bridge.schema.orders import ActionClass, Effect, Order, Result
from tests.bridge.actions.support import (
    Disk,
    InfoParams,
    Locator,
    MemoryDead,
    MemoryLedger,
    MemoryQueue,
    Power,
    info_spec,
    make_gate,
    make_order,
)
from tests.clock import VirtualClock

DELAY = timedelta(seconds=7)
S = timedelta(seconds=1)


@dataclass
class Watcher:
    """An Observer that notes all it hears."""

    heard: list[tuple[Any, ...]] = field(default_factory=list)

    def taken(self, order: Order) -> None:
        self.heard.append(("taken", order.id))

    def failed(self, order: Order, attempt: int, error: str) -> None:
        self.heard.append(("failed", order.id, attempt, error))

    def ended(self, result: Result) -> None:
        self.heard.append(("ended", result.order, result.outcome))


class Road:
    """A path over a disk of its own, one kind of action that answers from a list, and one order."""

    def __init__(self, folder: Path, *answers: Any, **spec: Any) -> None:
        self.clock, self.disk, self.power = VirtualClock(), Disk(), Power()
        self.answers, self.contexts = list(answers), []
        self.services, self.watcher, self.points, self.params = Locator(), Watcher(), [], []
        self.delays: list[tuple[Any, ...]] = []
        self.gate = make_gate(folder, self.clock)
        self.ledger = MemoryLedger(self.disk, self.power)
        self.tally = Tally(self.watcher)
        self.actions = {"info": info_spec(self._run, **spec)}
        self.order = make_order(self.clock, "info", {"to": "y"}, action_class=self.actions["info"].action_class)
        dead = MemoryDead(self.disk, self.power)
        self.path = EffectPath(self.ledger, dead, self.services, self.gate, self.clock, "me", self.tally)

    async def _run(self, params: InfoParams, context: ActionContext) -> Any:
        self.contexts.append(context)
        self.params.append(params)
        answer = self.answers.pop(0) if self.answers else {"sent": True}
        if isinstance(answer, BaseException):
            raise answer
        return answer

    @property
    def history(self) -> list[Effect]:
        return self.disk.history

    @property
    def planned(self) -> Plan:
        planned = plan(self.order, self.actions)
        assert isinstance(planned, Plan)
        return planned

    def started(self, attempt: int, claimed: datetime, now: datetime | None = None) -> Effect:
        return started_effect(self.order, self.planned, "me", attempt, claimed, now or self.clock.now())

    def result(self, *how: Any, now: datetime | None = None) -> Result:
        return result_of(self.order, now or self.clock.now(), *how)

    async def given(self, **record: Any) -> Effect:
        """Write the record that an earlier try or another runner left."""
        effect = self.started(2, self.clock.now() - S).model_copy(update=record)
        assert await self.ledger.claim(effect) is not None
        return effect

    async def walk(self, *, superseded: bool = False) -> timedelta | None:
        queue = MemoryQueue(self.disk, self.power, self.clock)
        queue.put(self.order)
        pending = await anext(queue.take())
        job = Job(pending, plan(self.order, self.actions), self.tally.taken(self.order), superseded)
        return await self.path.walk(job)

    @property
    def acked(self) -> bool:
        return self.order.id in self.disk.acked

    @property
    def end(self) -> tuple[str, str | None]:
        result = self.disk.results[self.order.id]
        return result.outcome, result.reason


@pytest.fixture
def road(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return `road(answers...)`; the next try is always seven seconds away."""

    def build(*answers: Any, **spec: Any) -> Road:
        made = Road(tmp_path, *answers, **spec)

        def delay(*how: Any) -> timedelta:
            made.delays.append(how)
            return DELAY

        monkeypatch.setattr(effect_path, "delay_before", delay)
        monkeypatch.setattr(effect_path, "crash_point", made.points.append)
        return made

    return build


ACTING = ActionClass.ACTUATING
BUSY = ActionUnavailableError("busy", timedelta(minutes=2))


async def test_a_try_is_claimed_before_and_recorded_after(road: Any) -> None:
    """Two records and nothing else: who does it and until when, then how it ended."""
    way = road()
    now = way.clock.now()
    assert await way.walk() is None
    ended = way.result("done", None, None, 1, now, {"sent": True})
    assert way.history == [
        way.started(1, now),
        way.started(1, now).model_copy(update={"status": "ended", "next_try": None, "result": ended}),
    ]
    [context] = way.contexts
    assert (context.order, context.attempt, context.clock, context.services) == (way.order, 1, way.clock, way.services)
    assert (way.acked, way.params) == (True, [InfoParams(to="y")])
    assert way.watcher.heard == [("taken", way.order.id), ("ended", way.order.id, "done")]


async def test_a_crash_can_be_tried_at_every_step(road: Any) -> None:
    """The points come in the order of the steps; a crash test that names one dies where it says."""
    way = road(BUSY, KeyError("x"), give_up_after=30 * S, failed=lambda *_: asyncio.sleep(0))
    taken, ended = ["effect.taken", "effect.gated"], ["effect.recorded", "effect.told", "effect.acked"]
    assert await way.walk() == DELAY
    assert way.points == [*taken, "effect.claimed", "effect.waiting"]
    way.points.clear()
    way.clock.jump(60 * S)
    assert await way.walk() is None
    assert way.points == [*taken, "effect.found", "effect.claimed", "effect.buried", *ended]
    done = road()
    assert await done.walk() is None
    assert done.points == [*taken, "effect.claimed", "effect.acted", "effect.recorded", "effect.acked"]


async def test_what_must_not_be_done_is_ended_in_one_record(road: Any) -> None:
    """Nothing was tried, so nothing is claimed: the record of the end is the claim."""
    way = road()
    assert await way.walk(superseded=True) is None
    result = way.result("refused", Reason.SUPERSEDED)
    assert way.history == [ended_effect(way.order, "me", result)]
    assert (way.contexts, way.acked, result.message) == ([], True, WORDS[Reason.SUPERSEDED])
    assert way.watcher.heard[1:] == [("ended", way.order.id, "refused")]
    late = road(max_age=10 * S)
    late.clock.jump(11 * S)
    assert await late.walk() is None
    assert late.history == [ended_effect(late.order, "me", late.result("expired", Reason.TOO_OLD))]


async def test_what_must_not_be_done_any_more_ends_the_record_there_is(road: Any) -> None:
    """A waiting order that was superseded, or is too old, ends at once and keeps the number of its tries."""
    way = road()
    before = await way.given(status="waiting", next_try=way.clock.now() + 60 * S)
    assert await way.walk(superseded=True) is None
    ended = {"status": "ended", "next_try": None, "result": way.result("refused", Reason.SUPERSEDED, None, 2)}
    assert way.history[1:] == [before.model_copy(update=ended)]
    late = road(max_age=10 * S)
    await late.given(status="waiting", next_try=late.clock.now() + 60 * S)
    late.clock.jump(11 * S)
    assert await late.walk() is None
    assert late.end == ("expired", "too_old")
    assert (way.contexts, late.contexts) == ([], [])


@pytest.mark.parametrize(
    ("action_class", "end"),
    [(ACTING, ("unknown", "interrupted")), (ActionClass.INFORMATION, ("refused", "superseded"))],
)
async def test_what_a_crash_cut_off_may_have_happened_also_when_it_must_not_any_more(
    road: Any, action_class: ActionClass, end: tuple[str, str]
) -> None:
    """What is done at most once is not called refused after a try that may have reached the device."""
    way = road(action_class=action_class)
    await way.given()
    assert await way.walk(superseded=True) is None
    assert (way.end, way.contexts) == (end, [])


async def test_the_gate_is_asked_right_before_the_try(road: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim that took long makes an order too old: the try that was claimed is not made, and counted."""
    way = road(max_age=10 * S)
    claim = way.ledger.claim

    async def slow(effect: Effect) -> Claimed | None:
        way.clock.jump(11 * S)
        return await claim(effect)

    monkeypatch.setattr(way.ledger, "claim", slow)
    assert await way.walk() is None
    assert (way.end, way.contexts, way.history[-1].result) == (
        ("expired", "too_old"), [], way.result("expired", Reason.TOO_OLD, None, 1),
    )  # fmt: skip


@pytest.mark.parametrize(("milliseconds", "tried"), [(-1, True), (50, True), (51, False), (9000, False)])
async def test_a_waiting_order_is_tried_when_it_is_due(road: Any, milliseconds: int, tried: bool) -> None:
    """Queues are a little early or late: up to 50 ms before its moment is good enough."""
    way = road()
    left = timedelta(milliseconds=milliseconds)
    before = await way.given(status="waiting", next_try=way.clock.now() + left)
    assert await way.walk() == (None if tried else left)
    assert bool(way.contexts) is tried
    if tried:
        assert way.history[1] == way.started(3, before.claimed)
        assert way.contexts[0].attempt == 3


@pytest.mark.parametrize(("executor", "seconds", "tried"), [("me", 9, True), ("other", 9, False), ("other", 0, True)])
async def test_a_try_of_another_runner_is_waited_out(road: Any, executor: str, seconds: int, tried: bool) -> None:
    """Our own is over, since we are here; another's is over when its time is."""
    way = road()
    await way.given(executor=executor, next_try=way.clock.now() + seconds * S)
    assert await way.walk() == (None if tried else seconds * S)
    assert bool(way.contexts) is tried


async def test_a_try_without_a_time_is_over(road: Any) -> None:
    """A record of another runner that does not say until when is not waited for."""
    way = road(action_class=ACTING)
    before = await way.given(executor="other", next_try=None)
    assert await way.walk() is None
    unknown = way.result("unknown", Reason.INTERRUPTED, None, 2)
    assert way.history[1:] == [before.model_copy(update={"status": "ended", "result": unknown})]
    assert way.contexts == []


@pytest.mark.parametrize("known", [True, False])
async def test_the_end_of_an_earlier_run_is_not_counted_as_ours(road: Any, known: bool) -> None:
    """Its record is the end, and the acknowledgement is all that is left to do; what we had in hand is counted."""
    way = road()
    result = way.result("done", None, None, 2)
    await way.given(status="ended", next_try=None, result=result)
    if known:
        way.tally.adopt(way.order.id)
    assert await way.walk() is None
    assert (way.acked, way.contexts, len(way.history)) == (True, [], 1)
    assert (way.tally.outcomes.total(), way.tally.pending, way.tally.balanced) == (int(known), 0, True)


async def test_a_record_that_has_gone_is_looked_for_again_soon(road: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claimed by somebody and not to be found: nothing is done, and the next walk is in a second."""
    way = road()

    async def taken(effect: Effect) -> None:
        return None

    monkeypatch.setattr(way.ledger, "claim", taken)
    assert await way.walk() == S
    assert (way.contexts, way.acked) == ([], False)


@pytest.mark.parametrize(
    ("reason", "outcome"), [("not_found", "refused"), ("expired", "expired"), ("too_old", "expired")]
)
async def test_a_no_keeps_its_reason_and_words(road: Any, reason: str, outcome: str) -> None:
    """Refused; or expired, when the action asked the gate once more and it was too late by then."""
    way = road(ActionRejectedError("no such relay", reason))
    began = way.clock.now()
    assert await way.walk() is None
    assert way.history[-1].result == way.result(outcome, reason, "no such relay", 1, began)


async def test_what_is_tried_again_says_why_and_when(road: Any) -> None:
    """The delay comes of the tries so far, the class and what the far side asked for; whoever counts is told."""
    way = road(BUSY)
    before = await way.given(status="waiting", next_try=None)
    assert await way.walk() == DELAY
    started = way.started(3, before.claimed)
    assert way.history[1:] == [started, waiting_effect(started, way.clock.now() + DELAY, "busy")]
    assert way.delays == [(3, ActionClass.INFORMATION, timedelta(minutes=2))]
    assert way.watcher.heard[1:] == [("failed", way.order.id, 3, "busy")]
    assert not way.acked


@pytest.mark.parametrize(("allowed", "end"), [(7, None), (6.9, ("expired", "too_old"))])
async def test_there_is_no_next_try_after_the_order_is_too_old(road: Any, allowed: float, end: Any) -> None:
    """One that could start just in time is waited for; one that could not ends now, with its last error."""
    way = road(BUSY, max_age=allowed * S)
    assert await way.walk() == (DELAY if end is None else None)
    if end:
        assert way.history[-1].result == way.result(*end, "busy", 1)


async def test_how_long_an_order_is_tried_may_hang_on_its_parameters(road: Any) -> None:
    """What releases goes on, however old it will be; the same action with other parameters would not."""
    kinds = {"x": ACTING, "y": ActionClass.RELEASING}
    way = road(BUSY, max_age=S, classify=lambda params: kinds[params.to])
    way.order = way.order.model_copy(update={"action_class": ActionClass.RELEASING})
    assert await way.walk() == DELAY


@pytest.mark.parametrize(("action_class", "seconds", "dead"), [
    (ActionClass.INFORMATION, 7, False), (ActionClass.INFORMATION, 6.9, True), (ActionClass.RELEASING, 1, False),
])  # fmt: skip
async def test_retries_end_among_the_dead_letters(
    road: Any, action_class: ActionClass, seconds: float, dead: bool
) -> None:
    """Counted from the claim; the letter has the order and how often it was tried. A release is never given up."""
    way = road(BUSY, action_class=action_class, give_up_after=seconds * S)
    assert await way.walk() == (None if dead else DELAY)
    if dead:
        headers = burial(way.order, Reason.GAVE_UP, "busy", 1)
        assert way.disk.buried == [("information", "gave_up", way.order.encode(), headers)]
        assert way.history[-1].result == way.result("dead", Reason.GAVE_UP, "busy", 1)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ActionUnknownError("line cut"), "line cut"),
        (TimeoutError(), "no answer within 15 s"),
        (KeyError("oops"), "KeyError: 'oops'"),
    ],
)
@pytest.mark.parametrize("action_class", list(ActionClass))
async def test_no_answer_is_an_end_or_another_try(
    road: Any, error: BaseException, said: str, action_class: ActionClass, caplog: pytest.LogCaptureFixture
) -> None:
    """What is done at most once may have happened, and a person is told which order it is; the rest is tried again."""
    way = road(error, action_class=action_class)
    began = way.clock.now()
    wait = await way.walk()
    if action_class not in (ACTING, ActionClass.VENDOR_START):
        assert (wait, way.history[-1].last_error) == (DELAY, said)
        assert way.delays == [(1, action_class, None)]
        return
    assert wait is None
    assert way.history[-1].result == way.result("unknown", Reason.NO_ANSWER, said, 1, began)
    said_of = vars(caplog.records[-1])
    assert [said_of[name] for name in ("order", "rule", "action", "reason")] == [
        way.order.id, "a-rule", "info", "no_answer",
    ]  # fmt: skip


async def test_a_try_that_hangs_is_cut_off(road: Any) -> None:
    """After the action's own time limit, whatever it waits for; a result says so."""

    async def hang(params: InfoParams, context: ActionContext) -> Any:
        await asyncio.Event().wait()

    way = road(action_class=ACTING)
    way.actions["info"] = info_spec(hang, action_class=ACTING, timeout=timedelta(milliseconds=20))
    began = way.clock.now()
    async with asyncio.timeout(10):
        assert await way.walk() is None
    assert way.history[-1].result == way.result("unknown", Reason.NO_ANSWER, "no answer within 0.02 s", 1, began)


@pytest.mark.parametrize("tries", [POISON_AFTER - 1, POISON_AFTER])
@pytest.mark.parametrize("action_class", [ActionClass.INFORMATION, ActionClass.TRANSIENT, ActionClass.RELEASING])
async def test_a_bug_is_given_up_after_a_few_tries(road: Any, action_class: ActionClass, tries: int) -> None:
    """Poison is buried at its fifth try; a release, which must happen, goes on."""
    way = road(KeyError("oops"), action_class=action_class)
    await way.given(status="waiting", next_try=None, attempt=tries - 1)
    if tries < POISON_AFTER or action_class is ActionClass.RELEASING:
        assert await way.walk() == DELAY
        assert way.disk.buried == []
        return
    assert await way.walk() is None
    headers = burial(way.order, Reason.POISON, "KeyError: 'oops'", tries)
    assert way.disk.buried == [(action_class.value, "poison", way.order.encode(), headers)]
    assert way.end == ("dead", "poison")


@pytest.mark.parametrize("output", [{"when": object()}, 5, None, {1: 2}])
async def test_a_report_that_is_not_json_is_empty(road: Any, output: Any) -> None:
    """What was done counts, not what is said of it."""
    way = road(output)
    assert await way.walk() is None
    assert way.end == ("done", None)
    assert way.disk.results[way.order.id].output == {}


# --- orders that cannot be read --------------------------------------------------------------------


async def test_an_order_that_cannot_be_read_is_buried_and_ended(road: Any) -> None:
    """Nothing was tried; the letter and the record say what was not understood."""
    way = road()
    way.order = way.order.model_copy(update={"action": "later"})
    assert await way.walk() is None
    result = way.result("dead", Reason.UNKNOWN_ACTION, "later")
    assert way.history == [ended_effect(way.order, "me", result)]
    assert way.disk.buried == [
        ("information", "unknown_action", way.order.encode(), burial(way.order, Reason.UNKNOWN_ACTION, "later", 0))
    ]
    assert way.acked


async def test_a_record_of_an_order_that_cannot_be_read_any_more_is_ended(road: Any) -> None:
    """An older version began it: what that one wrote stays, and it is dead."""
    way = road()
    before = await way.given(status="waiting")
    way.order = way.order.model_copy(update={"action": "later"})
    assert await way.walk() is None
    result = way.result("dead", Reason.UNKNOWN_ACTION, "later", 2)
    assert way.history[1:] == [before.model_copy(update={"status": "ended", "next_try": None, "result": result})]
    assert len(way.disk.buried) == 1


@pytest.mark.parametrize("known", [True, False])
async def test_an_order_that_had_ended_need_not_be_read(road: Any, known: bool) -> None:
    """It is acknowledged and not buried; whether it counts is whether we had it in hand."""
    way = road()
    await way.given(status="ended", next_try=None, result=way.result("done", None, None, 2))
    way.order = way.order.model_copy(update={"action": "later"})
    if known:
        way.tally.adopt(way.order.id)
    assert await way.walk() is None
    assert (way.acked, way.disk.buried, way.tally.outcomes.total()) == (True, [], int(known))


async def test_an_order_that_somebody_else_takes_just_now_is_looked_at_again(
    road: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not there, and then it was: the next walk, in a second, finds it."""
    way = road()
    await way.given()
    way.order = way.order.model_copy(update={"action": "later"})
    find = way.ledger.find

    async def blind(order: str) -> None:
        monkeypatch.setattr(way.ledger, "find", find)

    monkeypatch.setattr(way.ledger, "find", blind)
    assert await way.walk() == S
    assert not way.acked


# --- what happened is written down, whatever the store does ----------------------------------------


@pytest.mark.parametrize(("asks", "waits"), [(0.2, 1.0), (4.0, 4.0)])
async def test_the_end_is_written_when_the_store_is_back(
    road: Any, monkeypatch: pytest.MonkeyPatch, asks: float, waits: float
) -> None:
    """It is not done again for that; between tries to write passes what the store asks for, and a second at least."""
    way = road()
    update, away = way.ledger.update, [StoreUnavailableError("away", asks * S)] * 2

    async def slow(claimed: Claimed, effect: Effect) -> Claimed:
        if away:
            raise away.pop()
        return await update(claimed, effect)

    monkeypatch.setattr(way.ledger, "update", slow)
    walking = asyncio.create_task(way.walk())
    for _ in range(2):
        await way.clock.until_asleep()
        assert way.clock.waits == [waits]
        await way.clock.advance(waits)
    assert await walking is None
    assert (way.end, len(way.contexts)) == (("done", None), 1)


async def test_a_write_that_was_stored_unseen_counts(road: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer was lost, the second write is refused as stale: what is found is our own."""
    way = road(BUSY)
    update, lost = way.ledger.update, [True]

    async def unheard(claimed: Claimed, effect: Effect) -> Claimed:
        stored = await update(claimed, effect)
        if lost:
            lost.clear()
            raise StoreUnavailableError("lost", S)
        return stored

    monkeypatch.setattr(way.ledger, "update", unheard)
    walking = asyncio.create_task(way.walk())
    await way.clock.until_asleep()
    await way.clock.advance(1)
    assert await walking == DELAY
    assert [effect.status for effect in way.history] == ["started", "waiting"]


@pytest.mark.parametrize("answer", [None, BUSY])
@pytest.mark.parametrize("theirs", ["started", "ended", "gone"])
async def test_who_took_the_order_over_has_the_last_word(road: Any, answer: Any, theirs: str) -> None:
    """Its end is the end; while it is at it, or its record has gone, we come again in a second and end nothing."""
    way = road()

    async def act(params: InfoParams, context: ActionContext) -> Any:
        claimed = way.disk.effects[way.order.id]
        if theirs == "gone":
            way.disk.effects[way.order.id] = Claimed(claimed.effect, 99)
            way.ledger.find = nothing
        else:
            result = way.result("refused", "theirs", None, 4) if theirs == "ended" else None
            changed = {"executor": "other", "status": theirs, "result": result}
            await way.ledger.update(claimed, claimed.effect.model_copy(update=changed))
        if answer is not None:
            raise answer
        return {}

    async def nothing(order: str) -> None:
        return None

    way.actions["info"] = info_spec(act)
    wait = await way.walk()
    if theirs != "ended":
        assert (wait, way.acked, len(way.watcher.heard)) == (S, False, 1)
        return
    if answer is not None:
        assert (wait, way.acked) == (DELAY, False)
        assert await way.walk() is None
    assert (wait is None, way.acked, way.end) == (answer is None, True, ("refused", "theirs"))
    assert way.watcher.heard[-1] == ("ended", way.order.id, "refused")


async def test_an_action_hears_how_its_order_ended(road: Any) -> None:
    """With the order, the number of tries and the services, after the record and before the acknowledgement."""
    heard: list[Any] = []

    async def failed(params: InfoParams, result: Result, context: ActionContext) -> None:
        heard.append((params, result, context.order, context.attempt, context.clock, context.services, way.acked))

    way = road(ActionRejectedError("no"), None, failed=failed)
    assert await way.walk() is None
    result = way.disk.results[way.order.id]
    assert heard == [(InfoParams(to="y"), result, way.order, 1, way.clock, way.services, False)]
    done = road(failed=failed)
    assert await done.walk() is None
    assert len(heard) == 1
