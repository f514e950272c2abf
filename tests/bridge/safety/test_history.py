"""History never moves anything: outages, back-fill, redelivery, skew, steps of the clock, restarts, in any order.

The judge knows when each thing truly happened, by a clock that nothing in the story can touch, and
shares no code with what is tested. Nobody tells the product that a clock was set: it asks, as it does in
the bridge. `VMS_BRIDGE_HISTORIES=50000` runs the long form.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bridge import source_clocks
from bridge.actions import runner as runner_module
from bridge.errors import ConnectorUnavailableError
from bridge.safety import gate, releases
from bridge.safety.clocks import SourceClocks
from bridge.schema.event import Origin
from bridge.source_clocks import watch_clocks
from tests.bridge.actions.support import Disk, Site, inline, make_order, plate_event, rest
from tests.clock import VirtualClock

T = TypeVar("T")
ACTS = {
    "open": ("open", {"door": "main"}),
    "siren": ("relay", {"output": "gate", "state": "pulse", "for": "1s"}),
    "turn": ("ptz", {"move": {"pan": 1}, "for": "1s"}),
}
OLDEST = 10 + 5 + 2
"""Seconds: the age limit, what a trusted clock may be off, and what a step of ours may be without being one."""
UNSEEN = 60 + 5 + 1
"""Seconds: how often a source is asked for its clock, how long an answer may take, and some for the asking."""
ANSWER = 0.01
"""Seconds until the source says what its clock shows."""
NOT_NOW = [Origin.BACKFILL, Origin.RESYNC, Origin.REPLAY, Origin.TEST, Origin.BRIDGE, Origin.TIMER]


@dataclass
class Setting:
    """The clock of the source was set, at a true time, to be so many seconds ahead."""

    made: float
    ahead: float
    unnoticed: bool
    """The link was up then and ever since: nothing tells of it but the clock itself."""
    told: bool = False
    """The bridge, as it runs now, has asked since."""


@dataclass(frozen=True)
class Happened:
    """What an order was caused by."""

    when: float
    """On the clock that nobody touches."""
    origin: Origin
    at_once: bool
    """It was told as soon as it could be."""


class History(RuleBasedStateMachine):
    """See the module."""

    trusted = False
    """Whether the source's clock is declared right."""
    deaf = False
    """Whether nobody tells the clocks how the link is."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.patches = [
            mock.patch.object(asyncio, "to_thread", inline),
            mock.patch.object(os, "fsync", return_value=None),
            mock.patch.object(releases, "STOP_GRACE", 0.0),
            mock.patch.object(runner_module, "STOP_GRACE", 0.0),
        ]
        for patch in self.patches:
            patch.start()
        self.clock, self.disk = VirtualClock(), Disk()
        self.number = 0
        self.settings = [Setting(float("-inf"), 0.0, unnoticed=False)]
        self.up = self.answers = True
        """Whether the link is up, and whether the source answers when it is asked."""
        self.stepped = 0.0
        """Seconds that our own clock is ahead of the true one."""
        self.happened: dict[str, Happened] = {}
        """By order."""
        self.buffered: list[tuple[float, str]] = []
        self.opened: Counter[str] = Counter()
        self.wrong: list[str] = []

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(work)

    async def boot(self) -> None:
        self.site = Site(self.folder, self.clock, self.disk)
        self.site.safety.clocks.forget("nvr")
        self.site.safety.clocks._trusted = frozenset({"nvr"} if self.trusted else ())
        self.site.device.on_switch = self.switched
        move = self.site.device.ptz_move

        async def moved(channel: str, pan: float, tilt: float, zoom: float) -> None:
            self.judge("turn")
            await move(channel, pan, tilt, zoom)

        self.site.device.ptz_move = moved  # type: ignore[method-assign]
        await self.site.start()
        for setting in self.settings:
            setting.told = setting.unnoticed = False
        self.tell_link()
        self.asking = asyncio.create_task(watch_clocks({"nvr": Server(self)}, self.site.safety.clocks, self.clock))
        await self.clock.advance(2 * ANSWER)

    def tell_link(self) -> None:
        """As the supervisor does, which notices each time."""
        if not self.deaf:
            self.site.safety.clocks.link("nvr", self.up)

    async def end(self, lose: bool = False) -> None:
        self.asking.cancel()
        await asyncio.wait((self.asking,))
        await (self.site.die() if lose else self.site.stop())

    async def switched(self, relay: str, on: bool) -> None:
        if on:
            self.judge("siren" if relay == "r1" else "open")

    def judge(self, what: str) -> None:
        """Something moves: for which order, and when did its cause truly happen?"""
        started = [c.effect.order for c in self.disk.effects.values() if c.effect.status == "started"]
        mine = [o for o in started if self.disk.orders[o].action == ACTS[what][0]]
        if not mine:
            self.wrong.append(f"{what} for no order")
        for order in mine:
            cause = self.happened[order]
            self.opened[order] += 1
            if cause.origin is not Origin.LIVE:
                self.wrong.append(f"{what} for {cause.origin}")
            if self.clock.monotonic() - cause.when > OLDEST and not self.nobody_can_know(cause):
                self.wrong.append(f"{what} {self.clock.monotonic() - cause.when:.1f} s late")

    def nobody_can_know(self, cause: Happened) -> bool:
        """The clock by which it was stamped was set a moment ago, or was set otherwise before it could be asked."""
        setting = self.setting_of(cause.when)
        if setting.told or cause.at_once:
            return False
        if setting is self.settings[-1]:
            return setting.unnoticed and self.clock.monotonic() - setting.made <= UNSEEN
        return True

    def setting_of(self, when: float) -> Setting:
        return next(setting for setting in reversed(self.settings) if setting.made <= when)

    @property
    def ahead(self) -> float:
        """Seconds that the clock of the source is ahead of the true one."""
        return self.settings[-1].ahead

    @initialize()
    def begin(self) -> None:
        self.do(self.boot())

    def told(self, happened: float, origin: Origin, what: str, *, at_once: bool = False) -> None:
        """The source tells now of what happened then, with the time that its clock showed."""
        self.number += 1
        now = self.clock.monotonic()
        ahead = self.setting_of(happened).ahead
        said = self.clock.now() + timedelta(seconds=happened - now + ahead - self.stepped)
        event = plate_event(self.clock, self.number, origin=origin, time=said)
        self.site.safety.clocks.heard(event)
        self.site.safety.own_clock.heard(event)
        action, params = ACTS[what]
        order = make_order(self.clock, action, params, self.number, event)
        self.happened[order.id] = Happened(happened, origin, at_once)
        self.site.queue.put(order)

    @precondition(lambda self: self.up)
    @rule(what=st.sampled_from(sorted(ACTS)))
    def live(self, what: str) -> None:
        self.told(self.clock.monotonic(), Origin.LIVE, what)
        self.do(rest())

    @rule()
    def link_is_lost(self) -> None:
        """It may still be possible to ask the source."""
        self.up = False
        self.tell_link()
        self.do(rest())

    @rule(answers=st.booleans())
    def source_answers(self, answers: bool) -> None:
        """Whether it can be asked for its clock."""
        self.answers = answers

    @rule(what=st.sampled_from(sorted(ACTS)))
    def happens_unheard(self, what: str) -> None:
        """Something happens while the link is down: the source keeps it."""
        self.up = False
        self.tell_link()
        self.buffered.append((self.clock.monotonic(), what))

    @rule(origin=st.sampled_from([Origin.LIVE, Origin.LIVE, *NOT_NOW]), at_once=st.booleans())
    def link_is_back(self, origin: Origin, at_once: bool) -> None:
        """What was kept is told: as it should be, or as if it were live; at once, or after the source was asked."""
        at_once = at_once and not self.up
        self.up, self.settings[-1].unnoticed = True, False
        self.tell_link()
        if not at_once:
            self.do(self.clock.advance(2 * ANSWER))
        kept, self.buffered = self.buffered, []
        for happened, what in kept:
            self.told(happened, origin, what, at_once=at_once)
        self.do(self.clock.advance(2 * ANSWER))
        self.do(rest())

    @precondition(lambda self: self.up)
    @rule(age=st.sampled_from([11.0, 20.0, 61.0, 3600.0, 86400.0]), what=st.sampled_from(sorted(ACTS)))
    def stale(self, age: float, what: str) -> None:
        self.told(self.clock.monotonic() - age, Origin.LIVE, what)
        self.do(rest())

    @rule()
    def consumer_starts_over(self) -> None:
        """The broker has forgotten what was acknowledged and brings everything again."""
        for order in self.disk.orders.values():
            self.site.queue.redeliver(order)
        self.do(rest())

    @rule(lose=st.booleans())
    def restart(self, lose: bool) -> None:
        """Stopped or killed; whether or not the acknowledgements were kept."""

        async def again() -> None:
            await self.end(lose)
            if lose:
                self.disk.acked.clear()
            await self.boot()
            await rest()

        self.do(again())

    @rule(away=st.booleans())
    def store(self, away: bool) -> None:
        self.disk.unavailable = away

    @rule(ahead=st.sampled_from([0.0, 1.0, -3.0, 4.9, 6.0, 60.0, 3600.0, -3600.0, 86400.0]))
    def source_clock(self, ahead: float) -> None:
        """The source's clock is set. Nobody is told."""
        self.settings.append(Setting(self.clock.monotonic(), ahead, unnoticed=self.up))

    @rule(by=st.sampled_from([-86400.0, -3600.0, -61.0, -20.0, -3.0, 3.0, 20.0, 61.0, 3600.0]))
    def our_clock_steps(self, by: float) -> None:
        self.clock.jump(timedelta(seconds=by))
        self.stepped += by
        self.site.safety.own_clock.trusted()

    @precondition(lambda self: not self.site.safety.own_clock.trusted())
    @rule()
    def somebody_accepts_our_clock(self) -> None:
        """Whether or not it is right: what was heard before must not move anything. The source is asked again."""

        async def accept() -> None:
            await self.site.safety.own_clock.accept()
            self.site.safety.clocks.forget()

        self.do(accept())

    @rule(seconds=st.sampled_from([0.5, 3.0, 9.0, 11.0, 61.0, 3600.0]))
    def wait(self, seconds: float) -> None:
        async def pass_by() -> None:
            for _ in range(4):
                await self.clock.advance(seconds / 4)
                self.site.queue.bring_due()
                await rest()

        self.do(pass_by())

    @invariant()
    def nothing_moves_for_history(self) -> None:
        assert self.wrong == []

    @invariant()
    def nothing_moves_twice_for_one_order(self) -> None:
        assert not self.opened or max(self.opened.values()) == 1

    def teardown(self) -> None:
        try:
            if hasattr(self, "site"):
                self.do(self.end())
        finally:
            for patch in self.patches:
                patch.stop()
            self.loop.close()
            shutil.rmtree(self.folder)


