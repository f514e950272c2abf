"""The effect path: every order ends once, and how it may fail is its class's."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.actions.lanes import Concurrency
from bridge.actions.path import POISON_AFTER
from bridge.contracts import ActionContext
from bridge.errors import ActionRejectedError, ActionUnavailableError, ActionUnknownError
from bridge.safety.reasons import WORDS, Reason
from bridge.schema.event import Origin
from bridge.schema.orders import ActionClass, Effect
from tests.bridge.actions.support import (
    SPECS,
    Disk,
    InfoParams,
    Site,
    info_spec,
    make_order,
    plate_event,
    running,
    until,
)
from tests.clock import VirtualClock, settle


class Calls:
    """An action that notes its calls and answers from a list."""

    def __init__(self, *answers: BaseException | None) -> None:
        self.answers = list(answers)
        self.ids: list[tuple[str, int]] = []

    async def __call__(self, params: InfoParams, context: ActionContext) -> dict[str, Any]:
        self.ids.append((context.order.id, context.attempt))
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        return {"sent": True}


async def test_what_an_action_waited_for_may_be_cancelled_and_ends_no_lane(tmp_path: Path) -> None:
    """A connector's session that ends takes its own requests along, and neither the order nor those behind it."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        site.device.answers.append(asyncio.CancelledError())
        orders = [make_order(clock, "relay", {"output": "gate"}, number) for number in (1, 2)]
        site.queue.put(*orders)
        await site.advance(2)
        first, second = await site.ended(*orders)
    assert (first.outcome, first.reason, second.outcome) == ("unknown", "no_answer", "done")


async def test_an_order_is_done_recorded_and_acknowledged(tmp_path: Path) -> None:
    """The plain case: one try, one result with its output, one acknowledgement."""
    clock, calls = VirtualClock(), Calls()
    async with running(tmp_path, clock, actions={"info": info_spec(calls)}) as site:
        order = make_order(clock, "info", {})
        result = await site.do(order)
    assert (result.outcome, result.attempts, result.output) == ("done", 1, {"sent": True})
    assert [effect.status for effect in site.disk.history] == ["started", "ended"]
    assert site.disk.effects[order.id].effect.result == result
    assert site.runner.tally.balanced
    assert site.runner.tally.outcomes == {("info", "done"): 1}


async def test_a_redelivered_order_that_has_ended_is_only_acknowledged(tmp_path: Path) -> None:
    """An acknowledgement that was lost costs nothing: the ledger knows."""
    clock, calls = VirtualClock(), Calls()
    async with running(tmp_path, clock, actions={"info": info_spec(calls)}) as site:
        order = make_order(clock, "info", {})
        await site.do(order)
        site.disk.acked.clear()
        site.queue.redeliver(order)
        await site.ended(order)
    assert len(calls.ids) == 1
    assert site.runner.tally.injected == 1
    assert site.runner.tally.balanced


async def test_information_is_tried_again_with_the_same_id(tmp_path: Path) -> None:
    """Unavailable is worth another try; the id stays, the attempt counts."""
    clock = VirtualClock()
    calls = Calls(ActionUnavailableError("busy"), ActionUnknownError("no answer"), TimeoutError())
    async with running(tmp_path, clock, actions={"info": info_spec(calls)}) as site:
        order = make_order(clock, "info", {})
        site.queue.put(order)
        await site.advance(40)
        (result,) = await site.ended(order)
    assert (result.outcome, result.attempts) == ("done", 4)
    assert calls.ids == [(order.id, n) for n in (1, 2, 3, 4)]


async def test_retry_after_is_honoured(tmp_path: Path) -> None:
    """Whoever says when to come back is believed, up to an hour."""
    clock = VirtualClock()
    calls = Calls(
        ActionUnavailableError("busy", timedelta(minutes=2)), ActionUnavailableError("busy", timedelta(days=9))
    )
    async with running(tmp_path, clock, actions={"info": info_spec(calls)}) as site:
        site.queue.put(make_order(clock, "info", {}))
        await site.advance(200)
        delays = [delay for _, delay in site.queue.delays]
    assert timedelta(seconds=96) <= delays[0] <= timedelta(seconds=144)
    assert timedelta(minutes=48) <= delays[-1] <= timedelta(minutes=72)


