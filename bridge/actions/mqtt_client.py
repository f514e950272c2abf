"""Publish to an MQTT broker, and know whether it took it.

`publish` returns when the broker has acknowledged; while there is no broker it says so at once, and
the order waits in the effect ledger, which is on disk: no queue of ours can be lost or overflow.
MQTT 5 is spoken where the broker does; one that refuses it (nats-server) gets 3.1.1.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Literal

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge.actions.mqtt_session import RefusedError, Session
from bridge.clock import Clock
from bridge.config.models import MqttConfig
from bridge.errors import ActionError, ActionRejectedError, ActionUnavailableError

_LOG = logging.getLogger(__name__)

KEEPALIVE = 30
"""Seconds; the broker says `offline` for us after one and a half of them."""
RECONNECT = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before the next attempt to connect; the last one repeats."""
SESSION_EXPIRY = 24 * 3600
MAX_PAYLOAD = 256 * 1024
"""Bytes; a broker ends the connection over a message that is too large for it."""
MAX_TOPIC = 1024
MAX_LEVELS = 64
_REMEMBERED = 10_000
_NOT_YET = "not connected yet"
_UNSUPPORTED = 0x84
_BAD_LOGIN = frozenset({0x86, 0x87, 0x8A, 0x8C})

_V311, _V5 = MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5
_VERSIONS: dict[str, tuple[MQTTProtocolVersion, ...]] = {"auto": (_V5, _V311), "5": (_V5,), "3.1.1": (_V311,)}


def check_topic(topic: str) -> str:
    """Return the topic as it can be published under our prefix; spaces become `%20`.

    nats-server ends the connection over a topic with a space, and `+`, `#`, `$` and NUL mean
    something else or nothing. Raises ActionRejectedError.
    """
    published = topic.replace(" ", "%20")
    if not published or published.startswith("$"):
        raise ActionRejectedError("a topic must not be empty and not begin with $", "bad_topic")
    if any(character in "+#" or character < " " or "\x7f" <= character <= "\x9f" for character in published):
        raise ActionRejectedError("a topic must not hold +, # or control characters", "bad_topic")
    try:
        length = len(published.encode())
    except UnicodeEncodeError as exc:
        raise ActionRejectedError("a topic must be valid Unicode", "bad_topic") from exc
    if length > MAX_TOPIC or published.count("/") >= MAX_LEVELS:
        raise ActionRejectedError(f"a topic has at most {MAX_TOPIC} bytes and {MAX_LEVELS} levels", "bad_topic")
    return published


