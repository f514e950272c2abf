"""nats-py's client, with three flaws of 2.16 mended and two doors of its own for the paths that carry every event.

Everything that reaches behind the library's public face is here. Connecting, reconnecting,
authentication, pings and the parser are nats-py's; what its `publish` and its subscriptions do for
each message (headers built and read one by one, a queue and a task between socket and handler)
cost several times what the bus needs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import nats.aio.client
import nats.errors
from nats.aio.client import Srv
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.protocol.parser import PERMISSIONS_ERR

from bridge.bus.wire import Received

_log = logging.getLogger(__name__)

Taker = Callable[[Received], None]
"""Is given each message as it comes, in order, and must not take long."""


class Client(nats.aio.client.Client):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._takers: dict[int, Taker] = {}

    # --- two doors -------------------------------------------------------------------------------

    async def send(self, commands: bytes) -> None:
        """Send protocol lines, `wire.encode` made them, in one piece. Raises nats.errors.Error."""
        if self.is_closed:
            raise nats.errors.ConnectionClosedError
        await self._send_command(commands)
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    async def take(self, subject: str, taker: Taker) -> Subscription:
        """Subscribe; every message goes straight to `taker`, none is dropped. Raises nats.errors.Error."""
        subscription = await self.subscribe(subject, cb=_passed_by)
        self._takers[subscription._id] = taker
        return subscription

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        taker = self._takers.get(sid)
        if taker is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        try:
            taker(Received(subject.decode(), reply.decode(), data, headers or b""))
        except Exception:  # noqa: BLE001 - the edge of the reading task, which must go on
            _log.exception("a message could not be taken", extra={"subject": subject.decode(errors="replace")})

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._takers.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    # --- three flaws -----------------------------------------------------------------------------

    async def _connect_to_server(self, s: Srv) -> None:
        """Close the socket of a connection that failed half-way instead of forgetting it."""
        if self._transport is not None:
            self._transport.close()  # type: ignore[no-untyped-call]
            self._transport = None
        await super()._connect_to_server(s)

    async def _process_err(self, err_msg: str) -> None:
        """Reconnect after an error line of the server instead of closing for good."""
        if PERMISSIONS_ERR in err_msg.lower():
            await super()._process_err(err_msg)  # one subject is refused, the connection lives on
        else:
            await self._process_op_err(nats.errors.Error(f"nats: {err_msg}"))

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        """Close for good, also when the connection was lost a moment ago and what was to be flushed cannot be."""
        try:
            await super()._close(status, do_cbs)
        except OSError:
            self._pending, self._pending_data_size = [], 0
            self._status = nats.aio.client.Client.DISCONNECTED  # otherwise it takes itself for closed
            await super()._close(status, do_cbs)


async def _passed_by(_: Msg) -> None:
    """Stand in for the callback that `subscribe` wants; the taker has had the message."""