async def test_retries_used_up_end_among_the_dead_letters(tmp_path: Path) -> None:
    """After `give_up_after` the order is buried with its body, and dead."""
    clock = VirtualClock()
    calls = Calls(*[ActionUnavailableError("still away\nfor ever")] * 50)
    actions = {"info": info_spec(calls, give_up_after=timedelta(minutes=10))}
    async with running(tmp_path, clock, actions=actions) as site:
        order = make_order(clock, "info", {})
        site.queue.put(order)
        await site.advance(900, step=5)
        (result,) = await site.ended(order)
    assert (result.outcome, result.reason) == ("dead", "gave_up")
    assert result.message == f"{WORDS[Reason.GAVE_UP]}: still away for ever"
    [(action_class, reason, body, headers)] = site.disk.buried
    assert (action_class, reason, body) == ("information", "gave_up", order.encode())
    assert headers["error"] == "still away for ever"


@pytest.mark.parametrize("error", [ActionUnknownError("sent"), TimeoutError()])
async def test_an_actuation_without_an_answer_is_unknown_and_never_repeated(
    tmp_path: Path, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """It may have happened; a person is told, the gate is not opened again."""
    clock, calls = VirtualClock(), Calls(error)
    spec = info_spec(calls, action_class=ActionClass.ACTUATING)
    async with running(tmp_path, clock, actions={"info": spec}) as site:
        result = await site.do(make_order(clock, "info", {}, action_class=ActionClass.ACTUATING))
        await site.advance(60, step=5)
    assert (result.outcome, result.reason, len(calls.ids)) == ("unknown", "no_answer", 1)
    assert any(record.levelname == "ERROR" for record in caplog.records)


async def test_an_actuation_that_surely_did_not_happen_is_tried_again_while_young(tmp_path: Path) -> None:
    """A busy device is worth another try within max_age, and none after it."""
    clock = VirtualClock()
    calls = Calls(*[ActionUnavailableError("busy")] * 50)
    spec = info_spec(calls, action_class=ActionClass.ACTUATING)
    async with running(tmp_path, clock, actions={"info": spec}) as site:
        order = make_order(clock, "info", {}, action_class=ActionClass.ACTUATING)
        site.queue.put(order)
        await site.advance(15)
        (result,) = await site.ended(order)
    assert (result.outcome, result.reason) == ("expired", "too_old")
    assert 4 <= len(calls.ids) <= 7


@pytest.mark.parametrize(
    ("action_class", "outcome", "tries"),
    [
        (ActionClass.ACTUATING, "unknown", 0),
        (ActionClass.VENDOR_START, "unknown", 0),
        (ActionClass.TRANSIENT, "done", 1),
        (ActionClass.RELEASING, "done", 1),
        (ActionClass.INFORMATION, "done", 1),
    ],
)
async def test_what_a_crash_left_started_is_settled_by_its_class(
    tmp_path: Path, action_class: ActionClass, outcome: str, tries: int
) -> None:
    """Started and no result: at-most-once classes end unknown, the others are tried again with the same id."""
    clock, calls, disk = VirtualClock(), Calls(), Disk()
    spec = info_spec(calls, action_class=action_class)
    order = make_order(clock, "info", {}, action_class=action_class)
    site = Site(tmp_path, clock, disk, actions={"info": spec})
    await site.runner._path._ledger.claim(
        Effect(
            order=order.id, action_class=action_class, status="started", attempt=1, executor="bridge",
            claimed=clock.now(), next_try=clock.now() + timedelta(minutes=1),
        )
    )  # fmt: skip
    disk.orders[order.id] = order
    async with running(tmp_path, clock, disk, actions={"info": spec}) as site:
        (result,) = await site.ended(order)
        assert site.runner.tally.injected == 1
        assert site.runner.tally.balanced
    assert (result.outcome, len(calls.ids)) == (outcome, tries)
    if tries:
        assert calls.ids == [(order.id, 2)]


async def test_another_runners_claim_is_waited_out(tmp_path: Path) -> None:
    """What somebody else is doing is not settled before his time limit is over."""
    clock, calls, disk = VirtualClock(), Calls(), Disk()
    order = make_order(clock, "info", {})
    site = Site(tmp_path, clock, disk)
    await site.runner._path._ledger.claim(
        Effect(
            order=order.id, action_class=ActionClass.INFORMATION, status="started", attempt=1, executor="somebody",
            claimed=clock.now(), next_try=clock.now() + timedelta(seconds=25),
        )
    )  # fmt: skip
    disk.orders[order.id] = order
    async with running(tmp_path, clock, disk, actions={"info": info_spec(calls)}) as site:
        await site.advance(24, step=1)
        assert calls.ids == []
        await site.advance(3, step=1)
        (result,) = await site.ended(order)
    assert result.outcome == "done"


async def test_a_hanging_action_is_cut_off(tmp_path: Path) -> None:
    """The time limit of a try is hard."""
    clock = VirtualClock()

    async def hang(params: InfoParams, context: ActionContext) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    spec = info_spec(hang, timeout=timedelta(milliseconds=20), action_class=ActionClass.VENDOR_START)
    async with running(tmp_path, clock, actions={"info": spec}) as site:
        result = await site.do(make_order(clock, "info", {}, action_class=ActionClass.VENDOR_START))
    assert (result.outcome, result.reason) == ("unknown", "no_answer")


async def test_a_no_is_recorded_and_not_retried(tmp_path: Path) -> None:
    """What the far side rejects is refused, with its reason."""
    clock, calls = VirtualClock(), Calls(ActionRejectedError("no such relay", "not_found"))
    async with running(tmp_path, clock, actions={"info": info_spec(calls)}) as site:
        result = await site.do(make_order(clock, "info", {}))
    assert (result.outcome, result.reason, result.message) == ("refused", "not_found", "no such relay")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"action": "info2"}, "unknown_action"),
        ({"params": {"nonsense": "hunter2"}}, "bad_params"),
        ({"action_class": ActionClass.RELEASING}, "class_mismatch"),
    ],
)
async def test_what_this_version_cannot_read_is_dead(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    """Version skew ends among the dead letters; values are not repeated in the message."""
    clock, calls = VirtualClock(), Calls()
    async with running(tmp_path, clock, actions={"info": info_spec(calls)}) as site:
        result = await site.do(make_order(clock, "info", {}).model_copy(update=change))
    assert (result.outcome, result.reason, calls.ids) == ("dead", reason, [])
    assert [each[1] for each in site.disk.buried] == [reason]
    assert "hunter2" not in str(result.message)


async def test_an_action_with_a_bug_is_given_up_after_a_few_tries(tmp_path: Path) -> None:
    """A poison order does not circle for days."""
    clock, calls = VirtualClock(), Calls(*[KeyError("oops")] * 50)
    async with running(tmp_path, clock, actions={"info": info_spec(calls)}) as site:
        order = make_order(clock, "info", {})
        site.queue.put(order)
        await site.advance(600, step=5)
        (result,) = await site.ended(order)
    assert (result.outcome, result.reason, len(calls.ids)) == ("dead", "poison", POISON_AFTER)


async def test_the_outcome_is_kept_while_the_store_is_away(tmp_path: Path) -> None:
    """Done but not recorded: it is recorded when the store is back, and not done twice."""
    clock = VirtualClock()
    calls = Calls()

    async def act(params: InfoParams, context: ActionContext) -> dict[str, Any]:
        site.disk.unavailable = True
        return await calls(params, context)

    spec = info_spec(act, action_class=ActionClass.ACTUATING)
    async with running(tmp_path, clock, actions={"info": spec}) as site:
        order = make_order(clock, "info", {}, action_class=ActionClass.ACTUATING)
        site.queue.put(order)
        await site.advance(30, step=1)
        site.queue.redeliver(order)
        await site.advance(3, step=1)
        assert order.id not in site.disk.results
        site.disk.unavailable = False
        await site.advance(10, step=1)
        (result,) = await site.ended(order)
    assert (result.outcome, len(calls.ids)) == ("done", 1)


async def test_a_ledger_that_cannot_be_read_at_the_start_is_waited_for(tmp_path: Path) -> None:
    """NATS goes away while it is asked what an earlier run has left: that ends neither the runner nor the bridge."""
    clock, disk, calls = VirtualClock(), Disk(unavailable=True), Calls()
    async with running(tmp_path, clock, disk, actions={"info": info_spec(calls)}) as site:
        disk.unavailable = False
        await site.advance(3)
        result = await site.do(make_order(clock, "info", {}))
    assert result.outcome == "done"


async def test_a_backlog_leaves_the_queue_to_others(tmp_path: Path) -> None:
    """What waits for a hanging receiver comes again now and then, not all of it every second."""
    clock = VirtualClock()

    async def hang(params: InfoParams, context: ActionContext) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async with running(tmp_path, clock, actions={"info": info_spec(hang)}) as site:
        site.queue.put(*(make_order(clock, "info", {"to": "away"}, number) for number in range(2000)))
        await until(lambda: len(site.queue.delays) > 1800)
        a_second = sum(1 / delay.total_seconds() for _, delay in site.queue.delays[-1000:])
        assert 0 < a_second < 600


async def test_a_slow_receiver_does_not_hold_up_a_gate(tmp_path: Path) -> None:
    """Hundreds of hanging webhooks fill their lane and nothing else; what is too many goes back to the queue."""
    clock, free = VirtualClock(), asyncio.Event()

    async def hang(params: InfoParams, context: ActionContext) -> dict[str, Any]:
        await free.wait()
        return {}

    limits = Concurrency(running=16, per_target=8, in_hand=32)
    async with running(tmp_path, clock, actions=SPECS | {"info": info_spec(hang)}, concurrency=limits) as site:
        slow = [make_order(clock, "info", {"to": f"t{n % 3}"}, n) for n in range(200)]
        gate = make_order(clock, "open", {"door": "main"}, 999)
        site.queue.put(*slow)
        result = await site.do(gate)
        assert result.outcome == "done"
        assert len(site.runner._in_hand) <= 32
        free.set()
        for _ in range(20):
            await site.advance(1, step=1)
        await site.ended(*slow)
        assert site.runner.tally.balanced
        assert site.runner.tally.pending == 0


async def test_orders_of_one_output_are_done_in_order(tmp_path: Path) -> None:
    """A second order waits until the first, which the device was too busy for, has ended."""
    clock, seen = VirtualClock(), []

    async def act(params: InfoParams, context: ActionContext) -> dict[str, Any]:
        seen.append((context.order.index, context.attempt))
        if context.order.index == 0 and context.attempt < 3:
            raise ActionUnavailableError("busy")
        return {}

    spec = info_spec(act, action_class=ActionClass.TRANSIENT)
    async with running(tmp_path, clock, actions={"info": spec}) as site:
        orders = [make_order(clock, "info", {}, n, index=n, action_class=ActionClass.TRANSIENT) for n in (0, 1)]
        site.queue.put(*orders)
        await site.advance(5)
        await site.ended(*orders)
    assert seen == [(0, 1), (0, 2), (0, 3), (1, 1)]


async def test_a_release_overtakes_the_retries_of_what_it_undoes(tmp_path: Path) -> None:
    """`off` does not wait for an `on` that the device is too busy for; that `on` never comes after it."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        site.device.answers.extend([ActionUnavailableError("busy")] * 2)
        on = make_order(clock, "relay", {"output": "gate", "state": "on"}, 1)
        off = make_order(clock, "relay", {"output": "gate", "state": "off"}, 2)
        site.queue.put(on)
        await until(lambda: site.disk.effects and site.disk.effects[on.id].effect.status == "waiting")
        site.queue.put(off)
        results = await site.ended(on, off)
    assert [(result.outcome, result.reason) for result in results] == [("refused", "superseded"), ("done", None)]
    assert [on for _, _, on in site.device.switched] == [False]


async def test_a_stop_lets_a_try_finish_and_leaves_the_rest_claimed(tmp_path: Path) -> None:
    """Cancelling the runner ends its tasks; what was being sent is recorded."""
    clock, begun, free = VirtualClock(), asyncio.Event(), asyncio.Event()

    async def act(params: InfoParams, context: ActionContext) -> dict[str, Any]:
        begun.set()
        await free.wait()
        return {}

    site = Site(tmp_path, clock, actions={"info": info_spec(act)})
    await site.start()
    order = make_order(clock, "info", {})
    site.queue.put(order)
    await begun.wait()
    site._tasks[1].cancel()
    await settle()
    free.set()
    await asyncio.wait((site._tasks[1],))
    await site.stop()
    assert site.disk.results[order.id].outcome == "done"
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert not [name for name in names if name.startswith(("runner", "release"))]


async def test_the_queue_hears_that_we_are_at_work(tmp_path: Path) -> None:
    """A long try keeps its order in hand."""
    clock, free = VirtualClock(), asyncio.Event()

    async def act(params: InfoParams, context: ActionContext) -> dict[str, Any]:
        await free.wait()
        return {}

    async with running(tmp_path, clock, actions={"info": info_spec(act)}) as site:
        order = make_order(clock, "info", {})
        site.queue.put(order)
        await site.advance(12, step=1)
        assert site.queue.given[0].heartbeats == 6
        free.set()
        await site.ended(order)


async def test_output_that_is_not_json_does_not_undo_what_was_done(tmp_path: Path) -> None:
    """The act counts, not its report."""
    clock = VirtualClock()

    async def act(params: InfoParams, context: ActionContext) -> Any:
        return {"when": object()}

    async with running(tmp_path, clock, actions={"info": info_spec(act)}) as site:
        result = await site.do(make_order(clock, "info", {}))
    assert (result.outcome, result.output) == ("done", {})


async def test_history_moves_nothing(tmp_path: Path) -> None:
    """A back-filled plate opens no gate, and the refusal is a recorded result."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        event = plate_event(clock, origin=Origin.BACKFILL)
        result = await site.do(make_order(clock, "open", {"door": "main"}, event=event))
    assert (result.outcome, result.reason, result.attempts) == ("refused", "not_live", 0)
    assert site.device.switched == []


async def test_the_gate_is_asked_again_after_the_claim(tmp_path: Path) -> None:
    """A ledger that took its time makes an order too old: it is claimed, and not done."""
    clock, calls = VirtualClock(), Calls()
    spec = info_spec(calls, action_class=ActionClass.TRANSIENT)
    async with running(tmp_path, clock, actions={"info": spec}) as site:
        ledger = site.runner._path._ledger
        claim = ledger.claim

        async def slow(effect: Effect) -> Any:
            clock.jump(timedelta(seconds=31))
            return await claim(effect)

        ledger.claim = slow  # type: ignore[method-assign]
        result = await site.do(make_order(clock, "info", {}, action_class=ActionClass.TRANSIENT))
    assert (result.outcome, result.reason, calls.ids) == ("expired", "too_old", [])


async def test_a_stop_does_not_wait_for_retries(tmp_path: Path) -> None:
    """What waits for its next try is put back at once and comes again at the next start."""
    clock, calls = VirtualClock(), Calls(*[ActionUnavailableError("busy")] * 9)
    spec = info_spec(calls, action_class=ActionClass.TRANSIENT)
    async with asyncio.timeout(2), running(tmp_path, clock, actions={"info": spec}) as site:
        order = make_order(clock, "info", {}, action_class=ActionClass.TRANSIENT)
        site.queue.put(order)
        await until(lambda: site.disk.effects and site.disk.effects[order.id].effect.status == "waiting")
    assert [each for each, _ in site.queue.delays] == [order.id]
    assert len(calls.ids) == 1


async def test_an_action_hears_of_its_orders_that_were_not_done(tmp_path: Path) -> None:
    """Once the end is recorded; and that it cannot tell anybody does not keep the order from ending."""
    clock, heard = VirtualClock(), []

    async def failed(params: InfoParams, result: Any, context: ActionContext) -> None:
        heard.append((result.outcome, context.order.id in site.disk.results, context.order.id in site.disk.acked))
        raise ActionRejectedError("this site has no Emit")

    spec = info_spec(Calls(None, ActionRejectedError("no")), failed=failed)
    async with running(tmp_path, clock, actions={"info": spec}) as site:
        assert (await site.do(make_order(clock, "info", {}, 1))).outcome == "done"
        assert (await site.do(make_order(clock, "info", {}, 2))).outcome == "refused"
    assert heard == [("refused", True, False)]