class Server:
    """The source of a history, as the bridge asks for its clock."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def clock_offset(self) -> timedelta:
        history = self._history
        if not history.answers:
            raise ConnectorUnavailableError("away")
        await history.clock.sleep(ANSWER)
        history.settings[-1].told = True
        return timedelta(seconds=history.ahead - history.stepped)


TestHistory = pytest.mark.timeout(7200)(History.TestCase)
TestHistory.settings = settings(
    max_examples=int(os.environ.get("VMS_BRIDGE_HISTORIES", "2000")),
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def _finds_something(name: str, **changed: Any) -> None:
    case = type(name, (History,), changed).TestCase
    case.settings = settings(
        max_examples=5000,  # it ends at the first that is found
        stateful_step_count=20,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises((AssertionError, ExceptionGroup)):
        case("runTest").runTest()


def _set(ahead: float) -> Any:
    """The source's clock is set to be ahead by so much, or set right again."""

    def source_clock(self: History) -> None:
        self.settings.append(Setting(self.clock.monotonic(), 0 if self.ahead else ahead, unnoticed=self.up))

    return rule()(source_clock)


def _just(part: str, **values: Any) -> Any:
    """A part of histories with nothing left to chance."""

    def act(self: History) -> None:
        getattr(History, part)(self, **values)

    return rule()(act)


