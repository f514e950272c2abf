"""Every plate has a key of its own, and only what the key makes of it goes into the audit trail.

Who destroys a plate's key makes all its hashes meaningless, without touching a record: nobody can
tell any more whose they were, not even by trying plates, because the key was random. The file holds
no plate either: it is found by a hash under the file's own key. Mode 0600, synced before a hash is used.

Which keys were destroyed stands in `erased.jsonl`, by a hash of the key and the plate's name: so a key that comes
back with an older copy of the file is destroyed again, and what was said of the plate before it was erased gets no new
key when the trail has to be written again. A plate without a key may have one in a backup all the same: it is erased by
its name alone, and a key that it gets later is noted as one to keep.

A car park sees a million plates in a year. In memory are only the keys that were used lately, and a filter that
says of a plate which never came that it never did; the others are looked up in the file.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import hmac
import json
import secrets
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from bridge.errors import StoreUnavailableError
from bridge.safety.journal import JsonLines

FILE = "plates.jsonl"
ERASED = "erased.jsonl"
_HASH = 32
"""Hex digits of a hash that are kept: 128 bits."""
_BEGIN = b'{"plate":"'
"""How the line of a key begins; its name follows."""
RECENT = 8192
"""Keys kept in memory, 2 MB."""


_Stamp = tuple[int, int] | None
"""What a file is and how long; None: it is not there."""


class _Filter:
    """Knows of a name that it is not in the file, or that it may be: in 1 MiB, however many there are.

    With a million in the file it takes one in forty others for one of them, which costs a look into the file.
    """

    BITS = 23

    def __init__(self) -> None:
        self._bits = bytearray(1 << (self.BITS - 3))

    def __contains__(self, name: str) -> bool:
        return all(self._bits[place >> 3] & (1 << (place & 7)) for place in self._places(name))

    def add(self, name: str) -> None:
        for place in self._places(name):
            self._bits[place >> 3] |= 1 << (place & 7)

    def _places(self, name: str) -> list[int]:
        """Return the four bits that belong to a name."""
        number = hash(name)
        step = (number >> 32) | 1
        return [(number + step * turn) & ((1 << self.BITS) - 1) for turn in range(4)]


class PlateKeys:
    """The keys of one installation; several processes may use them."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._lines = JsonLines(self._path)
        self._gone_path = folder / ERASED
        self._gone = JsonLines(self._gone_path)
        self._seen: tuple[_Stamp, _Stamp] | None = None
        """What both files were when they were read last; that sets all that follows."""
        self._erased: dict[str, datetime]
        """When each was erased last, by name."""
        self._nameless: set[str]
        """Names of plates of which any key goes that is not noted as one to keep."""
        self._master: bytes
        self._known: _Filter
        self._recent: OrderedDict[str, bytes]

    async def hashes(self, plates: Iterable[str]) -> dict[str, str]:
        """Return each plate's keyed hash; a plate that has no key yet gets one. Raises StoreUnavailableError."""
        return await asyncio.to_thread(self._hashes, sorted(set(plates)))

    async def tokens(self, said: Sequence[tuple[datetime, Set[str]]]) -> list[dict[str, str]]:
        """Return, for each thing that was said then of some plates, what stands for them. Raises StoreUnavailableError.

        Their hashes; for what was said before a plate was erased, a token that stands for nothing and is kept nowhere.
        """
        return await asyncio.to_thread(self._tokens, said)

    def find(self, plate: str) -> str | None:
        """Return a plate's keyed hash if it has a key. Raises OSError."""
        with self._fresh():
            key = self._found([self._name(plate)]).get(self._name(plate))
            return None if key is None else _mac(key, plate)

    def forget(self, plate: str, at: datetime) -> bool:
        """Destroy a plate's key, also one that only a backup holds; tell whether there was one here. Raises OSError."""
        with self._fresh():
            name = self._name(plate)
            found = self._found([name])
            # First the note: whatever happens now, the key goes when the file is read again.
            which = {"key": _id(found[name])} if found else {}
            self._gone.append({**which, "plate": name, "at": at.isoformat()})
            self._load()
            return bool(found)

    def take_erased(self, path: Path) -> None:
        """Let what was erased elsewhere, or since, be erased here too. Raises OSError."""
        with self._fresh():
            known = self._gone.load()
            more = [record for record in JsonLines(path).load() if _is_note(record) and record not in known]
            if more:
                self._gone.append(*more)
            self._load()

    def _hashes(self, plates: Iterable[str]) -> dict[str, str]:
        with self._usable():
            return self._keyed(plates)

    def _tokens(self, said: Sequence[tuple[datetime, Set[str]]]) -> list[dict[str, str]]:
        with self._usable():
            kept = [{plate for plate in plates if not self._erased_since(plate, at)} for at, plates in said]
            keyed = self._keyed(sorted(set().union(*kept)))
            return [
                {plate: keyed[plate] if plate in own else secrets.token_hex(_HASH // 2) for plate in plates}
                for (_, plates), own in zip(said, kept, strict=True)
            ]

    def _erased_since(self, plate: str, at: datetime) -> bool:
        when = self._erased.get(self._name(plate))
        return when is not None and at <= when

    def _keyed(self, plates: Iterable[str]) -> dict[str, str]:
        named = {plate: self._name(plate) for plate in plates}
        keys = self._found(named.values())
        keys |= self._made(name for name in named.values() if name not in keys)
        self._remember(keys)
        return {plate: _mac(keys[name], plate) for plate, name in named.items()}

    def _made(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return new keys, after they were written down."""
        made = {name: secrets.token_bytes(16) for name in names}
        if kept := [{"plate": name, "kept": _id(key)} for name, key in made.items() if name in self._nameless]:
            self._gone.append(*kept)
        if made:
            self._lines.append(*({"plate": name, "key": key.hex()} for name, key in made.items()))
        for name in made:
            self._known.add(name)
        return made

    def _found(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return the keys that there are, after one look into the file at most."""
        names = set(names)
        found = {name: self._recent[name] for name in names if name in self._recent}
        wanted = {name.encode() for name in names if name not in found and name in self._known}
        if wanted:
            with self._path.open("rb") as file:
                for line in file:
                    if _name_in(line) in wanted and (key := _key_in(line)) is not None:
                        found[_name_in(line).decode()] = key
        return found

    def _remember(self, keys: dict[str, bytes]) -> None:
        for name, key in keys.items():
            self._recent[name] = key
            self._recent.move_to_end(name)
        while len(self._recent) > RECENT:
            self._recent.popitem(last=False)

    def _name(self, plate: str) -> str:
        return _mac(self._master, plate)

    # --- the file -------------------------------------------------------------------------------

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """As `_fresh`, for who writes the trail. Raises StoreUnavailableError."""
        try:
            with self._fresh():
                yield
        except OSError as exc:
            raise StoreUnavailableError(f"the keys of plates cannot be written: {exc.strerror}") from exc

    @contextmanager
    def _fresh(self) -> Iterator[None]:
        """Hold both files alone, read again if somebody else has changed one of them."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._path.parent / ".plates.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._state() != self._seen:
                self._load()
            try:
                yield
            finally:
                self._seen = self._state()

    def _load(self) -> None:
        self._lines.close()  # another process may have put a new file in its place
        self._known, self._recent = _Filter(), OrderedDict()
        self._purge()
        master = ""
        for record in self._lines.each():
            master = master or record.get("master", "")
            if "plate" in record:
                self._known.add(record["plate"])
        if not master:
            master = secrets.token_hex(32)
            self._lines.append({"master": master})
        self._master = bytes.fromhex(master)

    def _purge(self) -> None:
        """Read what was erased, and destroy the keys among it that are there: from a backup, or after a crash."""
        self._gone.close()
        notes = [record for record in self._gone.each() if _is_note(record)]
        self._erased, self._nameless = {}, set()
        gone, kept = set(), set()
        for note in notes:
            if "kept" in note:
                kept.add(note["kept"])
                continue
            name, at = note["plate"], datetime.fromisoformat(note["at"])
            self._erased[name] = max(at, self._erased.get(name, at))
            if "key" in note:
                gone.add(note["key"])
            else:
                self._nameless.add(name)

        def goes(record: Mapping[str, Any]) -> bool:
            key = _erasable(record)
            return key is not None and (key in gone or (record.get("plate") in self._nameless and key not in kept))

        if notes and any(goes(record) for record in self._lines.each()):
            self._lines.compact(lambda records: [record for record in records if not goes(record)])

    def _state(self) -> tuple[_Stamp, _Stamp]:
        """Return what changes with the files: also with a note alone, of a plate that has no key here."""
        return _stamp(self._path), _stamp(self._gone_path)


def _stamp(path: Path) -> _Stamp:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_size


def _name_in(line: bytes) -> bytes:
    """Return the name in a line, without the cost of understanding it; nonsense for other lines."""
    return line[len(_BEGIN) : len(_BEGIN) + _HASH]


def _key_in(line: bytes) -> bytes | None:
    try:
        return bytes.fromhex(json.loads(line)["key"])
    except (ValueError, KeyError, TypeError):  # the journal has said so when it was read
        return None


def _is_note(record: Mapping[str, Any]) -> bool:
    """Tell a line of what was erased: a plate's name with the time and, if it had one, its key; or a key to keep."""
    texts = [record[name] for name in ("plate", "key", "kept") if name in record]
    if not record.get("plate") or not all(isinstance(text, str) for text in texts):
        return False
    try:
        return "kept" in record or datetime.fromisoformat(record["at"]).tzinfo is not None
    except (ValueError, KeyError, TypeError):
        return False


def _erasable(record: Mapping[str, Any]) -> str | None:
    """Return what a line of the file is called among what was erased; None for a line without a key."""
    try:
        return _id(bytes.fromhex(record["key"]))
    except (ValueError, KeyError, TypeError):
        return None


def _id(key: bytes) -> str:
    """Return what a key is called: a hash that says nothing of it, nor of its plate."""
    return hashlib.sha256(key).hexdigest()[:_HASH]


def _mac(key: bytes, plate: str) -> str:
    return hmac.new(key, plate.encode(), hashlib.sha256).hexdigest()[:_HASH]
