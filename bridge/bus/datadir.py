"""The data directory: one bridge at a time, private files, and how much room there is."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.errors import StartError

MIB = 1024**2
SMALLEST = 8 * MIB
"""With less free room we do not start: the server would come up and then fail in the middle of a write."""


def start_error(what: str, path: Path, exc: OSError) -> StartError:
    """Return the StartError for a file operation that failed: what we could not do, where, and what helps."""
    cures = {
        errno.EACCES: "let the bridge's user own it, or choose another data_dir",
        errno.EPERM: "let the bridge's user own it, or choose another data_dir",
        errno.EROFS: "the file system is read-only: choose another data_dir",
        errno.ENOSPC: "free some room, or choose another data_dir",
        errno.EDQUOT: "the user's disk quota is used up: raise it, or choose another data_dir",
        errno.ENOTDIR: "a file is in the way: move it, or choose another data_dir",
        errno.EEXIST: "a file is in the way: move it, or choose another data_dir",
    }
    cure = cures.get(exc.errno or 0, "choose another data_dir")
    return StartError(f"cannot {what} {path} ({exc.strerror or exc})", cure)


def make(path: Path) -> None:
    """Create a directory that only we may look into. Raises StartError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise start_error("create", path, exc) from exc


def write_private(path: Path, content: str) -> None:
    """Replace a file, readable by us alone, whole or not at all: synced before it takes the name. Raises StartError."""
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as exc:
        raise start_error("write", path, exc) from exc


def read_json(path: Path) -> dict[str, Any]:
    """Return what `write_private` stored as JSON; empty if there is nothing. Raises StartError if it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise start_error("read", path, exc) from exc
    except ValueError as exc:
        raise StartError(f"{path} is damaged", "delete it: new passwords and ports are made") from exc
    if not isinstance(content, dict):
        raise StartError(f"{path} is damaged", "delete it: new passwords and ports are made")
    return content


class Lock:
    """The data directory is ours until `release`, or until we die however suddenly: the kernel keeps it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / "lock"
        self._fd: int | None = None

    def take(self) -> None:
        """Take it at once or raise StartError with the process id of its owner."""
        make(self._directory)
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise start_error("write to", self._directory, exc) from exc
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as exc:
            owner = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise StartError(
                f"data directory {self._directory} is in use by process {owner}",
                "stop it or choose another data_dir",
            ) from exc
        except OSError as exc:
            os.close(fd)
            raise start_error("write to", self._directory, exc) from exc
        self._fd = fd

    def release(self) -> None:
        """Give it back. Idempotent. The file stays: removing it would let two owners lock two files."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


@dataclass(frozen=True, slots=True)
class Room:
    """How the disk is shared out, in bytes."""

    store: int
    """What all streams together may take: the server answers a clean refusal before the disk is full."""
    mqtt: int
    """The part of it that MQTT clients may fill."""
    streams: Mapping[str, int]
    """The part of each stream that is bounded by size."""

    @property
    def reserved(self) -> int:
        """What the server sets aside at start; with a smaller `store` it refuses to start (error 10047)."""
        return self.mqtt + sum(self.streams.values())


_SHARES: Mapping[str, tuple[float, int]] = {
    "RESULTS": (0.10, 1024 * MIB),
    "DLQ": (0.05, 512 * MIB),
    "REJECTED": (0.02, 128 * MIB),
    "TRACES": (0.05, 512 * MIB),
    "CHECKPOINTS": (0.05, 512 * MIB),
}
"""Share of the store and at most so much. What is left, a tenth at least, is for ENGINE and the buckets."""


def share_out(directory: Path, wanted: int, *, mqtt: bool, reserved: int) -> Room:
    """Return how the disk under `directory` is shared out when events may take `wanted` bytes.

    `reserved` is what was set aside before; the store is never smaller, or the server would not
    start on its own streams. Raises StartError when there is no room to start at all.
    """
    try:
        disk = shutil.disk_usage(directory)
        used = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    except OSError as exc:
        raise start_error("read", directory, exc) from exc
    if disk.free < SMALLEST:
        raise StartError(
            f"the disk of {directory} is full ({disk.free // MIB} MiB free)",
            "free some room, or choose another data_dir",
        )
    spare = min(max(disk.total // 20, 64 * MIB), disk.free // 4)
    store = max(used + disk.free - spare, SMALLEST)
    room = Room(
        store=store,
        mqtt=min(64 * MIB, store // 10) if mqtt else 0,
        streams={"EVENTS": min(wanted, store * 6 // 10)}
        | {name: min(most, int(store * share)) for name, (share, most) in _SHARES.items()},
    )
    return Room(max(room.store, reserved), room.mqtt, room.streams)