def _only(*parts: str) -> dict[str, None]:
    """What has no part in a story, so that it is found sooner."""
    rules = {
        "live", "link_is_lost", "source_answers", "happens_unheard", "link_is_back", "stale", "consumer_starts_over",
        "restart", "store", "source_clock", "our_clock_steps", "somebody_accepts_our_clock", "wait",
    }  # fmt: skip
    return dict.fromkeys(rules - set(parts))


CONTROLS: dict[str, dict[str, Any]] = {
    "_too_old": {},
    "_not_live": {},
    "_clock_trust": {},
    # A source shows by what it says that our clock went back, and is asked again: only one that is believed unasked
    # needs the guard of our clock. Its own is right here.
    "_clock": _only("live", "stale", "our_clock_steps", "wait") | {"trusted": True},
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("guard", CONTROLS)
def test_the_judge_sees_history_move_something(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: with one guard of the gate removed, a history is found in which something moves."""
    monkeypatch.setattr(gate, "GUARDS", tuple(g for g in gate.GUARDS if g.__name__ != guard))
    _finds_something(f"Without{guard}", **CONTROLS[guard])


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("without", "story"),
    [
        ("links", {"deaf": True, "source_clock": _set(60), "wait": _just("wait", seconds=61.0),
                   "happens_unheard": _just("happens_unheard", what="open"),
                   "link_is_back": _just("link_is_back", origin=Origin.LIVE, at_once=False)}),
        ("answers", {"source_clock": _set(600), "wait": _just("wait", seconds=300.0),
                     "source_answers": _just("source_answers", answers=False),
                     "stale": _just("stale", age=599.0, what="open")}),
        ("renewal", {"source_clock": _set(122), "wait": _just("wait", seconds=61.0),
                     "stale": _just("stale", age=121.0, what="open")}),
        ("memory", {"source_clock": _set(600), "wait": _just("wait", seconds=300.0),
                    "stale": _just("stale", age=599.0, what="open")}),
    ],
)  # fmt: skip
def test_the_judge_sees_what_a_clock_that_was_set_moves(
    without: str, story: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: what was told outlasts the link, a question without an answer, or half an hour; or it is
    forgotten that a clock was ahead."""
    if without == "answers":
        monkeypatch.setattr(SourceClocks, "silent", lambda *_: None)
    if without in ("renewal", "links"):
        monkeypatch.setattr(source_clocks, "LATER", 1800.0)
    if without == "memory":
        monkeypatch.setattr(SourceClocks, "error", SourceClocks.offset)
    _finds_something(f"Without{without.title()}", **(_only() | story))
