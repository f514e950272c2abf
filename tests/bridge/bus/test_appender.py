"""The audit trail and the events about ended orders: derived from the ledger, in its order, once each."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bridge.bus import appender as appender_module
from bridge.bus import streams
from bridge.bus.anchors import KEY, read_anchors, read_key
from bridge.bus.appender import Appender, host_appender
from bridge.bus.bus import Bus
from bridge.bus.host import Host
from bridge.bus.platekeys import FILE, PlateKeys
from bridge.bus.pull import scan
from bridge.bus.results import action_ended
from bridge.errors import StoreError
from bridge.schema.audit import (
    GENESIS,
    AuditRecord,
    ChangeRecord,
    TrailCheck,
    TrailRecord,
    Verdict,
    digest,
    read_record,
)
from bridge.schema.event import Origin, VmsEvent, own_event
from bridge.schema.kinds import ActionEnded, CommandGiven, ListChanged, ModeChanged, Payload, RulesChanged
from bridge.schema.orders import About, Result
from bridge.schema.subjects import Subjects
from tests.bridge.bus.helpers import CONFIG, NOW, effect, event, result, running_bus

PLATE = "12AB345"


def _about(plate: str | None = PLATE) -> About:
    return About(
        rule_version="7",
        origin=Origin.LIVE,
        occurred=NOW,
        received=NOW,
        created=NOW + timedelta(seconds=1),
        plate=plate,
    )


async def _end(bus: Bus, number: int, plate: str | None = None, **changes: Any) -> Result:
    """Claim an order and end it."""
    claimed = await bus.effects.claim(effect(number, about=_about(plate)))
    assert claimed is not None
    ended = result(number, **changes)
    await bus.effects.update(claimed, claimed.effect.model_copy(update={"status": "ended", "result": ended}))
    return ended


async def _bodies(bus: Bus, stream: str) -> list[bytes]:
    return [message.data async for batch in scan(bus.connection, bus.stream(stream)) for message in batch]


async def _whole_trail(bus: Bus) -> list[TrailRecord]:
    """Return the trail, after checking that it is one."""
    bodies = await _bodies(bus, "RESULTS")
    records = [read_record(body) for body in bodies]
    assert [record.n for record in records] == list(range(1, len(records) + 1))
    assert [record.prev for record in records] == [GENESIS, *map(digest, bodies)][: len(records)]
    for earlier, later in pairwise(records):
        further = earlier.effect < later.effect, earlier.change < later.change
        assert further == ((True, False) if isinstance(later, AuditRecord) else (False, True))
    return records


async def _trail(bus: Bus) -> list[AuditRecord]:
    """Return the ends of orders in the trail."""
    return [record for record in await _whole_trail(bus) if isinstance(record, AuditRecord)]


async def _changes(bus: Bus) -> list[ChangeRecord]:
    """Return the changes in the trail."""
    return [record for record in await _whole_trail(bus) if isinstance(record, ChangeRecord)]


async def _change(bus: Bus, data: Payload, who: str | None = None, via: str = "bridge") -> VmsEvent:
    """Write a change into the log."""
    kinds = {ListChanged: "list.changed", ModeChanged: "mode.changed", RulesChanged: "rules.changed"}
    told = own_event("home", kinds.get(type(data), "command.given"), data, NOW)
    told = told.model_copy(update={"principal": who, "via": via})
    await (await (await bus.intake())([told, event(told.id)]))
    return told


async def test_the_end_of_an_order_becomes_a_record_and_an_event(bus: Bus, tmp_path: Path) -> None:
    """Both say the same; the record also says why the order was made, and when."""
    ended = await _end(bus, 1, step="clip", reason="late", output={"path": "a.mp4"})
    await bus.appender(tmp_path).catch_up()
    (record,) = await _trail(bus)
    assert {name: getattr(record, name) for name in Result.model_fields} == dict(ended)
    assert record.about == _about(None)
    assert record.effect == 2
    (body,) = await _bodies(bus, "EVENTS")
    told = VmsEvent.decode(body)
    assert told == action_ended("home", ended)
    assert (told.origin, told.source, told.correlation) == (Origin.BRIDGE, "home/bridge", "e1")
    assert isinstance(told.data, ActionEnded)
    assert (told.data.order, told.data.outcome, told.data.output) == ("o1", "done", {"path": "a.mp4"})


async def test_refusals_are_recorded_and_what_is_under_way_is_not(bus: Bus, tmp_path: Path) -> None:
    """A no is an end like any other. An order that ends later comes later."""
    waiting = await bus.effects.claim(effect(1))
    assert waiting is not None
    refused = result(2, outcome="refused", reason="kill_switch", attempts=0)
    await bus.effects.claim(effect(2, status="ended", result=refused))
    appender = bus.appender(tmp_path)
    await appender.catch_up()
    assert [record.outcome for record in await _trail(bus)] == ["refused"]
    await bus.effects.update(waiting, effect(1, status="ended", result=result(1)))
    await appender.catch_up()
    assert [record.order for record in await _trail(bus)] == ["o2", "o1"]


async def test_a_long_way_behind_it_catches_up_in_order(bus: Bus, tmp_path: Path, monkeypatch: Any) -> None:
    """More than goes at once, ended in another order than begun, and read by one that knows nothing."""
    monkeypatch.setattr(appender_module, "BATCH", 7)
    for number in range(40):
        await bus.effects.claim(effect(number))
    order = sorted(range(40), key=lambda number: number * 17 % 40)
    for number in order:
        found = await bus.effects.find(f"o{number}")
        assert found is not None
        await bus.effects.update(found, effect(number, status="ended", result=result(number)))
    await bus.appender(tmp_path).catch_up()
    await bus.appender(tmp_path).catch_up()
    assert [record.order for record in await _trail(bus)] == [f"o{number}" for number in order]
    assert len(await _bodies(bus, "EVENTS")) == 40


async def test_two_appenders_never_mix(bus: Bus, tmp_path: Path, monkeypatch: Any) -> None:
    """Each writes only where the trail still ends where it thinks; nothing is there twice or missing."""
    monkeypatch.setattr(appender_module, "BATCH", 3)
    both = [bus.appender(tmp_path) for _ in range(2)]

    async def append(appender: Appender) -> None:
        for _ in range(500):
            try:
                await appender.catch_up()
            except StoreError:
                continue
            if done.is_set():
                return
            await asyncio.sleep(0)

    done = asyncio.Event()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        for appender in both:
            tasks.create_task(append(appender))
        for number in range(60):
            await _end(bus, number)
        done.set()
    await both[0].catch_up()
    assert [record.order for record in await _trail(bus)] == [f"o{number}" for number in range(60)]


@pytest.mark.parametrize("point", ["audit.read", "audit.told", "audit.appended"])
async def test_dying_in_the_middle_leaves_no_hole_and_no_double(
    bus: Bus, tmp_path: Path, monkeypatch: Any, point: str
) -> None:
    """Wherever it stops, the next one finds in the trail where to go on."""

    class DiedError(Exception):
        pass

    def die(name: str) -> None:
        if name == point:
            raise DiedError

    await _end(bus, 1)
    await _end(bus, 2)
    with monkeypatch.context() as patch:
        patch.setattr(appender_module, "crash_point", die)
        with pytest.raises(DiedError):
            await bus.appender(tmp_path).catch_up()
    await _end(bus, 3)
    await bus.appender(tmp_path).catch_up()
    assert [record.order for record in await _trail(bus)] == ["o1", "o2", "o3"]
    assert len(await _bodies(bus, "EVENTS")) == 3


async def test_a_foreign_record_at_the_end_stops_the_trail(bus: Bus, tmp_path: Path) -> None:
    """Nobody writes behind something he cannot account for."""
    await bus.connection.client.jetstream().publish("vms.home.result.open.done", b"{}")
    await _end(bus, 1)
    appender = bus.appender(tmp_path)
    with pytest.raises(StoreError, match="somebody else"):
        await appender.catch_up()
    assert appender.trouble is not None
    assert (appender.trouble.stream, appender.trouble.seq) == ("VMS-home-RESULTS", 1)
    assert "nats stream rmm VMS-home-RESULTS 1" in appender.trouble.cure


async def test_when_the_foreign_record_is_gone_the_trail_goes_on(bus: Bus, tmp_path: Path) -> None:
    """What its cure says: delete it, and everything that ended meanwhile is appended, in one chain."""
    appender = bus.appender(tmp_path)
    await _end(bus, 1)
    await appender.catch_up()
    await bus.connection.client.jetstream().publish("vms.home.result.open.done", b"{}")
    for number in (2, 3):
        await _end(bus, number)
        with pytest.raises(StoreError):
            await appender.catch_up()
        if number == 2:  # our write did not follow ours: now we read where the trail ends
            with pytest.raises(StoreError, match="somebody else"):
                await appender.catch_up()
    assert appender.trouble is not None
    await bus.connection.api("STREAM.MSG.DELETE.VMS-home-RESULTS", {"seq": appender.trouble.seq})
    await appender.catch_up()
    assert appender.trouble is None
    assert [(record.n, record.order) for record in await _trail(bus)] == [(1, "o1"), (2, "o2"), (3, "o3")]


async def _lose(bus: Bus, stream: str) -> None:
    """Take a stream away, with all that is in it, and make it anew as a start does."""
    await bus.connection.api(f"STREAM.DELETE.{bus.stream(stream)}")
    await streams.ensure(bus.connection, streams.table("home", CONFIG), 1)


async def _orders_told(bus: Bus) -> list[str]:
    return [
        record.order for body in await _bodies(bus, "RESULTS") if isinstance(record := read_record(body), AuditRecord)
    ]


@pytest.mark.parametrize("later", [3, 40])
async def test_what_ends_after_the_ledger_was_lost_is_in_the_trail(bus: Bus, tmp_path: Path, later: int) -> None:
    """A new ledger counts from 1: however far it has come when it is looked at, nothing of it is taken as told."""
    now = datetime.now(UTC)
    for number in range(10):
        await _end(bus, number, ended=now)
    await bus.appender(tmp_path).catch_up()
    await _lose(bus, "ENGINE")
    appender = bus.appender(tmp_path)
    if later < 10:
        await appender.catch_up()
    for number in range(100, 100 + later):
        await _end(bus, number, ended=now)
    await appender.delivered(effect(100, status="ended", result=result(100)), 2)
    wanted = [f"o{number}" for number in (*range(10), *range(100, 100 + later))]
    assert await _orders_told(bus) == wanted
    await _end(bus, 500, ended=now)
    await bus.appender(tmp_path).catch_up()
    assert await _orders_told(bus) == [*wanted, "o500"]
    assert (await _verdict(bus, tmp_path)).state != "altered"


async def test_an_older_ledger_tells_only_what_is_new(bus: Bus, tmp_path: Path) -> None:
    """What the trail has of it is not told twice, over restarts; an order that ends once more is."""
    now = datetime.now(UTC)
    for number in range(6):
        await _end(bus, number, ended=now)
    appender = bus.appender(tmp_path)
    await appender.catch_up()
    await appender.anchor()
    await _lose(bus, "ENGINE")
    for number in range(3):
        await _end(bus, number, ended=now)
    await bus.appender(tmp_path).catch_up()
    await _change(bus, ModeChanged(mode="away"))
    await bus.appender(tmp_path).catch_up()
    await bus.appender(tmp_path).catch_up()
    assert await _orders_told(bus) == [f"o{number}" for number in range(6)]
    await _end(bus, 4, ended=now + timedelta(minutes=1))
    await _end(bus, 20, ended=now)
    for _ in range(2):
        await bus.appender(tmp_path).catch_up()
    assert await _orders_told(bus) == [*(f"o{number}" for number in range(6)), "o4", "o20"]
    assert (await _verdict(bus, tmp_path)).state != "altered"


@pytest.mark.parametrize("later", [1, 9])
async def test_what_changes_after_the_log_was_lost_is_in_the_trail(bus: Bus, tmp_path: Path, later: int) -> None:
    """Likewise for the log; an event that is in the trail already is not told again."""
    old = [await _change(bus, ModeChanged(mode=f"old{number}")) for number in range(4)]
    await bus.appender(tmp_path).catch_up()
    await _lose(bus, "EVENTS")
    await (await (await bus.intake())([old[0]]))
    for number in range(later):
        await _change(bus, ModeChanged(mode=f"new{number}"))
    for _ in range(2):
        await bus.appender(tmp_path).catch_up()
    records = [read_record(body) for body in await _bodies(bus, "RESULTS")]
    modes = [record.what["mode"] for record in records if isinstance(record, ChangeRecord)]
    assert modes == [*(f"old{number}" for number in range(4)), *(f"new{number}" for number in range(later))]


async def test_a_record_that_has_left_the_ledger_is_no_loss(bus: Bus, tmp_path: Path, caplog: Any) -> None:
    """What ended long ago leaves by itself, and what the log has trimmed is gone: the trail goes on where it was."""
    await _end(bus, 1)
    await _change(bus, ModeChanged(mode="away"))
    await bus.appender(tmp_path).catch_up()
    for stream in ("ENGINE", "EVENTS"):
        await bus.connection.api(f"STREAM.PURGE.{bus.stream(stream)}")
    await _end(bus, 2)
    await _change(bus, ModeChanged(mode="home"))
    await bus.appender(tmp_path).catch_up()
    assert [record.order for record in await _trail(bus)] == ["o1", "o2"]
    assert [record.what["mode"] for record in await _changes(bus)] == ["away", "home"]
    assert "is gone" not in caplog.text


async def test_hosted_it_follows_the_ledger_by_itself(tmp_path: Path) -> None:
    """Over a restart of the server and of the host, deliveries repeated and lost."""
    async with running_bus(tmp_path / "bus") as bus:
        for life in range(2):
            appender = bus.appender(tmp_path)
            host = Host.beside(bus.connection, bus.dead)
            host_appender(host, "home", appender)
            async with host.opened():
                for number in range(20):
                    await _end(bus, life * 100 + number)
                    if number == 10:
                        assert bus._server is not None
                        assert bus._server.pid is not None
                        os.kill(bus._server.pid, signal.SIGKILL)

                async def complete(wanted: int = (life + 1) * 20) -> None:
                    while len(await _bodies(bus, "RESULTS")) < wanted:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)

                await asyncio.wait_for(complete(), 30)
        assert len(await _trail(bus)) == 40
        assert len(await _bodies(bus, "EVENTS")) == 40


async def test_a_plate_is_in_the_trail_only_as_a_keyed_hash(bus: Bus, tmp_path: Path) -> None:
    """Also in what was said about the order. The same plate has the same hash, over restarts."""
    await _end(bus, 1, PLATE, message=f"no room for {PLATE}", output={"topic": f"cars/{PLATE}", PLATE: [PLATE]})
    await _end(bus, 2, "99ZZ999")
    await bus.appender(tmp_path).catch_up()
    await _end(bus, 3, PLATE)
    await bus.appender(tmp_path).catch_up()
    first, other, again = await _trail(bus)
    assert PLATE.encode() not in b"".join(await _bodies(bus, "RESULTS"))
    assert first.about is not None
    assert other.about is not None
    assert again.about is not None
    token = first.about.plate
    assert token == again.about.plate == PlateKeys(tmp_path).find(PLATE)
    assert token != other.about.plate
    assert first.message == f"no room for {token}"
    assert first.output == {"topic": f"cars/{token}", token: [token]}
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert PLATE not in (tmp_path / FILE).read_text()


async def test_a_forgotten_plate_gets_another_hash(tmp_path: Path) -> None:
    """What was written of it means nothing any more, also to a bridge that runs meanwhile."""
    running, beside = PlateKeys(tmp_path), PlateKeys(tmp_path)
    before = await running.hashes([PLATE, "99ZZ999"])
    assert beside.forget(PLATE, NOW)
    assert not beside.forget(PLATE, NOW)
    assert running.find(PLATE) is None
    after = await running.hashes([PLATE, "99ZZ999"])
    assert after[PLATE] != before[PLATE]
    assert after["99ZZ999"] == before["99ZZ999"]
    assert beside.find(PLATE) == after[PLATE]


async def test_changes_of_what_decides_are_records_in_the_order_of_the_log(bus: Bus, tmp_path: Path) -> None:
    """Who, by which way, what, and which event says it; and what came of a reload that was refused."""
    said = [
        await _change(bus, RulesChanged(ruleset="a" * 64, rules=3, added=("gate",), lists=("residents",))),
        await _change(bus, ListChanged(list="words", added=("red",), reason="a test"), "api:desk", "api"),
        await _change(bus, ModeChanged(mode="away", previous="home", reason="last one out"), "cli:anna", "api"),
        await _change(bus, ModeChanged(mode="night"), "mqtt", "mqtt"),
        await _change(bus, ListChanged(list="words", removed=("red",)), "rule tidy", "rule"),
        await _change(bus, CommandGiven(command="reload", persons=("api:ops",), outcome="refused"), "api:ops", "api"),
        await _change(bus, CommandGiven(command="kill", persons=("event:panel",)), "event:panel", "api"),
    ]
    await bus.appender(tmp_path).catch_up()
    await bus.appender(tmp_path).catch_up()
    found = await _changes(bus)
    assert [record.event for record in found] == [one.id for one in said]
    assert [(record.kind, record.way, record.who) for record in found] == [
        ("rules.changed", "file", None), ("list.changed", "api", "api:desk"), ("mode.changed", "cli", "cli:anna"),
        ("mode.changed", "mqtt", "mqtt"), ("list.changed", "rule", "rule tidy"), ("command.given", "api", "api:ops"),
        ("command.given", "input", "event:panel"),
    ]  # fmt: skip
    assert found[0].what == {"ruleset": "a" * 64, "rules": 3, "added": ["gate"], "lists": ["residents"]}
    token = PlateKeys(tmp_path).find("red")
    assert found[1].what == {"list": "words", "added": [token], "reason": "a test"}
    assert found[4].what == {"list": "words", "removed": [token]}
    assert found[5].what == {"command": "reload", "persons": ["api:ops"], "outcome": "refused"}
    assert found[0].at == NOW


async def test_orders_and_changes_are_one_chain(bus: Bus, tmp_path: Path, monkeypatch: Any) -> None:
    """Whichever is told of first; after a restart both go on where they were, however little goes at once."""
    monkeypatch.setattr(appender_module, "BATCH", 2)
    for life in range(2):
        appender = bus.appender(tmp_path)
        for number in range(life * 10, life * 10 + 5):
            await _end(bus, number)
            told = await _change(bus, ModeChanged(mode=f"m{number}"))
            if number % 2:
                await appender.changed(told, 1_000_000)
        await appender.catch_up()
    numbers = [*range(5), *range(10, 15)]
    assert [record.order for record in await _trail(bus)] == [f"o{number}" for number in numbers]
    assert [record.what["mode"] for record in await _changes(bus)] == [f"m{number}" for number in numbers]
    await appender.anchor()
    assert (await _verdict(bus, tmp_path)).state == "intact"


@pytest.mark.parametrize("point", ["audit.read", "audit.appended"])
async def test_dying_over_a_change_leaves_no_hole_and_no_double(
    bus: Bus, tmp_path: Path, monkeypatch: Any, point: str
) -> None:
    """As over the end of an order."""

    def die(name: str) -> None:
        if name == point:
            raise InterruptedError

    await _change(bus, ModeChanged(mode="away"))
    with monkeypatch.context() as patch:
        patch.setattr(appender_module, "crash_point", die)
        with pytest.raises(InterruptedError):
            await bus.appender(tmp_path).catch_up()
    await _change(bus, ModeChanged(mode="home"))
    await bus.appender(tmp_path).catch_up()
    assert [record.what["mode"] for record in await _changes(bus)] == ["away", "home"]


async def test_hosted_it_is_told_of_changes(bus: Bus, tmp_path: Path) -> None:
    """By the log itself, whoever wrote them; what is no change is left."""
    host = Host.beside(bus.connection, bus.dead)
    host_appender(host, "home", bus.appender(tmp_path))
    async with host.opened(), asyncio.timeout(30):
        wanted = [await _change(bus, data) for data in (ModeChanged(mode="away"), ListChanged(list="a", added=("b",)))]
        while len(await _bodies(bus, "RESULTS")) < 2:  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(0.05)
    assert {record.event for record in await _changes(bus)} == {one.id for one in wanted}


async def test_a_plate_of_a_list_change_can_be_forgotten(bus: Bus, tmp_path: Path) -> None:
    """The values of a list are in the trail as keyed hashes only, in the reason too; the chain stays whole."""
    appender, keys = bus.appender(tmp_path), PlateKeys(tmp_path)
    await _end(bus, 1, PLATE)
    data = ListChanged(list="residents", added=(PLATE, "99ZZ999"), removed=("77XX777",), reason=f"{PLATE} has moved in")
    await _change(bus, data, "api:desk", "api")
    await appender.catch_up()
    ended, changed = await _whole_trail(bus)
    token = keys.find(PLATE)
    assert token is not None
    assert changed.concerns(token)
    assert ended.concerns(token)
    assert isinstance(changed, ChangeRecord)
    assert changed.what["added"] == [token, keys.find("99ZZ999")]
    assert changed.what["reason"] == f"{token} has moved in"
    stored = b"".join(await _bodies(bus, "RESULTS"))
    assert not any(plate.encode() in stored for plate in (PLATE, "99ZZ999", "77XX777"))
    assert keys.forget(PLATE, NOW + timedelta(hours=1))
    assert keys.find(PLATE) is None
    await appender.anchor()
    assert (await _verdict(bus, tmp_path)).state == "intact"


async def test_a_trail_made_again_does_not_bring_an_erased_plate_back(bus: Bus, tmp_path: Path) -> None:
    """The ledger still knows it, but what ended before it was erased gets a token that nobody has the key of."""
    keys = PlateKeys(tmp_path)
    for number in (1, 2):
        await _end(bus, number, PLATE)
    await _change(bus, ListChanged(list="residents", added=(PLATE,)), "api:desk", "api")
    await bus.appender(tmp_path).catch_up()
    assert keys.forget(PLATE, NOW + timedelta(hours=1))
    await bus.connection.api(f"STREAM.PURGE.{bus.stream('RESULTS')}")
    await bus.appender(tmp_path).catch_up()
    one, two, changed = await _whole_trail(bus)
    assert keys.find(PLATE) is None
    assert isinstance(one, AuditRecord)
    assert isinstance(two, AuditRecord)
    assert isinstance(changed, ChangeRecord)
    assert one.about is not None
    assert two.about is not None
    tokens = [one.about.plate, two.about.plate, *changed.what["added"]]
    assert len(set(tokens)) == 3
    assert PLATE.encode() not in b"".join(await _bodies(bus, "RESULTS"))


async def test_a_changed_change_is_found(bus: Bus, tmp_path: Path) -> None:
    """Whoever writes another name into the record of a change is caught by the next one, or by the anchor."""
    appender = bus.appender(tmp_path)
    await _change(bus, ListChanged(list="residents", added=(PLATE,)), "api:mallory", "api")
    await appender.catch_up()
    await appender.anchor()
    check = TrailCheck(read_anchors(tmp_path), read_key(tmp_path), Subjects("home"), trimmed=False)
    (body,) = await _bodies(bus, "RESULTS")
    check.take("vms.home.result.change.list.changed", body.replace(b"mallory", b"alice99"))
    assert (check.verdict().state, check.verdict().altered_at) == ("altered", 1)


async def _verdict(bus: Bus, folder: Path) -> Verdict:
    check = TrailCheck(read_anchors(folder), read_key(folder), Subjects("home"), trimmed=False)
    async for batch in scan(bus.connection, bus.stream("RESULTS")):
        for message in batch:
            check.take(message.subject, message.data)
    return check.verdict()


async def test_the_trail_is_anchored_after_so_many_records_and_when_told(
    bus: Bus, tmp_path: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """In the file and in the log; once for the same record; and what is written verifies."""
    monkeypatch.setattr(appender_module, "ANCHOR_AFTER", 5)
    appender = bus.appender(tmp_path)
    with caplog.at_level("INFO"):
        for number in range(7):
            await _end(bus, number, PLATE)
            await appender.catch_up()
        assert await _verdict(bus, tmp_path) == Verdict("unproven", 7, 1, 7, 5)
        await appender.anchor()
        await appender.anchor()
    assert await _verdict(bus, tmp_path) == Verdict("intact", 7, 1, 7, 7)
    assert [anchor.n for anchor in read_anchors(tmp_path)] == [5, 7]
    said = [record for record in caplog.records if record.getMessage() == "audit anchor"]
    assert [vars(record)["n"] for record in said] == [5, 7]
    assert (tmp_path / KEY).stat().st_mode & 0o777 == 0o600


async def test_a_trail_that_was_cut_off_is_told_and_made_good_from_the_ledger(
    bus: Bus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What the ledger still knows gives the same records again, so that the anchors hold again."""
    for number in range(6):
        await _end(bus, number)
    appender = bus.appender(tmp_path)
    await appender.catch_up()
    await appender.anchor()
    await bus.connection.api(f"STREAM.PURGE.{bus.stream('RESULTS')}", {"seq": 1000, "keep": 0})
    assert (await _verdict(bus, tmp_path)).state == "altered"
    await bus.appender(tmp_path).catch_up()
    assert "ends before its last anchor" in caplog.text
    assert await _verdict(bus, tmp_path) == Verdict("intact", 6, 1, 6, 6)


def test_the_event_of_a_result_depends_on_it_alone() -> None:
    """So that telling it twice is telling it once."""
    assert action_ended("home", result(1)) == action_ended("home", result(1))
    assert action_ended("home", result(1)).id != action_ended("home", result(2)).id
    assert event(1).id == "e1"
