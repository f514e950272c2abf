"""Every plate has a key of its own, and only what the key makes of it goes into the audit trail.

Who destroys a plate's key makes all its hashes meaningless, without touching a record: nobody can
tell any more whose they were, not even by trying plates, because the key was random. The file holds
no plate either: it is found by a hash under the file's own key. Mode 0600, synced before a hash is used.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge.errors import StoreUnavailableError
from bridge.safety.journal import JsonLines

FILE = "plates.jsonl"
_HASH = 32
"""Hex digits of a hash that are kept: 128 bits."""


class PlateKeys:
    """The keys of one installation; several processes may use them."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._lines = JsonLines(self._path)
        self._seen: tuple[int, int] | None = None
        self._master = b""
        self._keys: dict[str, bytes] = {}

    async def hashes(self, plates: Iterable[str]) -> dict[str, str]:
        """Return each plate's keyed hash; a plate that has no key yet gets one. Raises StoreUnavailableError."""
        return await asyncio.to_thread(self._hashes, sorted(set(plates)))

    def find(self, plate: str) -> str | None:
        """Return a plate's keyed hash if it has a key. Raises OSError."""
        with self._fresh():
            key = self._keys.get(self._name(plate))
            return None if key is None else _mac(key, plate)

    def forget(self, plate: str) -> bool:
        """Destroy a plate's key; tell whether there was one. Raises OSError."""
        with self._fresh():
            if self._keys.pop(self._name(plate), None) is None:
                return False
            kept = [{"plate": name, "key": key.hex()} for name, key in self._keys.items()]
            self._lines.rewrite([{"master": self._master.hex()}, *kept])
            return True

    def _hashes(self, plates: list[str]) -> dict[str, str]:
        try:
            with self._fresh():
                return {plate: _mac(self._key(plate), plate) for plate in plates}
        except OSError as exc:
            raise StoreUnavailableError(f"the keys of plates cannot be written: {exc.strerror}") from exc

    def _key(self, plate: str) -> bytes:
        name = self._name(plate)
        if name not in self._keys:
            key = secrets.token_bytes(16)
            self._lines.append({"plate": name, "key": key.hex()})
            self._keys[name] = key
            self._seen = self._state()
        return self._keys[name]

    def _name(self, plate: str) -> str:
        return _mac(self._master, plate)

    # --- the file -------------------------------------------------------------------------------

    @contextmanager
    def _fresh(self) -> Iterator[None]:
        """Hold the file alone, read again if somebody else has changed it."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._path.parent / ".plates.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._seen is None or self._state() != self._seen:
                self._load()
            try:
                yield
            finally:
                self._seen = self._state()

    def _load(self) -> None:
        self._lines.close()  # another process may have put a new file in its place
        records = self._lines.load()
        masters = [record["master"] for record in records if "master" in record]
        if not masters:
            masters = [secrets.token_hex(32)]
            self._lines.append({"master": masters[0]})
        self._master = bytes.fromhex(masters[0])
        self._keys = {r["plate"]: bytes.fromhex(r["key"]) for r in records if "plate" in r}

    def _state(self) -> tuple[int, int] | None:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return None
        return stat.st_ino, stat.st_size


def _mac(key: bytes, plate: str) -> str:
    return hmac.new(key, plate.encode(), hashlib.sha256).hexdigest()[:_HASH]
