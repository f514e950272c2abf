"""The blocking half of the clip store: which clips there are, and putting them in, aside and away on disk.

The store calls this in threads; a guard keeps the index whole between them. Nothing here waits, decides
when, or knows of workers.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from bridge.errors import ActionUnavailableError
from bridge.media.folder import FILE_MODE, Folder, open_in
from bridge.media.manifest import Manifest, begin_of, folder_of, id_digits, parse_name

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


@dataclass(slots=True)
class Entry:
    """What is remembered of a clip without reading its manifest."""

    stem: str
    folder: str
    size: int = 0
    published: bool = False
    held: bool = False

    @property
    def digits(self) -> str:
        """Return what stands for the clip's id."""
        return self.stem.rpartition("-")[2]


class Shelf:
    """The clips in one folder."""

    def __init__(self, root: Path, retention: Retention) -> None:
        self.folder = Folder(root)
        self._retention = retention
        self._guard = threading.Lock()
        self._entries: dict[str, Entry] = {}

    def entry(self, clip: str) -> Entry | None:
        """Return what is remembered of a clip."""
        with self._guard:
            return self._entries.get(id_digits(clip))

    def entries(self) -> list[Entry]:
        """Return all, by the time they show, the oldest first."""
        with self._guard:
            return sorted(self._entries.values(), key=lambda entry: entry.stem)

    def open(self) -> None:
        """Become the folder's only user and clear up after a crash."""
        self.folder.take()
        try:
            self._sweep()
        except BaseException:
            self.folder.leave()
            raise

    def begin(self, clip: str) -> Path:
        """Make a folder for a draft, if the disk has room."""
        free, kept = self.folder.free(), self._retention.min_free
        if free < kept:
            raise ActionUnavailableError(
                f"the clip store is full: {free // 1024**2} MiB free, {kept // 1024**2} MiB are kept free"
            )
        folder = self.folder.new_folder(f"{_INCOMING}/{id_digits(clip)}-{secrets.token_hex(4)}")
        (folder / "pieces").mkdir(mode=0o700)
        return folder

    def put(self, manifest: Manifest, files: Iterable[tuple[str, Path]], sidecar: Path) -> None:
        """Move a clip's files to their places, its manifest last: with it the clip exists. All of them or none."""
        stem, folder = manifest.stem, folder_of(manifest.stem)
        sidecar.write_bytes(manifest.to_json())
        begun: list[str] = []
        try:
            for name, source in [*files, (f"{stem}.json", sidecar)]:
                begun.append(name)
                self.folder.move_in(source, folder, name)
        except OSError as exc:
            if isinstance(exc, FileExistsError):
                begun.pop()
            with suppress(OSError):
                self.folder.remove(folder, begun[::-1])
            raise
        entry = Entry(stem, folder, manifest.size, published=True)
        with self._guard:
            self._entries[entry.digits] = entry

    def manifest(self, entry: Entry) -> Manifest | None:
        """Return a clip's manifest, or None if it cannot be read."""
        try:
            return Manifest.model_validate_json(self.folder.read(entry.folder, f"{entry.stem}.json"))
        except (ValidationError, FileNotFoundError):
            return None

    def whole(self, entry: Entry) -> Manifest | None:
        """Return the manifest if every file it names is as it says; else put the clip aside."""
        manifest = self.manifest(entry)
        if manifest is not None and self._fits(entry, manifest):
            return manifest
        log.error("stored clip is damaged and was put aside", extra={"clip": entry.stem})
        self._put_aside(entry)
        return None

    def leaving(self, now: datetime) -> list[Entry]:
        """Return what is too old, and then the oldest while there is too much."""
        limits, entries = self._retention, self.entries()
        too_much = sum(each.size for each in entries) - limits.max_bytes if limits.max_bytes is not None else 0
        leaving = []
        for entry in entries:
            old = limits.max_age is not None and now - begin_of(entry.stem) > limits.max_age
            if not entry.held and (old or too_much > 0):
                leaving.append(entry)
                too_much -= entry.size
        return leaving

    def remove(self, entries: Iterable[Entry]) -> None:
        """Remove clips, their manifests first."""
        for entry in entries:
            self.folder.remove(entry.folder, self._names(entry))
            self.folder.drop_empty(entry.folder)
            self._forget(entry)

    def hold(self, entry: Entry, held: bool) -> None:
        """Set or lift a hold: an empty file beside the clip."""
        name = f"{entry.stem}.hold"
        if held:
            with self.folder.opened(entry.folder) as directory:
                flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                os.close(os.open(name, flags, FILE_MODE, dir_fd=directory))
                os.fsync(directory)
        else:
            self.folder.remove(entry.folder, [name])
        entry.held = held

    def _fits(self, entry: Entry, manifest: Manifest) -> bool:
        with self.folder.opened(entry.folder) as directory, suppress(FileNotFoundError):
            return all(_digest(directory, part.file) == part.sha256 for part in manifest.parts)
        return False

    def _put_aside(self, entry: Entry) -> None:
        aside = self.folder.root / _DAMAGED
        aside.mkdir(mode=0o700, exist_ok=True)
        for name in self._names(entry):
            with suppress(FileNotFoundError):
                (self.folder.root / entry.folder / name).replace(aside / f"{secrets.token_hex(4)}-{name}")
        self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        with self._guard:
            self._entries.pop(entry.digits, None)

    def _names(self, entry: Entry) -> list[str]:
        """Return the names of a clip's files, its manifest first."""
        parsed = {name: parse_name(name) for name in self.folder.names(entry.folder)}
        names = [name for name, what in parsed.items() if what is not None and what[0] == entry.stem]
        return sorted(names, key=lambda name: (not name.endswith(".json"), name))

    def _sweep(self) -> None:
        """Remove drafts, and files of clips that were never published or half removed; remember the rest."""
        self.folder.remove_tree(self.folder.root / _INCOMING)
        found: dict[str, Entry] = {}
        for folder, item in self.folder.files():
            parsed = parse_name(item.name)
            if parsed is None:
                continue  # not ours
            stem, suffix = parsed
            entry = found.setdefault(stem, Entry(stem, folder))
            entry.size += item.stat(follow_symlinks=False).st_size if suffix == "mp4" else 0
            entry.published |= suffix == "json"
            entry.held |= suffix == "hold"
        with self._guard:
            self._entries = {entry.digits: entry for entry in found.values() if entry.published}
        for entry in found.values():
            if not entry.published:
                log.warning("unfinished clip removed", extra={"clip": entry.stem})
                self.folder.remove(entry.folder, self._names(entry))
                self.folder.drop_empty(entry.folder)


def _digest(directory: int, name: str) -> str:
    with open_in(directory, name) as handle, os.fdopen(os.dup(handle), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
