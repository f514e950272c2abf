"""The injector: pushes plates as fast as they are taken, or at a rate, and writes down every yes."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from .ledger import Ledger
from .site import push_headers

_PATIENCE = 10.0
"""Seconds for one answer; after that the same is sent again."""


def _plain(prefix: str, sender: int, number: int) -> str:
    return f"{prefix}{sender:02d}N{number:07d}"


@dataclass
class Load:
    """Senders in threads of their own. A sender repeats what it got no yes for, as a device does."""

    port: int
    ledger: Ledger
    senders: int = 2
    batch: int = 50
    """Plates in one push."""
    rate: float = 0.0
    """Plates a second of all senders; 0: as fast as they are taken."""
    most: int = 0
    """Stop by itself after so many plates of all senders; 0: never."""
    prefix: str = "L"
    name: Callable[[str, int, int], str] = _plain
    """Makes a plate of prefix, sender and number."""
    yeses: list[float] = field(default_factory=list)
    """When each yes came, on the monotonic clock."""
    took: list[float] = field(default_factory=list)
    """Seconds that each push with a yes took."""
    sent: dict[str, float] = field(default_factory=dict)
    """When each plate was first sent, on the wall clock."""
    since: dict[str, float] = field(default_factory=dict)
    """Since when each plate waits: since it was due, if its sender was still waiting for an earlier answer."""
    statuses: list[tuple[float, int, float]] = field(default_factory=list)
    """When any other answer came, which (0: none), and after how many seconds."""
    retry_after: int = 0
    """How many of those said when to come again."""
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads = [
            threading.Thread(target=self._send_all, args=(number,), name=f"sender {number}", daemon=True)
            for number in range(self.senders)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(_PATIENCE * 3)

    def over(self) -> None:
        """Stop sending: nobody is there to answer."""
        self._over.set()

    def finish(self, seconds: float) -> bool:
        """Wait until everything that was to be sent is promised; tell whether it is."""
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def acked(self) -> int:
        """How many have a yes."""
        return len(self.ledger.acked)

    def first_yes_after(self, moment: float) -> float | None:
        """Return how long after a moment the next yes came to what was sent after it.

        A yes to what was sent before says nothing: it may have been on its way already.
        """
        with self._lock:
            later = [at for at, took in zip(self.yeses, self.took, strict=True) if at - took > moment]
        return min(later) - moment if later else None

    def _send_all(self, sender: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE)
        number, began = 0, time.monotonic()
        # Devices know nothing of each other: were all of them to send at one moment, that would be a row of bursts.
        began += sender * self.batch / self.rate if self.rate else 0.0
        share = self.most // self.senders + (sender < self.most % self.senders)
        while not self._over.is_set() and (not self.most or number < share):
            count = min(self.batch, share - number) if self.most else self.batch
            late = self._until_due(began + number * self.senders / self.rate) if self.rate else 0.0
            plates = [self.name(self.prefix, sender, number + place) for place in range(count)]
            number += count
            with self._lock:
                self.ledger.offered += count
            self._until_yes(connection, plates, late)
        connection.close()

    def _until_due(self, due: float) -> float:
        """Wait until a push is due; return by how much an earlier one has made it late."""
        left = due - time.monotonic()
        if left > 0:
            self._over.wait(left)
        return max(0.0, -left)

    def _until_yes(self, connection: http.client.HTTPConnection, plates: Sequence[str], late: float) -> None:
        body, now = pushed(plates), time.time()
        self.sent.update(dict.fromkeys(plates, now))
        self.since.update(dict.fromkeys(plates, now - late))
        while not self._over.is_set():
            began = time.monotonic()
            status, again = _post(connection, body)
            now = time.monotonic()
            with self._lock:
                if status == 200:
                    self.ledger.yes(plates)
                    self.yeses.append(now)
                    self.took.append(now - began)
                    return
                self.statuses.append((now, status, now - began))
                self.retry_after += again
            self._over.wait(0.05)


def pushed(plates: Sequence[str]) -> bytes:
    """Return the body of a push of plates that are read now. Each is the same event however often it is sent."""
    when = datetime.now(UTC).isoformat(timespec="milliseconds")
    items = [{"topic": "LPR", "src": "F00001", "plateNo": plate, "when": when} for plate in plates]
    return json.dumps(items if len(items) > 1 else items[0]).encode()


def _post(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, bool]:
    try:
        connection.request("POST", "/api/push", body, push_headers())
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return 0, False
    return response.status, response.getheader("Retry-After") is not None
