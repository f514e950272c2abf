"""Where finished clips are kept: a local folder, one process, nothing half done ever visible.

A clip is published when its manifest is in place; before that its files were seen to play, synced and
moved. Names are made here, from the begin of the window and a hash of the clip's id. The same id is the
same clip: a second try finds the first one's. What a crash leaves behind is removed at the next start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

from bridge.clock import Clock
from bridge.errors import ActionError, ActionUnavailableError
from bridge.media.folder import storage_errors
from bridge.media.job import CutResult
from bridge.media.manifest import About, Manifest, folder_of, manifest_of
from bridge.media.pool import MediaWorkers
from bridge.media.shelf import Retention, Shelf

__all__ = ["ClipStore", "Draft", "Retention", "StoredClip"]

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_P = ParamSpec("_P")


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
        self.root = root
        self._shelf = Shelf(root, retention or Retention())
        self._workers, self._clock = workers, clock
        self._changing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Take the folder and clear up after a crash.

        Raises:
            StartError: another bridge uses it, or it cannot be written.
        """
        with storage_errors("clearing up"):
            await _in_thread(self._shelf.open)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._shelf.folder.leave()

    def __len__(self) -> int:
        return len(self._shelf.entries())

    @property
    def size(self) -> int:
        """Return the bytes of all clips."""
        return sum(entry.size for entry in self._shelf.entries())

    @asynccontextmanager
    async def draft(self, clip: str) -> AsyncIterator[Draft]:
        """Give a folder to make a clip in; whatever is still in it at the end is removed.

        Raises:
            ActionUnavailableError: the disk is full.
        """
        with storage_errors("beginning a clip"):
            folder = await _in_thread(self._shelf.begin, clip)
        try:
            yield Draft(folder, clip)
        finally:
            await _in_thread(self._shelf.folder.remove_tree, folder)

    async def find(self, clip: str) -> StoredClip | None:
        """Return the clip with this id if it is there and whole; a damaged one is put aside and logged.

        Reads all of its files. For looking at a list `newest` is the cheap way.
        """
        entry = self._shelf.entry(clip)
        if entry is None:
            return None
        with storage_errors("looking for a clip"):
            manifest = await _in_thread(self._shelf.whole, entry)
        return StoredClip(manifest, entry.folder) if manifest is not None and manifest.about.clip == clip else None

    async def newest(self, count: int) -> list[StoredClip]:
        """Return the newest clips by the time they show, newest first, without checking their hashes."""
        entries = self._shelf.entries()[-count:] if count > 0 else []
        with storage_errors("listing clips"):
            read = [(entry, await _in_thread(self._shelf.manifest, entry)) for entry in reversed(entries)]
        return [StoredClip(manifest, entry.folder) for entry, manifest in read if manifest is not None]

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
            manifest, parts = manifest_of(result, about, self._clock.now(), picture is not None)
            files = [(name, part.path) for name, part in parts.items()]
            if picture is not None and manifest.thumbnail is not None:
                files.append((manifest.thumbnail, picture))
            with storage_errors("storing a clip"):
                await _in_thread(self._shelf.put, manifest, files, draft.folder / "clip.json")
        return StoredClip(manifest, folder_of(manifest.stem))

    async def retain(self) -> list[str]:
        """Remove what is too old, then the oldest while there is too much; return the names of what went."""
        async with self._changing:
            leaving = self._shelf.leaving(self._clock.now())
            with storage_errors("removing old clips"):
                await _in_thread(self._shelf.remove, leaving)
        return [entry.stem for entry in leaving]

    async def remove(self, clip: str) -> bool:
        """Remove one clip; return whether it was there."""
        async with self._changing:
            entry = self._shelf.entry(clip)
            with storage_errors("removing a clip"):
                await _in_thread(self._shelf.remove, [entry] if entry is not None else [])
        return entry is not None

    async def hold(self, clip: str, *, held: bool = True) -> bool:
        """Keep a clip from being removed by age or size, or no longer; return whether it is there."""
        async with self._changing:
            entry = self._shelf.entry(clip)
            if entry is None:
                return False
            with storage_errors("holding a clip"):
                await _in_thread(self._shelf.hold, entry, held)
        return True

    async def _check(self, result: CutResult) -> None:
        for part in result.parts:
            seen = await self._workers.inspect(part.path, thorough=True)
            if seen.frames != part.frames or seen.size != part.size:
                raise ActionUnavailableError("the clip is not what was written: the disk may be failing")

    async def _picture(self, draft: Draft, result: CutResult) -> Path | None:
        event, main = result.window.event, result.main
        at = max(0.0, (event - main.covered.begin).total_seconds()) if event is not None else 0.0
        try:
            return (await self._workers.thumbnail(main.path, draft.folder / "clip.jpg", at=at)).path
        except ActionError as exc:
            log.warning("clip without a picture", extra={"clip": draft.clip, "error": str(exc)})
            return None


async def _in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run in a thread and stay until it is done, also when cancelled: a half done change is nobody's."""
    work = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
