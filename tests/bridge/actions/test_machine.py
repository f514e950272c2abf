"""The promise as a state machine: orders, answers, crashes anywhere, redeliveries, time.

Whatever comes in whatever order: nothing is actuated twice or late, every order ends exactly once,
and what left idle comes back. The device and the ledger of what it did outlive every crash and
share no code with what is tested.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bridge.actions import path as effect_path
from bridge.actions import runner as runner_module
from bridge.contracts import ActionContext
from bridge.crashpoint import POINTS
from bridge.errors import ActionRejectedError, ActionUnavailableError, ActionUnknownError
from bridge.safety import releases
from bridge.schema.event import Origin
from bridge.schema.orders import Order
from tests.bridge.actions.support import (
    SPECS,
    Crash,
    Device,
    Disk,
    InfoParams,
    Site,
    info_spec,
    make_order,
    plate_event,
)
from tests.clock import VirtualClock, settle

T = TypeVar("T")
MAX_AGE = timedelta(seconds=10)
CRASHES = [name for name in POINTS if name.startswith(("effect.", "release."))]
_doing: ContextVar[Order | None] = ContextVar("doing", default=None)

_ANSWERS: dict[str, Callable[[], BaseException | None]] = {
    "ok": lambda: None,
    "busy": lambda: ActionUnavailableError("busy"),
    "no": lambda: ActionRejectedError("no"),
    "lost": lambda: ActionUnknownError("no answer"),
    "late": TimeoutError,
}
_WANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "open": ("open", {"door": "main"}),
    "pulse": ("relay", {"output": "failsafe", "state": "pulse", "for": "2s"}),
    "on": ("relay", {"output": "gate", "state": "on", "for": "8s"}),
    "off": ("relay", {"output": "gate", "state": "off"}),
    "move": ("ptz", {"move": {"pan": 1}, "for": "3s"}),
    "preset": ("ptz", {"preset": "entrance"}),
    "info": ("info", {}),
}
_IDLE = {"r1": False, "r2": True, "r5": False}


class Witness(Device):
    """A device that notes for which order it left idle, and when."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.left: list[tuple[datetime, str, Order | None]] = []
        self.moving = False
        self.killed = False
        self.against_the_switch = False

    async def switch_relay(self, channel: str, relay: str, on: bool) -> None:
        before = len(self.switched)
        try:
            await super().switch_relay(channel, relay, on)
        finally:
            if len(self.switched) > before and on != _IDLE[relay]:
                self._leaves(relay)

    def _leaves(self, what: str) -> None:
        self.against_the_switch |= self.killed
        self.left.append((self._clock.now(), what, _doing.get()))

    async def ptz_move(self, channel: str, pan: float, tilt: float, zoom: float) -> None:
        before = len(self.ptz)
        try:
            await super().ptz_move(channel, pan, tilt, zoom)
        finally:
            if len(self.ptz) > before:
                self.moving = True
                self._leaves("ptz")

    async def ptz_stop(self, channel: str) -> None:
        await super().ptz_stop(channel)
        self.moving = False


def _watched(spec: Any) -> Any:
    """Let the witness know whose order is being done."""

    async def run(params: Any, context: ActionContext) -> Any:
        token = _doing.set(context.order)
        try:
            return await spec.run(params, context)
        finally:
            _doing.reset(token)

    return replace(spec, run=run)


async def _inline(function: Callable[..., T], *arguments: Any) -> T:
    """Stand in for a thread: the disk takes no time, and steps are the same in every run."""
    await asyncio.sleep(0)
    return function(*arguments)


