"""Each role reaches what it needs on the bus and nothing else; proven against the real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.bus import roles, store_format
from bridge.bus.acks import Acks
from bridge.bus.bus import Bus
from bridge.bus.connect import Connection
from bridge.bus.orders import JetOrderQueue
from bridge.bus.pull import create_consumer, delete_consumer, scan
from bridge.bus.results import JetDeadLetters
from bridge.bus.roles import ROLES, Role
from bridge.bus.server import EmbeddedServer
from bridge.bus.server_config import identity
from bridge.bus.streams import stream_name
from bridge.bus.wire import Outgoing
from bridge.config.models import MqttListener
from bridge.contracts import Head, Step
from bridge.errors import StoreUnavailableError
from tests.bridge.bus.helpers import CONFIG, event, order

SUBJECTS = {
    "event": "vms.home.event.nvr1.plate.read.1",
    "own event": "vms.home.event.bridge.rule.fired._",
    "list change": "vms.home.event.bridge.list.changed._",
    "mode change": "vms.home.event.bridge.mode.changed._",
    "rules change": "vms.home.event.bridge.rules.changed._",
    "settings change": "vms.home.event.bridge.settings.changed._",
    "command": "vms.home.event.bridge.command.given._",
    "end of an order": "vms.home.event.bridge.action.ended._",
    "clip event": "vms.home.event.nvr1.clip.ready.1",
    "mqtt event": "vms.home.event.sensor.custom.door._",
    "head": "vms.home.head.0",
    "state": "vms.home.state.0.r.k",
    "order": "vms.home.order.0.evil",
    "effect": "vms.home.effect.evil",
    "result": "vms.home.result.relay.done",
    "parked": "vms.home.dlq.message.bad",
    "dead order": "vms.home.dlq.actuating.given_up",
    "trace": "vms.home.trace.r",
    "checkpoint": "vms.home.checkpoint.0.7.0",
    "lists": "$KV.VMS-home-lists.residents",
    "cursors": "$KV.VMS-home-cursors.nvr1",
    "rulesets": "$KV.VMS-home-rulesets.x",
    "other site": "vms.away.order.0.evil",
}
MAY: dict[Role, set[str]] = {
    "connectors": {"event", "clip event", "mqtt event", "parked", "cursors"},
    "engine": {
        "own event",
        "list change",
        "mode change",
        "rules change",
        "settings change",
        "end of an order",
        "head",
        "state",
        "order",
        "trace",
        "checkpoint",
        "lists",
        "rulesets",
    },
    "actions": {
        "own event",
        "list change",
        "mode change",
        "end of an order",
        "clip event",
        "effect",
        "result",
        "parked",
        "dead order",
        "cursors",
    },
    "media": {"clip event"},
    "api": {"event", "list change", "mode change", "command", "clip event", "mqtt event", "parked", "lists"},
    "mqtt": {"mqtt event"},
    "reader": set(),
}
"""Written by hand, not derived: what each role may store."""


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[tuple[EmbeddedServer, Bus]]:
    """A site with one event and one order in it."""
    store_format.claim(folder, "home")
    async with EmbeddedServer(CONFIG, folder) as server, Bus.open("home", CONFIG, server) as bus:
        intake = await bus.intake()
        await (await intake([event(1)]))
        await bus.engine_store.commit(Step(Head(1, 1, "r"), {}, [order(1)]))
        yield server, bus


def connection(server: EmbeddedServer, folder: Path, role: Role) -> Connection:
    """A connection as a role."""
    who = identity(folder / "bus" / "server.json", CONFIG.model_copy(update={"port": 0}))
    access = who.roles[role]
    return Connection([server.url], access.username, access.password, f"test {role}", roles.inbox(role))


async def stored(acks: Acks, subject: str) -> bool:
    """Whether a message could be stored."""
    try:
        await acks.store([Outgoing(subject, b"{}")], 0.4)
    except StoreUnavailableError:
        return False
    return True


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_stores_what_is_its_business_and_nothing_else(tmp_path: Path, role: Role) -> None:
    """Every kind of subject is tried as every role; what the server refuses is not stored."""
    async with site(tmp_path) as (server, bus), connection(server, tmp_path, role).opened() as link:
        before = await _stored(bus)
        names = list(SUBJECTS)
        said = await asyncio.gather(*(stored(Acks(link), SUBJECTS[name]) for name in names))
        assert {name for name, yes in zip(names, said, strict=True) if yes} == MAY[role]
        assert await _stored(bus) - before == len(MAY[role])


FORBIDDEN = (
    ("STREAM.CREATE.evil", {"name": "evil", "subjects": ["evil"]}),
    ("STREAM.DELETE.VMS-home-EVENTS", None),
    ("STREAM.PURGE.VMS-home-ENGINE", None),
    ("STREAM.MSG.DELETE.VMS-home-RESULTS", {"seq": 1}),
    ("STREAM.UPDATE.VMS-home-EVENTS", {"name": "VMS-home-EVENTS"}),
    ("STREAM.SNAPSHOT.VMS-home-EVENTS", {"deliver_subject": "x"}),
    ("CONSUMER.DELETE.VMS-home-ENGINE.runners", None),
    ("CONSUMER.DELETE.VMS-home-EVENTS.engine-0", None),
    ("CONSUMER.MSG.NEXT.VMS-home-ENGINE.runners", {"batch": 1, "no_wait": True}),
)


@pytest.mark.parametrize("role", ["reader", "connectors", "media", "mqtt", "api"])
async def test_a_role_without_an_engine_or_runners_manages_nothing(tmp_path: Path, role: Role) -> None:
    """Streams are the bridge's own; so are the consumers of the engine and of the runners."""
    async with site(tmp_path) as (server, bus), connection(server, tmp_path, role).opened() as link:
        await create_consumer(bus.connection, bus.stream("ENGINE"), "runners", {"durable_name": "runners"})
        await create_consumer(bus.connection, bus.stream("EVENTS"), "engine-0", {"durable_name": "engine-0"})

        async def refused(subject: str, question: Any) -> bool:
            try:
                await link.api(subject, question, timeout=0.4)
            except StoreUnavailableError:
                return True
            return False

        assert all(await asyncio.gather(*(refused(subject, question) for subject, question in FORBIDDEN)))
        for consumer in ("ENGINE.runners", "EVENTS.engine-0"):
            info = await bus.connection.api(f"CONSUMER.INFO.VMS-home-{consumer}")
            assert info["num_ack_pending"] == 0


