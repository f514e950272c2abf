"""The floor: the least that anybody could write that does the same and loses nothing on the way.

One process, a WebSocket, pydantic, JetStream publishes with ids, a pull loop, a dict of rules. No
batches, no engine state, no order that survives a crash, no ledger, no reconnecting, no safety. It
uses nothing of ours but the embedded server, with the settings of the site that it is compared to.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import aiohttp
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from pydantic import BaseModel, ConfigDict
from websockets.asyncio.client import ClientConnection, connect

from bridge.bench.device import RULES, plate
from bridge.bus.server import EmbeddedServer
from bridge.config.models import BusConfig

_WINDOW = 1000
"""Publishes under way at once."""
_ASKED = 500
"""Messages in one pull request, as ours."""
_DUPLICATES = 600.0
"""Seconds that the server remembers ids, as for our stream."""


class _Camera(BaseModel):
    model_config = ConfigDict(extra="ignore")

    chid: int
    title: str
    displayName: str  # noqa: N815 - the vendor's name


class Plate(BaseModel):
    """One LPR message, as it is written down."""

    model_config = ConfigDict(extra="allow")

    timestamp: datetime
    chid: _Camera
    deviceCode: str  # noqa: N815 - the vendor's name
    image: str
    plateNo: str  # noqa: N815 - the vendor's name
    score: int
    topic: str
    direction: str


@asynccontextmanager
async def bare_server(config: BusConfig, folder: Path) -> AsyncIterator[tuple[EmbeddedServer, Client]]:
    """Run nats-server with one stream, and connect."""
    async with EmbeddedServer(config, folder) as server:
        access = server.access
        client = await nats.connect(
            server.url, user=access.username, password=access.password.get_secret_value(), allow_reconnect=False
        )
        try:
            await client.jetstream().add_stream(
                StreamConfig(name="BARE", subjects=["bare.>"], duplicate_window=_DUPLICATES)
            )
            yield server, client
        finally:
            await client.close()


@asynccontextmanager
async def socket(url: str) -> AsyncIterator[ClientConnection]:
    """Open the device's event socket."""
    where = url.replace("http", "ws", 1) + "/wsapi/subscribeEvents?topics=LPR"
    async with connect(where, compression=None, ping_interval=None, proxy=None, close_timeout=1) as connection:
        await connection.recv()
        yield connection


class Puller:
    """A pull loop: keeps one request open and acknowledges each batch as a whole."""

    def __init__(self, client: Client, take: Callable[[Plate], Awaitable[None]]) -> None:
        self._client, self._take = client, take
        self._arrived: asyncio.Queue[Msg] = asyncio.Queue()
        self.taken = 0

    async def run(self) -> None:
        """Take messages until cancelled."""
        config = ConsumerConfig(durable_name="bare", ack_policy=AckPolicy.ALL, max_ack_pending=-1, mem_storage=True)
        await self._client.jetstream().add_consumer("BARE", config)
        inbox = self._client.new_inbox()
        await self._client.subscribe(inbox, cb=self._put)
        asked = 0
        while True:
            if asked <= _ASKED // 5:
                await self._client.publish("$JS.API.CONSUMER.MSG.NEXT.BARE.bare", b'{"batch":%d}' % _ASKED, inbox)
                asked += _ASKED
            batch = [await self._arrived.get()]
            while not self._arrived.empty():
                batch.append(self._arrived.get_nowait())
            for message in batch:
                await self._take(Plate.model_validate_json(message.data))
            await self._client.publish(batch[-1].reply, b"+ACK")
            asked -= len(batch)
            self.taken += len(batch)

    async def _put(self, message: Msg) -> None:
        self._arrived.put_nowait(message)


class Flood:
    """The pipeline under load: publishes with a window, orders as plain messages."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._rules = {
            plate(number, 1): json.dumps({"ptz": "gate", "rule": number}).encode() for number in range(RULES)
        }
        self._room = asyncio.Semaphore(_WINDOW)
        self.orders = 0

    async def run(self, url: str, begin: Callable[[], Awaitable[None]], count: int) -> None:
        """Take so many events through everything; `begin` has them sent."""
        inbox = self._client.new_inbox()
        await self._client.subscribe(inbox, cb=self._stored)
        puller = Puller(self._client, self._decide)
        async with socket(url) as connection:
            pulling = asyncio.create_task(puller.run())
            try:
                await begin()
                for number in range(count):
                    event = Plate.model_validate_json(await connection.recv(decode=False))
                    await self._room.acquire()
                    headers = {"Nats-Msg-Id": str(number)}
                    await self._client.publish("bare.plate", event.model_dump_json().encode(), inbox, headers)
                while puller.taken < count and not pulling.done():  # noqa: ASYNC110 - counted by another task
                    await asyncio.sleep(0.002)
                await self._client.flush()
            finally:
                pulling.cancel()
                await asyncio.wait([pulling])
            if not pulling.cancelled():
                pulling.result()

    async def _stored(self, _: Msg) -> None:
        self._room.release()

    async def _decide(self, event: Plate) -> None:
        order = self._rules.get(event.plateNo)
        if order is not None:
            self.orders += 1
            await self._client.publish("order.ptz", order)


@asynccontextmanager
async def answering(client: Client, url: str) -> AsyncIterator[None]:
    """Answer every event with a command, one event at a time: stored, pulled, sent."""
    async with aiohttp.ClientSession(url) as http, socket(url) as connection:

        async def command(event: Plate) -> None:
            where = f"/api/channel/preset?ch={event.chid.chid}&go={event.plateNo}"
            async with http.get(where) as answer:
                await answer.read()

        async def store() -> None:
            stream, number = client.jetstream(), 0
            async for message in connection:
                event = Plate.model_validate_json(message)
                number += 1
                headers = {"Nats-Msg-Id": str(number)}
                await stream.publish("bare.plate", event.model_dump_json().encode(), headers=headers)

        tasks = [asyncio.create_task(store()), asyncio.create_task(Puller(client, command).run())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
