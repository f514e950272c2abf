"""A file system that forgets what was not synced, as a disk does when the power goes.

Every file exists twice: as programs see it, and as it would be found after a power cut. A write
changes the first at once and the second when it is synced. Names (create, rename, delete) change
both at once, so it is kinder than some disks about directories and harsher than most about
content: nothing unsynced survives, unless a cut is asked to be torn.

    with mounted(folder) as lossy:
        ...                      # programs work in lossy.path
        lossy.cut(torn=7)        # everything that was not synced is gone

As a program: `python -m bridge.bench.faults.lossyfs SEEN KEPT MOUNTPOINT SECONDS_A_SYNC`.
"""

from __future__ import annotations

import errno
import importlib
import importlib.util
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .common import ROOT, UnavailableError, wait_for

_CUT = "/.cut-"
"""Making this directory is the cut; the number behind it seeds what a torn one leaves, 0 leaves nothing."""
_STAT = ("atime_ns", "ctime_ns", "gid", "mode", "mtime_ns", "nlink", "size", "uid", "blocks")
_STATVFS = ("bavail", "bfree", "blocks", "bsize", "favail", "ffree", "files", "flag", "frsize", "namemax")

Change = tuple[int, bytes | None]
"""A write at an offset, or a truncation to a length."""


class Halves:
    """The two copies of everything, and what is in the first alone."""

    def __init__(self, seen: str, kept: str, sync_seconds: float) -> None:
        self.seen, self.kept, self.sync_seconds = seen, kept, sync_seconds
        self._unsynced: dict[str, list[Change]] = {}
        self._lock = threading.RLock()

    def both(self, path: str, work: Callable[[str], object]) -> None:
        """Do something with a name in both."""
        with self._lock:
            work(self.seen + path)
            work(self.kept + path)

    def changed(self, path: str, change: Change) -> None:
        """Remember a change of the seen copy."""
        with self._lock:
            self._unsynced.setdefault(path, []).append(change)

    def gone(self, path: str) -> None:
        """Forget the changes of a file that has no name any more."""
        with self._lock:
            os.unlink(self.seen + path)
            os.unlink(self.kept + path)
            self._unsynced.pop(path, None)

    def renamed(self, old: str, new: str) -> None:
        """Take what is unsynced along."""
        with self._lock:
            os.rename(self.seen + old, self.seen + new)
            os.rename(self.kept + old, self.kept + new)
            self._unsynced.pop(new, None)
            for path in [p for p in self._unsynced if p == old or p.startswith(old + "/")]:
                self._unsynced[new + path[len(old) :]] = self._unsynced.pop(path)

    def sync(self, path: str) -> None:
        """Make a file's changes last; takes as long as the disk is said to take."""
        if self.sync_seconds:
            time.sleep(self.sync_seconds)
        with self._lock:
            self._apply(path, self._unsynced.pop(path, []))

    def cut(self, seed: int) -> None:
        """Forget what was not synced; with a seed, each file keeps a first part of it, the last piece torn."""
        chance = random.Random(seed)
        with self._lock:
            for path, changes in self._unsynced.items():
                if seed:
                    self._apply(path, _torn(changes, chance))
                with suppress(OSError):
                    shutil.copyfile(self.kept + path, self.seen + path)
            self._unsynced.clear()

    def _apply(self, path: str, changes: list[Change]) -> None:
        if not changes:
            return
        try:
            file = os.open(self.kept + path, os.O_RDWR)
        except OSError:
            return
        try:
            for place, data in changes:
                if data is None:
                    os.ftruncate(file, place)
                else:
                    os.pwrite(file, data, place)
        finally:
            os.close(file)


def _torn(changes: list[Change], chance: random.Random) -> list[Change]:
    kept = changes[: chance.randint(0, len(changes))]
    if kept and kept[-1][1] is not None:
        place, data = kept[-1]
        kept[-1] = (place, (data or b"")[: chance.randint(0, len(data or b""))])
    return kept


