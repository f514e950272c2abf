"""A WebSocket connection that can misbehave below the protocol: go quiet, freeze, tear a frame, vanish.

uvicorn does the protocol; this subclass hands itself to the application through the ASGI scope and adds
what ASGI has no words for. It also keeps request lines out of the log: TS-API puts passwords into them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request

_EXTENSION = "simulator.link"
_logger = logging.getLogger(__name__)
_logger.setLevel(logging.WARNING)


class Link(WebSocketsSansIOProtocol):
    """One client's connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _logger
        self.frozen = False
        self.is_quiet: Callable[[], bool] = lambda: False
        self.pings = 0

    @classmethod
    def of(cls, socket: WebSocket) -> Link:
        """Return the connection under a Starlette socket."""
        return cast("Link", socket.scope["extensions"][_EXTENSION])

    def freeze(self) -> None:
        """Neither read nor write from now on, and do not close: the far side of a half-open connection."""
        self.frozen = True
        self.stop_keepalive()

    def vanish(self) -> None:
        """Reset the TCP connection, without any WebSocket or HTTP goodbye."""
        self.handshake_complete = True  # uvicorn would answer 500 for us
        self.transport.abort()

    def tear(self, text: str) -> None:
        """Send half of a frame, then end the connection."""
        data = Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
        self.transport.write(data[: max(1, len(data) // 2)])
        self.transport.close()

    def handle_connect(self, event: Request) -> None:
        """Note ourselves in the scope before the application runs."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            extensions = cast("dict[str, Any]", self.scope["extensions"])
            extensions[_EXTENSION] = self

    def data_received(self, data: bytes) -> None:
        """Read, unless frozen; the kernel acknowledges the bytes all the same, as a dead peer's would."""
        if not self.frozen:
            super().data_received(data)

    def send_keepalive_ping(self) -> None:
        """Ping as often as configured, unless told to be quiet."""
        if self.is_quiet():
            self.schedule_ping()
            return
        self.pings += 1
        super().send_keepalive_ping()