class Machine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.patches = [
            mock.patch.object(asyncio, "to_thread", _inline),
            mock.patch.object(os, "fsync", return_value=None),
            mock.patch.object(effect_path, "crash_point", self.point),
            mock.patch.object(releases, "crash_point", self.point),
            mock.patch.object(releases, "STOP_GRACE", 0.0),
            mock.patch.object(runner_module, "STOP_GRACE", 0.0),
        ]
        for patch in self.patches:
            patch.start()
        self.clock = VirtualClock()
        self.disk = Disk()
        self.device = Witness(self.clock)
        self.armed: tuple[str, int] | None = None
        self.number = 0
        self.told: Counter[str] = Counter()
        self.info_answers: list[str] = []
        self.actions = {name: _watched(spec) for name, spec in SPECS.items()} | {"info": info_spec(self.inform)}

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(work)

    async def inform(self, params: InfoParams, context: ActionContext) -> dict[str, Any]:
        await asyncio.sleep(0)
        self.site.power.check()
        answer = _ANSWERS[self.info_answers.pop()]() if self.info_answers else None
        if answer is None:
            self.told[context.order.id] += 1
            return {}
        raise answer

    def point(self, name: str) -> None:
        """Die here, if it is this point's turn."""
        if self.armed is not None and self.armed[0] == name:
            left = self.armed[1] - 1
            self.armed = (name, left) if left else None
            if not left:
                self.site.power.on = False
                raise Crash

    async def boot(self) -> None:
        self.site = Site(self.folder, self.clock, self.disk, actions=self.actions, device=self.device)
        for file in (self.site.journal._file, self.site.safety.openings.file):
            file.append = self._while_alive(file.append)  # type: ignore[method-assign]
        await self.site.start()
        await self.rest()

    def _while_alive(self, append: Callable[..., None]) -> Callable[..., None]:
        power = self.site.power

        def checked(record: Any) -> None:
            power.check()
            append(record)

        return checked

    async def rest(self) -> None:
        """Let everything run that can; begin anew after a death."""
        for _ in range(6):
            await settle()
        if not self.site.power.on:
            await self.site.die()
            await self.boot()

    @initialize()
    def begin(self) -> None:
        self.do(self.boot())

    @rule(
        want=st.sampled_from(sorted(_WANTS)),
        origin=st.sampled_from([Origin.LIVE] * 5 + [Origin.COMMAND, Origin.BACKFILL, Origin.REPLAY]),
        age=st.sampled_from([0, 0, 0, 3, 9.9, 10.1, 600, -1, -5]),
        answers=st.lists(st.sampled_from(sorted(_ANSWERS)), max_size=3),
    )
    def order(self, want: str, origin: Origin, age: float, answers: list[str]) -> None:
        action, params = _WANTS[want]
        self.number += 1
        event = plate_event(self.clock, self.number, origin=origin, time=self.clock.now() - timedelta(seconds=age))
        if action == "info":
            self.info_answers.extend(answers)
        elif want == "off":
            self.device.answer_off.extend(_ANSWERS[each]() for each in answers)
        else:
            self.device.answers.extend(_ANSWERS[each]() for each in answers)
        self.site.queue.put(make_order(self.clock, action, params, self.number, event))
        self.do(self.rest())

    @rule(want=st.sampled_from(sorted(_WANTS)), name=st.sampled_from(CRASHES))
    def die_over(self, want: str, name: str) -> None:
        """A good order, and death at one point of its way: the case that happens, over and over."""
        self.device.answers.clear()
        self.die_at(name, 1)
        self.order(want, Origin.LIVE, 0, [])

    @rule(want=st.sampled_from(["open", "pulse", "on", "move"]))
    def twice(self, want: str) -> None:
        """A good order whose acknowledgement is lost, and another of its kind after a restart."""
        self.device.answers.clear()
        self.order(want, Origin.LIVE, 0, [])
        self.site.queue.redeliver(self.disk.orders[next(reversed(self.disk.orders))])
        self.die_now()
        self.order(want, Origin.LIVE, 0, [])

    @rule(answers=st.lists(st.sampled_from(["busy", "no", "lost", "late"]), min_size=1, max_size=3))
    def releases_fail(self, answers: list[str]) -> None:
        self.device.answer_off.extend(_ANSWERS[each]() for each in answers)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1, 2, 5, 12, 70]))
    def wait(self, seconds: float) -> None:
        async def pass_by() -> None:
            passed = 0.0
            while passed < seconds:
                step = min(0.5, seconds - passed)
                await self.clock.advance(step)
                self.site.queue.bring_due()
                await self.rest()
                passed += step

        self.do(pass_by())

    @rule(which=st.randoms(use_true_random=False))
    def redeliver(self, which: Any) -> None:
        if self.disk.orders:
            self.site.queue.redeliver(which.choice(sorted(self.disk.orders.values(), key=lambda o: o.id)))
            self.do(self.rest())

    @rule(name=st.sampled_from(CRASHES), turn=st.integers(1, 2))
    def die_at(self, name: str, turn: int) -> None:
        self.armed = (name, turn)

    @rule()
    def die_now(self) -> None:
        self.site.power.on = False
        self.do(self.rest())

    @rule()
    def restart(self) -> None:
        async def again() -> None:
            await self.site.stop()
            await self.boot()

        self.do(again())

    @rule(pulled=st.booleans())
    def kill_switch(self, pulled: bool) -> None:
        kill = self.site.kill
        self.do(kill.pull("anna", "test") if pulled else kill.reset("anna", "test"))
        self.device.killed = pulled

    @invariant()
    def nothing_leaves_idle_twice_late_or_for_history(self) -> None:
        assert not self.device.against_the_switch, "it moved although the kill switch was pulled"
        counts = Counter(order.id for _, _, order in self.device.left if order is not None)
        assert not counts or max(counts.values()) == 1, "an order was actuated twice"
        for when, what, order in self.device.left:
            assert order is not None, f"{what} left idle for no order"
            assert when - order.occurred <= MAX_AGE, "too late"
            assert when - order.received <= MAX_AGE, "too late"
            assert order.occurred - when <= timedelta(seconds=2), "from the future"
            assert order.origin in (Origin.LIVE, Origin.COMMAND), "history moved metal"

    @invariant()
    def the_door_keeps_its_cooldown(self) -> None:
        times = [when for when, what, order in self.device.left if order is not None and order.action == "open"]
        assert all(later - earlier >= timedelta(seconds=5) for earlier, later in pairwise(times))

    @invariant()
    def no_order_vanishes(self) -> None:
        if hasattr(self, "site"):
            assert self.site.runner.tally.balanced
            for order in self.disk.acked:
                claimed = self.disk.effects[order]
                assert claimed.effect.status == "ended"
                assert claimed.effect.result is not None
                assert claimed.effect.about is not None

    def teardown(self) -> None:
        try:
            if hasattr(self, "site"):
                self.do(self.come_to_rest())
                self.all_is_well()
                self.do(self.site.stop())
        finally:
            for patch in self.patches:
                patch.stop()
            self.loop.close()
            shutil.rmtree(self.folder)

    async def come_to_rest(self) -> None:
        """No more faults: everything must end."""
        self.armed = None
        self.device.answers.clear()
        self.device.answer_off.clear()
        self.info_answers.clear()
        self.device.killed = False
        await self.site.kill.reset("anna", "the end")
        for _ in range(400):
            if self._at_rest():
                break
            await self.clock.advance(1)
            self.site.queue.bring_due()
            await self.rest()

    def _at_rest(self) -> bool:
        return set(self.disk.orders) == self.disk.acked and not self.site.journal.owed()

    def all_is_well(self) -> None:
        assert set(self.disk.orders) == self.disk.acked, "an order has not ended"
        assert set(self.disk.orders) == set(self.disk.results)
        assert not self.site.journal.owed(), "something is owed for ever"
        for relay, idle in _IDLE.items():
            assert self.device.positions.get(relay, idle) == idle, f"{relay} was left away from idle"
        assert not self.device.moving, "the camera still moves"
        assert self.site.runner.tally.pending == 0
        for order in self.disk.orders.values():
            if order.action == "info" and self.disk.results[order.id].outcome == "done":
                assert self.told[order.id] >= 1


TestMachine = pytest.mark.timeout(3600)(Machine.TestCase)
TestMachine.settings = settings(
    max_examples=int(os.environ.get("VMS_BRIDGE_HISTORIES", "200")),
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_every_point_is_placed_exactly_once() -> None:
    """A crash point that nobody passes proves nothing."""
    folder = Path(effect_path.__file__).parent.parent
    code = "".join(file.read_text() for name in ("actions", "safety") for file in (folder / name).glob("*.py"))
    assert {name: code.count(f'crash_point("{name}")') for name in CRASHES} == dict.fromkeys(CRASHES, 1)
