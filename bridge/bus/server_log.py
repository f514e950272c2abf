"""Fold the embedded server's log into ours, line by line, and remember what it said last."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Iterable

_LINE = re.compile(r"^\[\d+\] (?:[\d/]+ [\d:.]+ )?\[(\w{3})\] ?(.*)$")
_LEVELS = {
    "TRC": logging.DEBUG,
    "DBG": logging.DEBUG,
    "INF": logging.DEBUG,  # its INFO is a banner and 20 lines at every start: nobody's business but a developer's
    "WRN": logging.WARNING,
    "ERR": logging.ERROR,
    "FTL": logging.CRITICAL,
}
_EXPECTED = ("Plaintext passwords detected",)
"""Warnings about what we do on purpose: the configuration holds random passwords and nobody else may read it."""

_STORE_BROKEN = re.compile(r"critical write error|JetStream (?:out of|disabled|failed)|no space left", re.IGNORECASE)
"""After these the server goes on running and answers nothing: only a restart helps (nats-server #7654)."""

_FULL = re.compile(r"no space left|insufficient (?:storage|resources)|JetStream out of", re.IGNORECASE)
FULL = "the disk is full"
_PATH = re.compile(r"(?:/[^\s/:'\"]+)+/([^\s/:'\"]+)")

_log = logging.getLogger("bridge.bus.nats_server")


class ServerLog:
    """What the server says: passed on to logging without secrets, and searched for what concerns us."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = tuple(secret for secret in secrets if secret)
        self._complaints: deque[str] = deque(maxlen=5)
        self.store_broken = asyncio.Event()
        """Set when the server said that it cannot write any more."""

    def line(self, raw: bytes) -> str:
        """Take one line; return its message."""
        text = raw.decode(errors="replace").rstrip()
        for secret in self._secrets:
            text = text.replace(secret, "***")
        match = _LINE.match(text)
        level, message = (match[1], match[2]) if match else ("ERR", text)
        if message and not message.startswith(_EXPECTED):
            _log.log(_LEVELS.get(level, logging.ERROR), "nats-server: %s", message)
        if level in ("ERR", "FTL") and message:
            self._complaints.append(message)
            if _STORE_BROKEN.search(message):
                self.store_broken.set()
        return message

    @property
    def complaint(self) -> str:
        """The last thing that it called an error, for the one line a user sees."""
        return self._complaints[-1] if self._complaints else "it said nothing"

    @property
    def words(self) -> str:
        """The same for whoever asks how we are: a full disk by its name, and files without where they lie."""
        if any(_FULL.search(said) for said in self._complaints):
            return FULL
        return _PATH.sub(r"\1", self.complaint)