class MqttPublisher:
    """The one connection of a site to its broker. `run` keeps it; `publish` uses it.

    `<prefix>/<site>/bridge/state` says `online` or `offline`, retained: whether we can be relied on, as `available`
    was told last, and `offline` also when we end or die.
    """

    def __init__(self, config: MqttConfig, site: str, instance: str, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._client_id = config.client_id or f"vms-bridge-{site}-{instance}"
        self._state_topic = f"{config.prefix}/{site}/bridge/state"
        self._versions = list(_VERSIONS[config.version])
        self._session: Session | None = None
        self._inbox: dict[str, Callable[[bytes], None]] = {}
        self._newest: OrderedDict[str, datetime] = OrderedDict()
        self._able = True
        self._turned = asyncio.Event()
        self.problem: str | None = _NOT_YET
        """Why there is no connection; None while there is one."""

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._session is not None

    @property
    def version(self) -> Literal["3.1.1", "5"]:
        """The MQTT version spoken now, or tried next."""
        return "5" if self._versions[0] == _V5 else "3.1.1"

    def available(self, able: bool) -> None:
        """Say whether the bridge can be relied on; the broker is told when that changes."""
        if able is not self._able:
            self._able = able
            self._turned.set()

    def listen(self, topic: str, take: Callable[[bytes], None]) -> None:
        """Take the messages of a topic under our prefix, from the next connection on; retained ones are left out.

        `take` is called on the event loop with the payload.
        """
        self._inbox[f"{self._config.prefix}/{topic}"] = take

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, stamp: datetime | None = None
    ) -> bool:
        """Publish under our prefix; return when the broker has it (QoS 1 and 2).

        A retained topic says what is true now: with a `stamp`, a message older than one that was
        published there already is left out, and the answer is False. Raises ActionUnavailableError
        without a broker or its acknowledgement, ActionRejectedError for a topic or payload that no
        broker takes.
        """
        full = f"{self._config.prefix}/{check_topic(topic)}"
        if len(payload) > MAX_PAYLOAD:
            raise ActionRejectedError(
                f"a message has at most {MAX_PAYLOAD} bytes, this has {len(payload)}", "too_large"
            )
        if self._session is None:
            raise ActionUnavailableError(f"the MQTT broker is not connected: {self.problem}")
        if retain and stamp is not None and self._newest.get(full, stamp) > stamp:
            return False
        await self._session.publish(full, payload, qos, retain)
        if retain and stamp is not None:
            self._remember(full, stamp)
        return True

    async def run(self) -> None:
        """Keep connected until cancelled; say goodbye then."""
        failures = 0
        while True:
            try:
                self._lost(await self._one_session())
                failures = 0
            except RefusedError as exc:
                if self._spoke_too_new(exc):
                    continue
                self._lost(f"the broker refuses us: {exc}")
                failures = len(RECONNECT) if exc.code in _BAD_LOGIN else failures + 1
            except (OSError, ActionError) as exc:
                self._lost(str(exc) or "no answer")
                failures += 1
            await self._clock.sleep(RECONNECT[min(failures, len(RECONNECT) - 1)] * random.uniform(0.8, 1.2))

    async def _one_session(self) -> str:
        """Be connected until the link ends; return why it did."""
        client = await asyncio.to_thread(self._client, self._versions[0])
        session = Session.of(client, self._inbox)
        try:
            await asyncio.to_thread(self._connect, client)
            client.loop_start()
            if not await session.answered():
                self._versions.append(self._versions.pop(0))  # some old brokers hang up on a version they do not know
                raise OSError(f"the connection ended before the broker answered ({session.closed.result()})")
            session.subscribe()
            await self._say_state(session)
            self._session, self.problem = session, None
            _LOG.info("the MQTT broker is connected", extra={"version": self.version})
            while await self._turned_before_end(session):
                await self._say_state(session)
            return session.closed.result()
        finally:
            await self._leave(session)

    async def _say_state(self, session: Session) -> None:
        self._turned.clear()
        await session.publish(self._state_topic, b"online" if self._able else b"offline", 1, True)

    async def _turned_before_end(self, session: Session) -> bool:
        """Wait for what comes first: something new to say, or the end of the session."""
        turned = asyncio.ensure_future(self._turned.wait())
        try:
            await asyncio.wait((turned, session.closed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            turned.cancel()
        return not session.closed.done()

    async def _leave(self, session: Session) -> None:
        online, self._session = self._session is session, None
        try:
            if online and not session.closed.done():
                async with asyncio.timeout(2):
                    await session.publish(self._state_topic, b"offline", 1, True)
        except (ActionError, TimeoutError):
            _LOG.debug("the broker did not hear our goodbye")
        finally:
            await session.end()

    def _client(self, version: MQTTProtocolVersion) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if version == _V5 else False,
            protocol=version,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(100)
        client.max_queued_messages_set(self._config.queue)
        client.will_set(self._state_topic, b"offline", 1, True)
        if self._config.username is not None:
            password = self._config.password
            client.username_pw_set(self._config.username, password.get_secret_value() if password else None)
        if self._config.tls:
            client.tls_set_context(ssl.create_default_context(cafile=self._config.ca_file))
        return client

    def _connect(self, client: Client) -> None:
        if client.protocol == _V5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
            properties.SessionExpiryInterval = SESSION_EXPIRY
            client.connect(self._config.host, self._config.port, KEEPALIVE, clean_start=False, properties=properties)
        else:
            client.connect(self._config.host, self._config.port, KEEPALIVE)

    def _spoke_too_new(self, error: RefusedError) -> bool:
        if error.code != _UNSUPPORTED or self._versions[0] != _V5 or len(self._versions) == 1:
            return False
        self._versions = [_V311]
        return True

    def _lost(self, why: str) -> None:
        if self.problem is None or self.problem == _NOT_YET:
            _LOG.warning("the MQTT broker is not connected", extra={"error": why})
        self.problem = why

    def _remember(self, topic: str, stamp: datetime) -> None:
        self._newest[topic] = stamp
        self._newest.move_to_end(topic)
        while len(self._newest) > _REMEMBERED:
            self._newest.popitem(last=False)
