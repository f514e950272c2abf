"""Where finished clips are kept: a local folder, one process, nothing half done ever visible.

A clip is published when its manifest is in place; before that its files were synced, seen to play, and
moved. Names are made here, from the begin of the window and a hash of the clip's id. The same id is the
same clip: a second try finds the first one's. What a crash leaves behind is removed at the next start.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

from pydantic import ValidationError

from bridge.clock import Clock
from bridge.errors import ActionError, ActionUnavailableError
from bridge.media.folder import Folder, open_in, storage_errors
from bridge.media.job import CutResult
from bridge.media.manifest import (
    About,
    Manifest,
    begin_of,
    folder_of,
    id_digits,
    manifest_of,
    parse_name,
)
from bridge.media.pool import MediaWorkers

log = logging.getLogger(__name__)

_INCOMING: Final = ".incoming"
_DAMAGED: Final = ".damaged"


@dataclass(frozen=True, slots=True)
class Retention:
    """How long clips stay. None is no limit; clips on hold stay anyway."""

    max_age: timedelta | None = timedelta(days=30)
    max_bytes: int | None = None
    min_free: int = 256 * 1024**2
    """Bytes that must stay free on the disk; below that no clip is begun."""


@dataclass(frozen=True, slots=True)
class StoredClip:
    """A clip that is in the store: its manifest, and where its files are relative to the store."""

    manifest: Manifest
    folder: str

    @property
    def path(self) -> str:
        """Return the primary file's path inside the store."""
        return f"{self.folder}/{self.manifest.main.file}"

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the paths of all parts inside the store."""
        return tuple(f"{self.folder}/{part.file}" for part in self.manifest.parts)

    @property
    def thumbnail(self) -> str | None:
        """Return the picture's path inside the store."""
        return f"{self.folder}/{self.manifest.thumbnail}" if self.manifest.thumbnail else None


@dataclass(slots=True)
class _Entry:
    """What the store remembers of a clip without reading its manifest."""

    stem: str
    folder: str
    size: int = 0
    manifest: bool = False
    held: bool = False


class Draft:
    """A private folder for one clip in the making, on the store's own disk; gone when its block ends."""

    def __init__(self, folder: Path, clip: str) -> None:
        self.folder = folder
        self.clip = clip
        self.out = folder / "clip.mp4"
        self.pieces = folder / "pieces"


