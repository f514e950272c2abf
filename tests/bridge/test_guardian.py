"""The guardian: people are told directly, the log hears of it when it can, and the bridge says that it lives."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.actions.endpoints import Delivery
from bridge.alerts import Alerts
from bridge.config.safety import SafetyConfig
from bridge.errors import ActionUnavailableError, StoreUnavailableError
from bridge.guardian import SAFETY, Guardian
from bridge.runtime.health import HealthBook, Level
from bridge.runtime.stuck import KINDS
from bridge.safety import latch, ownclock, releases
from bridge.safety.journal import write_synced
from bridge.safety.releases import Target
from bridge.schema.event import VmsEvent
from bridge.schema.orders import ActionClass, Result
from bridge.tap import Tap
from tests.bridge.actions.support import Site, inline, plate_event, rest, until
from tests.clock import VirtualClock


class Receivers:
    """Somebody to tell, who may be busy."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.busy = 0

    async def send(self, delivery: Delivery) -> int:
        self.ids.append(delivery.id)
        if self.busy:
            self.busy -= 1
            raise ActionUnavailableError("busy")
        self.got.append((str(delivery.to), json.loads(delivery.body)["text"]))
        return 200

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.got]


class World:
    """A guardian, and everything it looks at."""

    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock()
        self.site = Site(folder, self.clock)
        self.health = HealthBook(self.clock)
        self.receivers = Receivers()
        self.events: list[VmsEvent] = []
        self.down = False
        config = SafetyConfig(alerts=("phone",))
        self.alerts = Alerts("site", config.alerts, self.receivers, self.clock)  # type: ignore[arg-type]
        self.guardian = Guardian("site", config, self.health, self.site.safety, self.alerts.tell, lambda: 3, self.clock)

        self.tap = Tap(self.emit, [])

    async def emit(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.down:
            stored.set_exception(StoreUnavailableError("away", timedelta(seconds=2)))
        else:
            self.events.extend(events)
            stored.set_result(None)
        return stored

    def of(self, kind: str) -> list[Any]:
        return [event.data for event in self.events if event.type == kind]

    async def seconds(self, count: int) -> None:
        for _ in range(count):
            await self.clock.until_asleep()
            await self.clock.advance(1)


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[World]:
    world = World(folder)
    world.tap.add(world.guardian.heard)
    world.tap.follow(KINDS, world.guardian.settled)
    tasks = [asyncio.create_task(each) for each in (world.alerts.run(), world.guardian.run(world.tap))]
    try:
        yield world
    finally:
        for task in reversed(tasks):
            task.cancel()
            await asyncio.wait((task,))


async def test_people_are_told_of_an_outage_though_the_bus_is_what_is_down(tmp_path: Path) -> None:
    """Directly over HTTP; the log has the event once it is back."""
    async with watched(tmp_path) as world:
        world.health.register("bus").up()
        await world.seconds(2)
        world.down = True
        world.health.set("bus", Level.DOWN, "store", "the disk is full")
        await world.seconds(8)
        assert world.receivers.got == [("phone", "bus (the disk is full): down")]
        assert world.events == []
        world.down = False
        await world.seconds(4)
        assert [data.parts for data in world.of("outage.started")] == [("bus",)]


async def test_people_are_told_once_what_the_store_has_lost(tmp_path: Path) -> None:
    """The bus works, so it is no outage; but somebody must know. More that is lost is told again."""
    async with watched(tmp_path) as world:
        bus = world.health.register("bus")
        bus.degraded("store_damaged", "1 to 3", "look")
        await world.seconds(3)
        bus.down("store", "away")
        await world.seconds(2)
        bus.degraded("store_damaged", "1 to 3", "look")
        await world.seconds(8)
        assert world.receivers.texts == ["bus: 1 to 3; look"]
        bus.degraded("store_damaged", "1 to 3; 7 to 7", "look")
        await world.seconds(2)
        assert world.receivers.texts[1:] == ["bus: 1 to 3; 7 to 7; look"]


async def test_people_are_told_that_what_they_agreed_to_is_gone(tmp_path: Path) -> None:
    """Somebody may have removed it; a change that waits for them is theirs, and no alarm."""
    async with watched(tmp_path) as world:
        settings = world.health.register("settings", needed=False)
        settings.degraded("unconfirmed", "a change waits", "look")
        await world.seconds(2)
        settings.degraded("agreement_lost", "nothing moves", "find out why")
        await world.seconds(2)
        assert world.receivers.texts == ["settings: nothing moves; find out why"]


async def test_what_the_bridge_needs_decides_whether_it_can_be_relied_on(tmp_path: Path) -> None:
    """Not a source that is away, nor a flaw; a needed part that is down, and a source's clock shuts only its doors."""
    async with watched(tmp_path) as world:
        bus, source = world.health.register("bus"), world.health.register("source a", needed=False)
        bus.degraded("store_damaged", "1 to 3", "look")
        source.down("unavailable", "no answer")
        world.site.safety.clocks.learn("nvr", timedelta(days=1))
        await world.seconds(2)
        assert world.health[SAFETY].reason == "clock_off"
        assert world.guardian.able
        bus.down("store", "the disk is full")
        assert not world.guardian.able
        bus.up()
        assert world.guardian.able
        (tmp_path / "kill").touch()
        await world.seconds(2)
        assert not world.guardian.able


async def test_an_alert_is_tried_again_with_the_same_id(tmp_path: Path) -> None:
    """A receiver that is busy hears of it later, and can tell that it is the same."""
    async with watched(tmp_path) as world:
        world.receivers.busy = 2
        (tmp_path / "kill").touch()
        await world.seconds(20)
        assert world.receivers.texts == ["the kill switch is pulled; nothing moves"]
        assert len(world.receivers.ids) == 3
        assert len(set(world.receivers.ids)) == 1


async def test_whatever_stops_the_site_shows_in_health(tmp_path: Path) -> None:
    """Kill switch, breaker, a clock that went back, an order of which nobody knows; and then it is well again."""
    async with watched(tmp_path) as world:
        await world.seconds(1)
        assert world.health[SAFETY].level is Level.UP
        assert world.guardian.able
        world.guardian.ended(
            Result(
                order="o1", rule="r", action="open", action_class=ActionClass.ACTUATING,
                outcome="unknown", reason="no_answer", ended=world.clock.now(),
            )
        )  # fmt: skip
        await world.seconds(1)
        assert world.health[SAFETY].reason == "unknown_outcome"
        assert not world.guardian.able
        assert world.receivers.texts == ["open of r ended unknown: no_answer"]
        world.clock.jump(timedelta(seconds=-30))
        await world.seconds(1)
        assert world.health[SAFETY].reason == "clock_stepped"
        await world.site.safety.breaker.pull("bridge", "a storm")
        await world.seconds(1)
        assert world.health[SAFETY].reason == "breaker"
        (tmp_path / "kill").touch()
        await world.seconds(1)
        assert (world.health[SAFETY].reason, world.health[SAFETY].level) == ("kill_switch", Level.DEGRADED)
        await world.site.kill.reset("anna", "fine")
        await world.seconds(2)
        assert world.health[SAFETY].reason == "breaker"
        assert not world.guardian.able
        await world.site.safety.breaker.reset("anna", "fine")
        await world.seconds(2)
        assert len(world.receivers.texts) == 4, "each once, whatever was worse meanwhile"
        await world.clock.advance(600)
        await world.seconds(2)
        assert world.health[SAFETY].level is Level.UP


async def test_what_was_pulled_on_a_full_disk_is_written_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a button that nobody could answer: a restart after the disk was cleared must not let things move. The same
    for our clock, if it goes back then."""
    monkeypatch.setattr("asyncio.to_thread", inline)
    async with watched(tmp_path) as world:
        full = {"kill": True}

        def write(path: Path, content: bytes) -> None:
            if full["kill"]:
                raise OSError(errno.ENOSPC, "No space left on device")
            write_synced(path, content)

        monkeypatch.setattr(latch, "write_synced", write)
        monkeypatch.setattr(ownclock, "write_synced", write)
        with pytest.raises(OSError, match="No space"):
            await world.site.kill.pull("event:nvr", "button")
        world.clock.jump(timedelta(hours=-1))
        await world.seconds(3)
        assert not any((tmp_path / name).exists() for name in ("kill", "clock"))
        full["kill"] = False
        await world.seconds(2)
        assert all((tmp_path / name).exists() for name in ("kill", "clock"))
        assert world.site.safety.unwritten() == []


@pytest.fixture
def _in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk take no time, and let the end not wait for a device that does not answer."""
    monkeypatch.setattr("asyncio.to_thread", inline)
    monkeypatch.setattr(releases, "STOP_GRACE", 0.01)


@asynccontextmanager
async def _paying(world: World) -> AsyncIterator[None]:
    await world.site.journal.load()
    task = asyncio.create_task(world.site.journal.run())
    await rest()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.usefixtures("_in_step")
async def test_an_output_that_does_not_go_back_is_told_to_people(tmp_path: Path) -> None:
    """Each once, and the bridge cannot be relied on until it has confirmed; one that is only slow is nothing."""
    async with watched(tmp_path) as world, _paying(world):
        device = world.site.device
        device.answer_off.append(ActionUnavailableError("busy"))
        await world.site.outputs.activate("gate", "o1", timedelta(seconds=1), lambda: None)
        await world.seconds(20)
        assert (device.positions, world.receivers.texts, world.guardian.able) == ({"r1": False}, [], True)
        device.answer_off.extend([ActionUnavailableError("no route")] * 20)
        await world.site.outputs.activate("gate", "o2", timedelta(seconds=1), lambda: None)
        (tmp_path / "kill").touch()
        await world.seconds(10)
        told = "relay/nvr/1/r1 was told to go back to idle and does not confirm it: no route"
        assert sorted(world.receivers.texts) == [told, "the kill switch is pulled; nothing moves"]
        await world.site.kill.reset("anna", "fine")
        await world.site.outputs.activate("barrier", "o3", timedelta(seconds=1), lambda: None)
        await world.seconds(15)
        assert world.receivers.texts[2:] == [told.replace("r1", "r5")]
        part = world.health[SAFETY]
        assert (part.level, part.reason, world.guardian.able) == (Level.DEGRADED, "not_released", False)
        assert part.message == f"{told}; {told.replace('r1', 'r5')}"
        assert "by hand" in part.cure
        device.answer_off.clear()
        await world.seconds(60)
        assert (world.health[SAFETY].level, world.guardian.able) == (Level.UP, True)
        assert len(world.receivers.texts) == 3


@pytest.mark.usefixtures("_in_step")
async def test_an_output_whose_source_is_gone_is_told_to_people(tmp_path: Path) -> None:
    """It was opened, the bridge was killed, and its source was taken out of the configuration."""
    target = {"kind": "relay", "source": "old", "channel": "1", "relay": "r1"}
    (tmp_path / "releases.jsonl").write_text(json.dumps({"op": "arm", "id": "o1", "target": target}) + "\n")
    async with watched(tmp_path) as world, _paying(world):
        await world.seconds(4)
        assert world.receivers.texts == []
        await world.seconds(3)
        assert world.receivers.texts == [
            "relay/old/1/r1 was told to go back to idle and does not confirm it: no source old"
        ]
        assert not world.guardian.able


@pytest.mark.usefixtures("_in_step")
async def test_a_camera_that_does_not_stop_is_told_and_stops_nothing(tmp_path: Path) -> None:
    """It hurts nobody: whoever watches the doors can still rely on them."""
    async with watched(tmp_path) as world, _paying(world):
        world.site.device.answer_off.extend([TimeoutError()] * 20)
        moving = world.site.device.ptz_move("1", 1, 0, 0)
        camera, second = Target("ptz", "nvr", "1"), timedelta(seconds=1)
        await world.site.journal.away(camera, "o1", second, lambda: None, lambda: moving)
        await world.seconds(10)
        assert world.receivers.texts == ["ptz/nvr/1 was told to go back to idle and does not confirm it: no answer"]
        assert (world.health[SAFETY].reason, world.guardian.able) == ("not_stopped", True)


async def test_cameras_that_go_together_are_one_event(tmp_path: Path) -> None:
    """Eight channels of one source, told in one event and one message."""
    async with watched(tmp_path) as world:
        for channel in range(8):
            world.guardian.heard(
                plate_event(
                    world.clock, channel, type="channel.status", subject=str(channel), data={"state": "disconnected"}
                )
            )
        await world.seconds(8)
        assert [len(data.parts) for data in world.of("outage.started")] == [8]
        assert len(world.receivers.got) == 1


async def test_it_says_that_it_lives_and_ends_what_is_stuck(tmp_path: Path) -> None:
    """A heartbeat a minute with what there is to know; an end for a motion that has none."""
    async with watched(tmp_path) as world:
        world.health.register("source a", needed=False).up()
        world.health.register("source b", needed=False).down("unavailable", "no answer")
        await (await world.tap([plate_event(world.clock, 1, type="motion.started", data={})]))
        await world.seconds(62)
        [beat] = world.of("bridge.heartbeat")
        assert (beat.sources_up, beat.sources_down, beat.pending_orders) == (1, 1, 3)
        await world.clock.advance(900)
        await until(lambda: world.of("motion.ended"))
        assert world.of("motion.ended")[0].reason == "timeout"
        await world.seconds(3)
        assert len(world.of("motion.ended")) == 1


async def test_a_call_that_began_before_the_start_is_ended_once_the_log_takes_it(tmp_path: Path) -> None:
    """It was on when the bridge was killed."""
    async with watched(tmp_path) as world:
        before = world.clock.now() - timedelta(hours=2)
        began = plate_event(world.clock, 1, type="call.started", data={"caller": "gate"}, received=before)
        world.down = True
        world.guardian.resume([began])
        await world.seconds(3)
        assert world.of("call.ended") == []
        world.down = False
        await world.seconds(3)
        assert [data.caller for data in world.of("call.ended")] == ["gate"]


async def test_health_says_which_clock_keeps_doors_shut(tmp_path: Path) -> None:
    """Ours with until when, a source's with how far; each with the way out, and well again after it."""
    async with watched(tmp_path) as world:
        safety = world.site.safety
        await world.seconds(1)
        world.clock.jump(timedelta(days=-1))
        await world.seconds(2)
        part = world.health[SAFETY]
        assert (part.level, part.reason) == (Level.DEGRADED, "clock_stepped")
        assert "caught up at 20" in part.message
        assert part.cure.endswith("vms-bridge clock accept")
        await safety.own_clock.accept()
        await world.seconds(2)
        assert world.health[SAFETY].level is Level.UP
        safety.clocks.learn("nvr", timedelta(days=1))
        await world.seconds(2)
        part = world.health[SAFETY]
        assert (part.level, part.reason) == (Level.DEGRADED, "clock_off")
        assert "the clock of nvr is off" in part.message
        assert "+86400 s" in part.message
        assert part.cure.endswith("vms-bridge clock accept nvr")
        safety.clocks.learn("booth", timedelta(seconds=-30))
        await world.seconds(2)
        *_, nvr, booth = world.receivers.texts
        assert (len(world.receivers.texts), "of nvr is off" in nvr, "of booth is off" in booth) == (3, True, True)
        safety.clocks.forget("booth")
        safety.clocks.forget("nvr")
        await world.seconds(2)
        assert world.health[SAFETY].level is Level.UP
