"""One connection to an MQTT broker, seen from the event loop.

paho runs the network on a thread of its own; its callbacks cross to the loop here and nothing else
does. Knows nothing of reconnecting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from bridge.errors import ActionRejectedError, ActionUnavailableError

ACK_TIMEOUT = 10.0
"""Seconds that a broker may take to acknowledge."""
CONNECT_TIMEOUT = 10.0
"""Seconds that it may take to answer our CONNECT."""
_NO_FOR_GOOD = frozenset({0x87, 0x90, 0x95, 0x99})
"""Reason codes of a PUBACK that would come again: not authorized, topic, packet size, payload format."""


class RefusedError(Exception):
    """The broker answered our CONNECT with a no."""

    def __init__(self, reason: ReasonCode) -> None:
        self.code = reason.value
        super().__init__(str(reason))


@dataclass(eq=False)
class Session:
    """One connection: its client, and who waits for what."""

    client: Client
    loop: asyncio.AbstractEventLoop
    connected: asyncio.Future[None]
    closed: asyncio.Future[str]
    acks: dict[int, asyncio.Future[None]] = field(default_factory=dict)
    inbox: Mapping[str, Callable[[bytes], None]] = field(default_factory=dict)
    """Who takes the messages of which topic."""

    @classmethod
    def of(cls, client: Client, inbox: Mapping[str, Callable[[bytes], None]]) -> Session:
        """Take over a client that is not connected yet."""
        loop = asyncio.get_running_loop()
        session = cls(client, loop, loop.create_future(), loop.create_future(), inbox=inbox)
        client.on_connect = session._on_connect
        client.on_disconnect = session._on_disconnect
        client.on_publish = session._on_publish
        client.on_message = session._on_message
        return session

    def _on_connect(
        self, client: Client, data: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._from_thread(self._connack, reason)

    def _on_disconnect(
        self, client: Client, data: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._from_thread(self._gone, str(reason))

    def _on_publish(
        self, client: Client, data: Any, message: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._from_thread(self._acked, message, reason)

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        take = self.inbox.get(message.topic)
        if take is not None and not message.retain:  # what is retained was said to somebody else, long ago
            self._from_thread(take, bytes(message.payload))

    def subscribe(self) -> None:
        """Ask for the messages of the inbox."""
        if self.inbox:
            self.client.subscribe([(topic, 1) for topic in self.inbox])

    def _from_thread(self, call: Callable[..., None], *arguments: Any) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(call, *arguments)

    def _connack(self, reason: ReasonCode) -> None:
        if self.connected.done():
            return
        if reason.is_failure:
            self.connected.set_exception(RefusedError(reason))
        else:
            self.connected.set_result(None)

    def _gone(self, why: str) -> None:
        if not self.closed.done():
            self.closed.set_result(why)
        for ack in self.acks.values():
            if not ack.done():
                ack.set_exception(ActionUnavailableError(f"the broker went away before it acknowledged ({why})"))

    def _acked(self, message: int, reason: ReasonCode) -> None:
        ack = self.acks.get(message)
        if ack is None or ack.done():
            return
        if not reason.is_failure:
            ack.set_result(None)
        elif reason.value in _NO_FOR_GOOD:
            ack.set_exception(ActionRejectedError(f"the broker does not take it: {reason}", "rejected"))
        else:
            ack.set_exception(ActionUnavailableError(f"the broker does not take it now: {reason}"))

    async def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        """Publish; return when it is acknowledged. Raises ActionUnavailableError, ActionRejectedError."""
        info = self.client.publish(topic, payload, qos, retain)
        if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            raise ActionUnavailableError("too many messages wait for the broker")
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise ActionUnavailableError("the broker is not connected")
        if qos == 0:
            return
        ack = self.acks[info.mid] = self.loop.create_future()
        try:
            async with asyncio.timeout(ACK_TIMEOUT):
                await ack
        except TimeoutError as exc:
            raise ActionUnavailableError(f"the broker did not acknowledge within {ACK_TIMEOUT:g} s") from exc
        finally:
            self.acks.pop(info.mid, None)

    async def answered(self) -> bool:
        """Wait for the broker's answer to our CONNECT; False if it hung up instead.

        Raises RefusedError, TimeoutError.
        """
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await asyncio.wait((self.connected, self.closed), return_when=asyncio.FIRST_COMPLETED)
        if not self.connected.done():
            return False
        self.connected.result()
        return True

    async def end(self) -> None:
        """Disconnect and join the thread; whoever still waits is told."""
        if self.connected.done() and not self.connected.cancelled():
            self.connected.exception()
        await asyncio.to_thread(_end, self.client)
        self._gone("stopped")


def _end(client: Client) -> None:
    client.disconnect()
    client.loop_stop()