class ClipStore:
    """`async with ClipStore(root, workers, clock) as store:`; then draft, publish, find, retain."""

    def __init__(self, root: Path, workers: MediaWorkers, clock: Clock, retention: Retention | None = None) -> None:
        self._folder = Folder(root)
        self._workers, self._clock = workers, clock
        self._retention = retention or Retention()
        self._entries: dict[str, _Entry] = {}
        self._changing = asyncio.Lock()

    @property
    def root(self) -> Path:
        """Return the folder."""
        return self._folder.root

    async def __aenter__(self) -> Self:
        """Take the folder and clear up after a crash.

        Raises:
            StartError: another bridge uses it, or it cannot be written.
        """
        await asyncio.to_thread(self._folder.take)
        try:
            with storage_errors("clearing up"):
                await asyncio.to_thread(self._sweep)
        except BaseException:
            self._folder.leave()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._folder.leave()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Return the bytes of all clips."""
        return sum(entry.size for entry in self._entries.values())

    @asynccontextmanager
    async def draft(self, clip: str) -> AsyncIterator[Draft]:
        """Give a folder to make a clip in; whatever is still in it at the end is removed.

        Raises:
            ActionUnavailableError: the disk is full.
        """
        with storage_errors("beginning a clip"):
            folder = await asyncio.to_thread(self._begin, clip)
        try:
            yield Draft(folder, clip)
        finally:
            await asyncio.shield(asyncio.to_thread(self._folder.remove_tree, folder))

    async def find(self, clip: str) -> StoredClip | None:
        """Return the clip with this id if it is there and whole; a damaged one is put aside and logged."""
        entry = self._entries.get(id_digits(clip))
        if entry is None:
            return None
        with storage_errors("looking for a clip"):
            manifest = await asyncio.to_thread(self._read_whole, entry)
        if manifest is not None and manifest.about.clip == clip:
            return StoredClip(manifest, entry.folder)
        return None

    async def publish(self, draft: Draft, result: CutResult, about: About) -> StoredClip:
        """Check that the clip plays, make its picture, and put it in its place for good.

        Raises:
            ActionUnavailableError: it does not play, or cannot be written.
        """
        if about.clip != draft.clip:
            raise ValueError("the draft was begun for another clip")
        await self._check(result)
        picture = await self._picture(draft, result)
        async with self._changing:
            if (stored := await self.find(about.clip)) is not None:
                return stored
            manifest, files = manifest_of(result, about, self._clock.now(), picture is not None)
            with storage_errors("storing a clip"):
                await asyncio.shield(
                    asyncio.to_thread(
                        self._move_in, draft, manifest, {name: part.path for name, part in files.items()}, picture
                    )
                )
        return StoredClip(manifest, folder_of(manifest.stem))

    async def retain(self) -> list[str]:
        """Remove what is too old, then the oldest while there is too much; return the stems of what went."""
        async with self._changing:
            leaving = self._leaving(self._clock.now())
            with storage_errors("removing old clips"):
                await asyncio.to_thread(self._remove, leaving)
        return [entry.stem for entry in leaving]

    async def remove(self, clip: str) -> bool:
        """Remove one clip; return whether it was there."""
        async with self._changing:
            entry = self._entries.get(id_digits(clip))
            with storage_errors("removing a clip"):
                await asyncio.to_thread(self._remove, [entry] if entry is not None else [])
        return entry is not None

    async def hold(self, clip: str, *, held: bool = True) -> bool:
        """Keep a clip from being removed by age or size, or no longer; return whether it is there."""
        async with self._changing:
            entry = self._entries.get(id_digits(clip))
            if entry is None:
                return False
            with storage_errors("holding a clip"):
                await asyncio.to_thread(self._set_hold, entry, held)
        return True

    async def _check(self, result: CutResult) -> None:
        for part in result.parts:
            seen = await self._workers.inspect(part.path, thorough=True)
            if seen.frames != part.frames or seen.size != part.size:
                raise ActionUnavailableError("the clip is not what was written: the disk may be failing")

    async def _picture(self, draft: Draft, result: CutResult) -> Path | None:
        event, main = result.window.event, result.main
        at = max(0.0, (event - main.covered.begin).total_seconds()) if event is not None else 0.0
        out = draft.folder / "clip.jpg"
        try:
            return (await self._workers.thumbnail(main.path, out, at=at)).path
        except ActionError as exc:
            log.warning("clip without a picture", extra={"clip": draft.clip, "error": str(exc)})
            return None

    # The rest blocks and runs in threads.

    def _begin(self, clip: str) -> Path:
        free = self._folder.free()
        if free < self._retention.min_free:
            raise ActionUnavailableError(
                f"the clip store is full: {free // 1024**2} MiB free, "
                f"{self._retention.min_free // 1024**2} MiB are kept free"
            )
        folder = self._folder.new_folder(f"{_INCOMING}/{id_digits(clip)}-{secrets.token_hex(4)}")
        (folder / "pieces").mkdir(mode=0o700)
        return folder

    def _move_in(self, draft: Draft, manifest: Manifest, files: dict[str, Path], picture: Path | None) -> None:
        stem, folder = manifest.stem, folder_of(manifest.stem)
        sidecar = draft.folder / "clip.json"
        sidecar.write_bytes(manifest.to_json())
        moves = list(files.items())
        if picture is not None and manifest.thumbnail is not None:
            moves.append((manifest.thumbnail, picture))
        begun: list[str] = []
        try:
            # The manifest comes last: with it the clip exists.
            for name, source in [*moves, (f"{stem}.json", sidecar)]:
                begun.append(name)
                self._folder.move_in(source, folder, name)
        except OSError as exc:
            if isinstance(exc, FileExistsError):
                begun.pop()
            with suppress(OSError):
                self._folder.remove(folder, begun[::-1])
            raise
        self._entries[id_digits(manifest.about.clip)] = _Entry(stem, folder, manifest.size, manifest=True)

    def _read_whole(self, entry: _Entry) -> Manifest | None:
        """Return the manifest if every file it names is as it says; else put the clip aside."""
        try:
            manifest = Manifest.model_validate_json(self._folder.read(entry.folder, f"{entry.stem}.json"))
            with self._folder.opened(entry.folder) as directory:
                whole = all(_digest(directory, part.file) == part.sha256 for part in manifest.parts)
        except (ValidationError, FileNotFoundError):
            whole = False
        if whole:
            return manifest
        log.error("stored clip is damaged; put aside", extra={"clip": entry.stem})
        self._put_aside(entry)
        return None

    def _put_aside(self, entry: _Entry) -> None:
        aside = self.root / _DAMAGED
        aside.mkdir(mode=0o700, exist_ok=True)
        for name in self._names(entry):
            with suppress(FileNotFoundError):
                os.replace(self.root / entry.folder / name, aside / f"{secrets.token_hex(4)}-{name}")  # noqa: PTH105
        self._entries.pop(entry.stem[-16:], None)

    def _names(self, entry: _Entry) -> list[str]:
        """Return the names of a clip's files, its manifest first."""
        names = [
            name
            for name in self._folder.names(entry.folder)
            if (parsed := parse_name(name)) and parsed[0] == entry.stem
        ]
        return sorted(names, key=lambda name: (not name.endswith(".json"), name))

    def _leaving(self, now: datetime) -> list[_Entry]:
        oldest_first = sorted(self._entries.values(), key=lambda entry: entry.stem)
        free = [entry for entry in oldest_first if not entry.held]
        limits, leaving = self._retention, []
        too_much = self.size - limits.max_bytes if limits.max_bytes is not None else 0
        for entry in free:
            old = limits.max_age is not None and now - begin_of(entry.stem) > limits.max_age
            if old or too_much > 0:
                leaving.append(entry)
                too_much -= entry.size
        return leaving

    def _remove(self, entries: list[_Entry]) -> None:
        for entry in entries:
            self._folder.remove(entry.folder, self._names(entry))
            self._folder.drop_empty(entry.folder)
            self._entries.pop(entry.stem[-16:], None)

    def _set_hold(self, entry: _Entry, held: bool) -> None:
        if held:
            with self._folder.opened(entry.folder) as directory:
                flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                os.close(os.open(f"{entry.stem}.hold", flags, 0o640, dir_fd=directory))
                os.fsync(directory)
        else:
            self._folder.remove(entry.folder, [f"{entry.stem}.hold"])
        entry.held = held

    def _sweep(self) -> None:
        """Remove drafts and files of clips that were never published or half removed; remember the rest."""
        self._folder.remove_tree(self.root / _INCOMING)
        found: dict[str, _Entry] = {}
        for folder, item in self._folder.files():
            parsed = parse_name(item.name)
            if parsed is None:
                continue  # not ours
            stem, suffix = parsed
            entry = found.setdefault(stem, _Entry(stem, folder))
            entry.size += item.stat(follow_symlinks=False).st_size if suffix == "mp4" else 0
            entry.manifest |= suffix == "json"
            entry.held |= suffix == "hold"
        leftovers = [entry for entry in found.values() if not entry.manifest]
        self._entries = {entry.stem[-16:]: entry for entry in found.values() if entry.manifest}
        for entry in leftovers:
            log.warning("unfinished clip removed", extra={"clip": entry.stem})
            self._folder.remove(entry.folder, self._names(entry))
            self._folder.drop_empty(entry.folder)


def _digest(directory: int, name: str) -> str:
    with open_in(directory, name) as handle, os.fdopen(os.dup(handle), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
