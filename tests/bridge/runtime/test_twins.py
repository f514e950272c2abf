"""One happening goes into the log once, by however many ways it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.app import twins_of
from bridge.config.models import BridgeConfig
from bridge.contracts import Missed, TwinKeys
from bridge.errors import StoreUnavailableError
from bridge.runtime.twins import MEMORY, TwinMatcher
from bridge.schema.event import Origin, VmsEvent
from tests.clock import START

NVR, GATE = "home/nvr1", "home/gate"
TWIN_OF = {GATE: (NVR, "home/nvr2"), "home/lane": ("home/nvr2",)}


def keys_of(event: VmsEvent) -> TwinKeys:
    """What the tests' events carry as their plate: `a+b` is known by and seeks a and b."""
    keys = tuple(event.data.plate_raw.split("+"))  # type: ignore[attr-defined]
    return TwinKeys(keys, keys)


def plate(number: int | str, keys: str, via: str = "ws", source: str = NVR, received: datetime = START) -> VmsEvent:
    return VmsEvent.model_validate(
        {
            "id": f"{via}-{number}",
            "type": "plate.read",
            "source": source,
            "subject": "1",
            "time": START,
            "timequality": "device",
            "received": received,
            "origin": Origin.BACKFILL if via == "log" else Origin.LIVE,
            "via": via,
            "data": {"plate": "X", "plate_raw": keys},
        }
    )


def motion(number: int) -> VmsEvent:
    return plate(number, "").model_copy(update={"type": "motion.started", "id": f"m{number}"})


def row(number: int | str, keys: str) -> Missed:
    event = plate(number, keys, "log")
    return Missed([event], {event.id: keys_of(event)})


