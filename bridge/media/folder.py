"""File operations of the clip store: below one root, by directory handles, synced, following no symbolic link.

Nothing here knows what a clip is. All of it blocks; the store calls it in a thread.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bridge.errors import ActionUnavailableError, StartError

FILE_MODE: Final = 0o640
FOLDER_MODE: Final = 0o750
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Translate what the file system refuses; a full disk says so and can be tried again."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise ActionUnavailableError(f"the clip store is full: {doing} failed ({exc.strerror})") from exc
        raise ActionUnavailableError(f"the clip store does not work: {doing} failed ({exc.strerror})") from exc


class Folder:
    """A directory tree that belongs to one store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock: int | None = None

    def take(self) -> None:
        """Make the root if needed and become its only user.

        Raises:
            StartError: another process uses it, or it cannot be written.
        """
        try:
            self.root.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            lock = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
        except OSError as exc:
            raise StartError(
                f"the clip folder {self.root} cannot be used ({exc.strerror})",
                "choose a folder that this user may write to",
            ) from exc
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(lock)
            raise StartError(
                f"the clip folder {self.root} is used by another bridge", "stop it, or choose another folder"
            ) from exc
        self._lock = lock

    def leave(self) -> None:
        """Let another process use it."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def free(self) -> int:
        """Return the bytes that may still be written."""
        facts = os.statvfs(self.root)
        return facts.f_bavail * facts.f_frsize

    def new_folder(self, relative: str) -> Path:
        """Make a folder of this exact name for us alone."""
        path = self.root / relative
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.mkdir(mode=0o700)
        return path

    def move_in(self, source: Path, folder: str, name: str) -> None:
        """Sync a finished file, give it its mode, and move it to its place, where nothing may be yet."""
        with self.opened(folder, make=True) as directory:
            handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fchmod(handle, FILE_MODE)
                os.fsync(handle)
            finally:
                os.close(handle)
            # Only the holder of the lock writes here, so between the look and the move nobody can come.
            if exists(directory, name):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
            os.rename(source, name, dst_dir_fd=directory)
            os.fsync(directory)

    def remove(self, folder: str, names: list[str]) -> None:
        """Remove files; the first is gone for good before the others go, also when the power is cut."""
        with self.opened(folder) as directory:
            for name in names:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=directory)
                if name == names[0]:
                    _try_sync(directory)
            _try_sync(directory)

    def read(self, folder: str, name: str) -> bytes:
        """Return a small file's content."""
        with self.opened(folder) as directory, open_in(directory, name) as handle:
            return os.read(handle, 16 * 1024**2)

    @contextmanager
    def opened(self, relative: str, *, make: bool = False) -> Iterator[int]:
        """Open a folder below the root, one step at a time, so that no link can lead out of it."""
        handle = os.open(self.root, _DIRECTORY & ~os.O_NOFOLLOW)
        try:
            for step in filter(None, relative.split("/")):
                if make:
                    _make(handle, step)
                inner = os.open(step, _DIRECTORY, dir_fd=handle)
                os.close(handle)
                handle = inner
            yield handle
        finally:
            os.close(handle)

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder."""
        with self.opened(folder) as directory:
            return os.listdir(directory)  # noqa: PTH208  (pathlib has no directory handles)

    def files(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yield (folder, entry) of every regular file in the dated folders."""
        for year in _folders(self.root, ""):
            for month in _folders(self.root, year):
                for day in _folders(self.root, month):
                    with os.scandir(self.root / day) as entries:
                        yield from ((day, entry) for entry in entries if entry.is_file(follow_symlinks=False))

    def remove_tree(self, path: Path) -> None:
        """Remove a folder of ours with all that is in it."""
        shutil.rmtree(path, ignore_errors=True)

    def drop_empty(self, folder: str) -> None:
        """Remove a dated folder, and the ones above it, when nothing is left in them."""
        path = self.root / folder
        while path != self.root:
            try:
                path.rmdir()
            except OSError:
                return
            path = path.parent


def _folders(root: Path, relative: str) -> list[str]:
    with os.scandir(root / relative) as entries:
        names = [e.name for e in entries if e.name.isdigit() and e.is_dir(follow_symlinks=False)]
    return [f"{relative}/{name}" if relative else name for name in sorted(names)]


def _make(parent: int, name: str) -> None:
    try:
        os.mkdir(name, FOLDER_MODE, dir_fd=parent)
    except FileExistsError:
        return
    os.fsync(parent)


def _try_sync(directory: int) -> None:
    """Sync a folder after a removal; if the disk does not take it now, the next start removes once more."""
    with suppress(OSError):
        os.fsync(directory)


def exists(directory: int, name: str) -> bool:
    """Return whether a name is taken, be it by a broken link."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def open_in(directory: int, name: str) -> Iterator[int]:
    """Open a file for reading, not following a link."""
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        yield handle
    finally:
        os.close(handle)