def _operations(fuse: Any, halves: Halves) -> Any:
    """Return what the kernel calls; the library is there only where it is installed."""

    def guarded(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except OSError as exc:
            raise fuse.FuseOSError(exc.errno or errno.EIO) from exc

    class Operations(fuse.Operations):  # type: ignore[misc]
        use_ns = True

        def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
            found = guarded(lambda: os.lstat(halves.seen + path) if fh is None else os.fstat(fh))
            return {f"st_{name.removesuffix('_ns')}": getattr(found, f"st_{name}") for name in _STAT}

        def readdir(self, path: str, _fh: int) -> list[str]:
            return [".", "..", *os.listdir(halves.seen + path)]

        def access(self, _path: str, _mode: int) -> int:
            return 0

        def mkdir(self, path: str, mode: int) -> int:
            if path.startswith(_CUT):
                halves.cut(int(path.removeprefix(_CUT)))
            else:
                guarded(lambda: halves.both(path, lambda name: os.mkdir(name, mode)))
            return 0

        def rmdir(self, path: str) -> int:
            guarded(lambda: halves.both(path, os.rmdir))
            return 0

        def unlink(self, path: str) -> int:
            guarded(lambda: halves.gone(path))
            return 0

        def rename(self, old: str, new: str, _flags: int = 0) -> int:
            guarded(lambda: halves.renamed(old, new))
            return 0

        def chmod(self, path: str, mode: int) -> int:
            guarded(lambda: halves.both(path, lambda name: os.chmod(name, mode)))
            return 0

        def chown(self, _path: str, _uid: int, _gid: int) -> int:
            return 0

        def utimens(self, _path: str, _times: Any = None) -> int:
            return 0

        def statfs(self, _path: str) -> dict[str, Any]:
            found = os.statvfs(halves.seen)
            return {f"f_{name}": getattr(found, f"f_{name}") for name in _STATVFS}

        def create(self, path: str, mode: int, _info: Any = None) -> int:
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC
            os.close(guarded(lambda: os.open(halves.kept + path, flags, mode)))
            return int(guarded(lambda: os.open(halves.seen + path, flags, mode)))

        def open(self, path: str, flags: int) -> int:
            file = int(guarded(lambda: os.open(halves.seen + path, os.O_RDWR | flags & os.O_TRUNC)))
            if flags & os.O_TRUNC:
                halves.changed(path, (0, None))
            return file

        def read(self, _path: str, size: int, offset: int, fh: int) -> bytes:
            return os.pread(fh, size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            done = int(guarded(lambda: os.pwrite(fh, data, offset)))
            halves.changed(path, (offset, bytes(data)))
            return done

        def truncate(self, path: str, length: int, _fh: int | None = None) -> int:
            guarded(lambda: os.truncate(halves.seen + path, length))
            halves.changed(path, (length, None))
            return 0

        def flush(self, _path: str, _fh: int) -> int:
            return 0

        def fsync(self, path: str, _datasync: int, _fh: int) -> int:
            halves.sync(path)
            return 0

        def fsyncdir(self, _path: str, _datasync: int, _fh: int) -> int:
            return 0

        def release(self, _path: str, fh: int) -> int:
            os.close(fh)
            return 0

    return Operations()


# --- from outside --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lossy:
    """A mounted one."""

    path: Path

    def cut(self, torn: int = 0) -> None:
        """Cut the power. Whoever wrote there must be dead by now; nobody else tidies up."""
        with suppress(OSError):
            (self.path / f"{_CUT.removeprefix('/')}{torn}").mkdir()


@contextmanager
def mounted(folder: Path, sync_seconds: float = 0.0) -> Iterator[Lossy]:
    """Mount one under `folder`. Raises UnavailableError where this machine has no FUSE."""
    if importlib.util.find_spec("mfusepy") is None:
        raise UnavailableError("the package mfusepy is not installed")
    if shutil.which("fusermount3") is None or not Path("/dev/fuse").exists():
        raise UnavailableError("this machine has no FUSE (the package fuse3, /dev/fuse)")
    places = [folder / name for name in ("seen", "kept", "disk")]
    for place in places:
        place.mkdir()
    with (folder / "lossyfs.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge.bench.faults.lossyfs", *map(str, places), str(sync_seconds)],
            stdout=log,
            stderr=log,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry)])},
        )
    try:
        disk = places[2]
        wait_for(lambda: os.path.ismount(disk) or process.poll() is not None, 15, lambda: "FUSE does not mount")
        if process.poll() is not None:
            said = (folder / "lossyfs.log").read_text(errors="replace").strip().splitlines()
            raise UnavailableError(f"FUSE cannot be used here: {said[-1] if said else 'it said nothing'}")
        yield Lossy(disk)
    finally:
        subprocess.run(["fusermount3", "-u", "-z", str(places[2])], check=False, capture_output=True)
        process.terminate()
        process.wait()


def main() -> None:
    """Mount, and stay until it is unmounted."""
    seen, kept, mountpoint, seconds = sys.argv[1:5]
    fuse = importlib.import_module("mfusepy")
    fuse.FUSE(_operations(fuse, Halves(seen, kept, float(seconds))), mountpoint, foreground=True, nothreads=False)


if __name__ == "__main__":
    main()