class Store:
    """The log behind the matcher, and what it counts."""

    def __init__(self, room: int = 1000) -> None:
        self.events: list[VmsEvent] = []
        self.twins: list[tuple[str, str]] = []
        self.hold: asyncio.Event | None = None
        self.full: asyncio.Event | None = None
        self.down = False
        sources = {NVR: {"plate.read": keys_of}, "home/nvr2": {"plate.read": keys_of}}
        self.matcher = TwinMatcher(self.emit, sources, {"plate.read": keys_of}, self, twin_of=TWIN_OF, room=room)

    async def emit(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        if self.full is not None:
            await self.full.wait()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.hold is None:
            self._end(future, list(events))
        else:
            task = asyncio.create_task(self.hold.wait())
            task.add_done_callback(lambda _: self._end(future, list(events)))
        return future

    def _end(self, future: asyncio.Future[None], events: list[VmsEvent]) -> None:
        if self.down:
            future.set_exception(StoreUnavailableError("down", timedelta(seconds=1)))
        else:
            self.events += events
            future.set_result(None)

    def twin(self, source: str, via: str) -> None:
        self.twins.append((source, via))

    async def take(self, *events: VmsEvent) -> None:
        await (await self.matcher(events))

    @property
    def ids(self) -> list[str]:
        return [event.id for event in self.events]


@pytest.mark.parametrize("first", ["ws", "push"])
async def test_heard_and_pushed_is_one(first: str) -> None:
    """Whichever comes first is stored, the other is counted."""
    store = Store()
    heard, pushed = plate(1, "a"), plate(1, "a", "push", GATE)
    await store.take(*((heard, pushed) if first == "ws" else (pushed, heard)))
    assert store.ids == [f"{first}-1"]
    assert len(store.twins) == 1


async def test_heard_and_found_in_the_log_is_one() -> None:
    """A row of the source's log that was heard is not news."""
    store = Store()
    await store.take(plate(1, "a"))
    assert await store.matcher.fill(row(1, "a+b")) == []
    new = await store.matcher.fill(row(2, "c"))
    assert [event.id for event in new] == ["log-2"]
    assert store.ids == ["ws-1", "log-2"]
    assert store.twins == [("nvr1", "log")]


async def test_fetched_first_and_heard_late_is_one() -> None:
    """Also when the row was quicker than the socket."""
    store = Store()
    await store.matcher.fill(row(1, "a"))
    await store.take(plate(1, "a"))
    assert store.ids == ["log-1"]


async def test_one_way_never_says_the_same_in_other_words() -> None:
    """A car that is read twice has the same first sight both times; two readings they remain."""
    store = Store()
    await store.take(plate(1, "a"), plate(2, "a"))
    assert store.ids == ["ws-1", "ws-2"]


async def test_the_same_message_again_is_known_by_its_id() -> None:
    """A page that is read twice, a push that is sent twice."""
    store = Store()
    await store.take(plate(1, "a"))
    await store.take(plate(1, "a"))
    await store.matcher.fill(row(7, ""))
    await store.matcher.fill(row(7, ""))
    assert store.ids == ["ws-1", "log-7"]


async def test_readings_and_pushes_are_paired_one_to_one() -> None:
    """The second reading of a car is not taken for the push of the first."""
    store = Store()
    await store.take(plate(1, "a"), plate(1, "a", "push", GATE), plate(2, "a"), plate(2, "a", "push", GATE))
    assert store.ids == ["ws-1", "ws-2"]
    await store.take(plate(3, "a", "push", GATE))
    assert store.ids == ["ws-1", "ws-2", "push-3"]


async def test_a_row_stands_for_many_readings() -> None:
    """One stay of a car, read again and again."""
    store = Store()
    await store.matcher.fill(row(1, "a+b+c"))
    await store.take(plate(1, "a"), plate(2, "b"), plate(3, "d"))
    assert store.ids == ["log-1", "ws-3"]


async def test_two_sources_may_say_the_same_without_being_one() -> None:
    """Numbers of devices and objects are a server's own; what is pushed may come to any of them."""
    store = Store()
    await store.take(plate(1, "a"), plate(2, "a", "callback", "home/nvr2"))
    assert store.ids == ["ws-1", "callback-2"]
    await store.take(plate(3, "a", "push", GATE))
    assert store.ids == ["ws-1", "callback-2"]


@pytest.mark.parametrize("pusher", ["home/carwash", "home/lane"])
async def test_whoever_pushes_cannot_have_another_sources_event_dropped(pusher: str) -> None:
    """Nor its row, by naming its reader, its plate and its moment: whose events may be one is configured."""
    store = Store()
    await store.take(plate(1, "a", "push", pusher), plate(2, "a"))
    assert await store.matcher.fill(row(3, "a")) == []
    assert store.ids == ["push-1", "ws-2"]
    await store.take(plate(4, "b", "push", pusher))
    await store.matcher.fill(row(5, "b"))
    assert store.ids[2:] == ["push-4", "log-5"]
    assert [source for source, _ in store.twins] == ["nvr1"]


def test_what_is_pushed_is_a_twin_of_what_its_clients_name() -> None:
    """By the name that events are filed under; two clients may share one."""
    push = {
        "booth": {"source": "gate", "twin_of": ["nvr1"]},
        "other": {"source": "gate", "twin_of": ["nvr2"]},
        "lane": {},
    }
    config = BridgeConfig.model_validate({"site": "home", "http": {"push": push}})
    assert twins_of(config) == {GATE: {NVR, "home/nvr2"}, "home/lane": set()}


async def test_kinds_without_keys_pass_as_they_are() -> None:
    """Not even looked at."""
    store = Store()
    await store.take(motion(1), motion(1))
    assert store.ids == ["m1", "m1"]
    assert len(store.matcher) == 0


async def test_a_push_is_promised_when_its_twin_is_stored() -> None:
    """Not before: nothing else was written."""
    store = Store()
    store.hold = asyncio.Event()
    await store.matcher([plate(1, "a")])
    promised = await store.matcher([plate(1, "a", "push", GATE)])
    await asyncio.sleep(0)
    assert not promised.done()
    store.hold.set()
    await promised
    assert store.ids == ["ws-1"]


async def test_what_could_not_be_stored_is_forgotten() -> None:
    """Neither it nor its twin was promised; whoever sends again is the first."""
    store = Store()
    store.hold, store.down = asyncio.Event(), True
    heard = await store.matcher([plate(1, "a")])
    pushed = await store.matcher([plate(1, "a", "push", GATE)])
    store.hold.set()
    for promise in (heard, pushed):
        with pytest.raises(StoreUnavailableError):
            await promise
    store.down = False
    await store.take(plate(1, "a", "push", GATE))
    await store.take(plate(1, "a"))
    assert store.ids == ["push-1"]


async def test_a_push_that_is_cut_off_takes_nobody_along() -> None:
    """Who waits for its twin is told to come again, not cancelled: the filling of a gap would end for good."""
    store = Store()
    store.full = asyncio.Event()
    pushing = asyncio.create_task(store.take(plate(1, "a", "push", GATE)))
    await asyncio.sleep(0)
    filling = asyncio.create_task(store.matcher.fill(row(1, "a")))
    heard = asyncio.create_task(store.take(plate(1, "a"), plate(2, "b")))
    await asyncio.sleep(0)
    pushing.cancel()
    store.full.set()
    for waiting in (filling, heard):
        with pytest.raises(StoreUnavailableError):
            await waiting
    await store.matcher.fill(row(1, "a"))
    assert store.ids[-1] == "log-1"


async def test_memory_is_bounded_except_while_a_gap_is_filled() -> None:
    """The oldest goes first, for each source by itself; pushes may be in the log of whoever has a gap."""
    store = Store(room=3)
    await store.take(plate(0, "z", source="home/nvr2"), *(plate(n, f"k{n}") for n in range(5)))
    assert len(store.matcher) == 4
    await store.take(plate(0, "k0", "push", GATE), plate(4, "k4", "push", GATE))
    assert store.ids[-1] == "push-0"
    store.matcher.filling(NVR, True)
    await store.take(*(plate(n, f"k{n}") for n in range(10, 20)))
    await store.take(*(plate(n, f"k{n}", "push", GATE) for n in range(30, 40)))
    assert len(store.matcher) == 26
    store.matcher.filling(NVR, False)
    await store.take(plate(20, "k20"), plate(40, "k40", "push", GATE))
    assert len(store.matcher) == 3 + 3 + 1
    assert len(store.matcher._keys) == 7


async def test_what_is_old_is_forgotten_unless_a_gap_may_need_it() -> None:
    """A quiet site needs next to no memory; one that waits for its source forgets nothing it may find in its log."""
    store = Store()
    later = START + MEMORY + timedelta(seconds=1)
    await store.take(plate(1, "a"), plate(1, "b", "push", GATE))
    store.matcher.filling(NVR, True)
    await store.take(plate(2, "c", received=later), plate(2, "d", "push", GATE, received=later))
    assert len(store.matcher) == 4
    store.matcher.filling(NVR, False)
    await store.take(plate(3, "e", received=later), plate(3, "f", "push", GATE, received=later))
    assert len(store.matcher) == 4


async def test_what_stands_in_the_log_can_be_remembered() -> None:
    """After a restart the same rows and pushes are known."""
    store = Store()
    store.matcher.remember(plate(1, "a"))
    store.matcher.remember(plate(1, "a"))
    await store.take(plate(1, "a", "push", GATE))
    await store.matcher.fill(row(5, "a"))
    assert store.ids == []


_WAYS = st.sampled_from([("ws", NVR), ("push", GATE), ("log", NVR)])
_HAPPENINGS = st.lists(st.tuples(st.integers(0, 5), _WAYS, st.integers(1, 3)), max_size=30)


@given(_HAPPENINGS, st.data())
def test_in_any_order_each_happening_is_stored_once(
    happenings: list[tuple[int, Any, int]], data: st.DataObject
) -> None:
    """However often, by however many ways, with whatever else in the same hand."""

    async def run() -> None:
        store = Store()
        todo = list(happenings)
        while todo:
            size = data.draw(st.integers(1, len(todo)))
            hand, todo = todo[:size], todo[size:]
            events = [plate(n, f"k{n}", *way) for n, way, times in hand for _ in range(times)]
            await store.take(*(event for event in events if event.via != "log"))
            for event in events:
                if event.via == "log":
                    await store.matcher.fill(Missed([event], {event.id: keys_of(event)}))
        stored = [event.id.partition("-")[2] for event in store.events]
        assert sorted(stored) == sorted({str(n) for n, _, _ in happenings})

    asyncio.run(run())