OWNED: dict[Role, set[str]] = {"engine": {"CONSUMER.DELETE.VMS-home-EVENTS.engine-0"}}
OWNED["actions"] = {name for name, _ in FORBIDDEN if name.endswith("VMS-home-ENGINE.runners")}


@pytest.mark.parametrize("role", ["engine", "actions"])
async def test_who_owns_a_consumer_manages_that_and_no_more(tmp_path: Path, role: Role) -> None:
    """The engine cannot take orders away from the runners, nor the runners events from the engine."""
    async with site(tmp_path) as (server, bus), connection(server, tmp_path, role).opened() as link:
        for stream, name in (("ENGINE", "runners"), ("EVENTS", "engine-0")):
            await create_consumer(bus.connection, bus.stream(stream), name, {"durable_name": name})

        async def refused(subject: str, question: Any) -> bool:
            try:
                await link.api(subject, question, timeout=0.4)
            except StoreUnavailableError:
                return True
            return False

        tried = [one for one in FORBIDDEN if one[0] not in OWNED[role]]
        assert len(tried) < len(FORBIDDEN)
        assert all(await asyncio.gather(*(refused(subject, question) for subject, question in tried)))


async def test_a_reader_reads_everything(tmp_path: Path) -> None:
    """With consumers of its own, which it may remove again."""
    async with site(tmp_path) as (server, _), connection(server, tmp_path, "reader").opened() as link:
        for name in ("EVENTS", "ENGINE"):
            stream = stream_name("home", name)
            assert (await link.api(f"STREAM.INFO.{stream}"))["state"]["messages"]
            assert [message.subject for batch in [b async for b in scan(link, stream)] for message in batch]
        await create_consumer(link, stream_name("home", "EVENTS"), "mine", {"ack_policy": "none", "mem_storage": True})
        await delete_consumer(link, stream_name("home", "EVENTS"), "mine")


