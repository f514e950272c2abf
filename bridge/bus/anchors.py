"""Anchors of the audit trail: at times its end is sealed with a key and written beside it, and into the log.

A chain alone cannot show that its end was cut off, and whoever may write can write all of it anew. An anchor
shows both, as far as it reaches: keep the log, or the file, where who can reach the trail cannot. The seal is
an HMAC: none of the libraries the bridge needs brings Ed25519. So who judges an anchor holds the key, as does root
here; the copy of the log elsewhere is what counts against root.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
from datetime import datetime
from operator import attrgetter
from pathlib import Path

from pydantic import ValidationError

from bridge.errors import StoreUnavailableError
from bridge.safety.journal import JsonLines, write_synced
from bridge.schema.audit import Anchor

_log = logging.getLogger(__name__)

ANCHORS, KEY = "anchors.jsonl", "anchor.key"
_MOST, _RECENT, _EACH = 20_000, 5_000, 10
"""When there are more than so many, of all but the recent ones each tenth is kept."""


class Anchors:
    """The anchors of one installation. Written by the appender alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines = JsonLines(folder / ANCHORS)
        self._key = b""
        self.last = 0
        """The record that the last anchor names."""
        self.newest: Anchor | None = None
        """That anchor."""

    async def load(self) -> int:
        """Read what there is, making a key at first; return the last record named. Raises StoreUnavailableError."""
        try:
            self._key = await asyncio.to_thread(_made_key, self._folder)
            found = await asyncio.to_thread(read_anchors, self._folder)
        except OSError as exc:
            raise StoreUnavailableError(f"the anchors of the audit trail cannot be read: {exc.strerror}") from exc
        self._lines.lines = len(found)
        genuine = (anchor for anchor in found if anchor.genuine(self._key))
        self.newest = max(genuine, key=attrgetter("n"), default=None)
        self.last = self.newest.n if self.newest else 0
        return self.last

    async def put(self, n: int, record_hash: str, at: datetime) -> None:
        """Anchor a record, in the file and in the log, unless a later one is. Raises StoreUnavailableError."""
        if n <= self.last:
            return
        anchor = Anchor.sealed(self._key, n, record_hash, at)
        try:
            await asyncio.to_thread(self._write, anchor)
        except OSError as exc:
            raise StoreUnavailableError(f"an anchor cannot be written: {exc.strerror}") from exc
        self.last = n
        _log.info("audit anchor", extra={"n": n, "hash": record_hash, "at": at.isoformat(), "mac": anchor.mac})

    def _write(self, anchor: Anchor) -> None:
        self._lines.append(anchor.model_dump(mode="json"))
        if self._lines.lines > _MOST:
            self._lines.compact(lambda records: [*records[:-_RECENT:_EACH], *records[-_RECENT:]])


def read_key(folder: Path) -> bytes:
    """Return the key that seals; empty while there is none, and then nothing is genuine. Raises OSError."""
    try:
        return bytes.fromhex((folder / KEY).read_text(encoding="ascii").strip())
    except FileNotFoundError:
        return b""
    except ValueError as exc:
        raise OSError(errno.EINVAL, f"{KEY} holds no key") from exc


def _made_key(folder: Path) -> bytes:
    """Return the key, made at first, mode 0600. Raises OSError."""
    if not (folder / KEY).exists():
        write_synced(folder / KEY, secrets.token_hex(32).encode() + b"\n")
    return read_key(folder)


def read_anchors(folder: Path) -> list[Anchor]:
    """Return what is written, genuine or not. Raises OSError."""
    found: list[Anchor] = []
    for record in JsonLines(folder / ANCHORS).load():
        try:
            found.append(Anchor.model_validate(record))
        except ValidationError:
            _log.error("a line of the anchors is not one", extra={"file": ANCHORS})
    return found