async def test_the_runners_take_orders(tmp_path: Path) -> None:
    """And acknowledge them, which nobody else may."""
    async with site(tmp_path) as (server, bus), connection(server, tmp_path, "actions").opened() as link:
        acks = Acks(link)
        queue = JetOrderQueue(link, bus.stream("ENGINE"), "vms.home.order.>", JetDeadLetters(link, acks, "home"))
        async for pending in queue.take():
            assert pending.order.id == "o1"
            await pending.done()
            break
        await until_acknowledged(bus)


async def until_acknowledged(bus: Bus) -> None:
    """Wait until no order is out."""
    async with asyncio.timeout(10):
        while (await bus.connection.api("CONSUMER.INFO.VMS-home-ENGINE.runners"))["num_ack_pending"]:  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("role", ["media", "mqtt"])
async def test_who_only_writes_cannot_steer_answers_into_the_log(tmp_path: Path, role: Role) -> None:
    """The server answers to any subject that a question names; these roles have no question that it answers."""
    async with site(tmp_path) as (server, bus), connection(server, tmp_path, role).opened() as link:
        await create_consumer(bus.connection, bus.stream("EVENTS"), "mine", {"ack_policy": "none"})
        before = await _stored(bus)
        for subject in (
            "STREAM.INFO.VMS-home-EVENTS",
            "STREAM.MSG.GET.VMS-home-EVENTS",
            "DIRECT.GET.VMS-home-EVENTS.vms.home.event.nvr1.motion.started.1",
            "CONSUMER.MSG.NEXT.VMS-home-EVENTS.mine",
            "INFO",
        ):
            await link.tell(f"$JS.API.{subject}", b'{"seq":1}', reply="vms.home.order.0.evil")
        await link.client.flush()
        await (await (await bus.intake())([event(2)]))
        assert await _stored(bus) == before + 1


@pytest.mark.parametrize("subject", [">", "vms.>", "_INBOX.>", "_INBOX_engine.>", "$JS.>", "$KV.>"])
async def test_no_role_listens_in(tmp_path: Path, subject: str) -> None:
    """Not to traffic, and not to the answers that others get."""
    async with site(tmp_path) as (server, bus), AsyncExitStack() as stack:
        heard: list[str] = []

        def spy(message: Any) -> None:
            heard.append(message.subject)

        others = [role for role in ROLES if not subject.startswith(roles.inbox(role))]
        links = [await stack.enter_async_context(connection(server, tmp_path, role).opened()) for role in others]
        for link in links:
            await link.subscribe(subject, spy)
        intake = await bus.intake()
        await (await intake([event(2)]))
        for link in links:
            await link.client.flush()
        assert heard == []


async def test_roles_keep_their_passwords(tmp_path: Path) -> None:
    """Over restarts; all different; none in what a repr or the log shows."""
    store_format.claim(tmp_path, "home")
    seen = []
    for _ in range(2):
        async with EmbeddedServer(CONFIG, tmp_path) as server:
            who = identity(tmp_path / "bus" / "server.json", CONFIG)
            seen.append({role: access.password.get_secret_value() for role, access in who.roles.items()})
            assert set(seen[-1].values()) <= set(who.secrets)
            assert not any(secret in repr(who) for secret in who.secrets)
            assert server.trouble is None
    assert seen[0] == seen[1]
    assert len(set(seen[0].values())) == len(ROLES)


async def test_names_of_users_do_not_collide_with_what_people_choose(tmp_path: Path) -> None:
    """The MQTT listener's user is called `mqtt` unless somebody says otherwise; so is a role."""
    store_format.claim(tmp_path, "home")
    async with EmbeddedServer(CONFIG.model_copy(update={"mqtt": MqttListener(port=0)}), tmp_path) as server:
        assert server.mqtt is not None
        assert server.trouble is None


async def _stored(bus: Bus) -> int:
    """The sum of what all streams have ever taken."""
    names = [f"VMS-home-{name}" for name in ("EVENTS", "ENGINE", "RESULTS", "DLQ", "REJECTED", "TRACES", "CHECKPOINTS")]
    names += [f"KV_VMS-home-{name}" for name in ("lists", "cursors", "rulesets")]
    return sum([(await bus.connection.api(f"STREAM.INFO.{name}"))["state"]["last_seq"] for name in names])
