"""A site's data as a directory of plain files with a manifest: written from a running site, read into an empty one.

What is in it: every stream and bucket, in the server's own form, and the small files of the data directory (release
journal, kill switch, the installation's name). What is not: the configuration and the rules, which the user keeps;
passwords of the embedded server, which are made anew; clips, unless they are asked for.

What is made of something else is taken before it, so that it catches up after a restore: the anchors before the audit
trail that they name, the trail before the ledger and the log, the engine's position before the events. What
happened in between is decided again after a restore, and being old by then it moves nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import bridge
from bridge.bus import snapshot, store_format, streams
from bridge.bus.anchors import ANCHORS
from bridge.bus.connect import Connection
from bridge.bus.datadir import Lock, make, start_error, write_private
from bridge.bus.marks import MARKED, Marks
from bridge.bus.platekeys import PlateKeys
from bridge.bus.pull import scan
from bridge.bus.server import EmbeddedServer
from bridge.bus.wire import STREAM_NOT_FOUND, RefusedError
from bridge.clock import SystemClock
from bridge.config.models import BridgeConfig
from bridge.errors import StartError, StoreError
from bridge.safety import restored

MANIFEST = "manifest.json"
VERSION = 1
"""Of the form of a backup."""
_ORDER = ("RESULTS", "ENGINE")
"""The streams that are taken first."""
_LAST = "EVENTS"
_ANCHORS = Path("audit") / ANCHORS
_NOT_COPIED = frozenset({"bus", "lock", "marks.json", "lost.json", "clips", store_format.RESTORING})
_FILES, _STREAMS = "files", "streams"


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream of a backup."""

    name: str
    messages: int
    size: int


# --- writing ----------------------------------------------------------------------------------------------


async def write(
    connection: Connection, config: BridgeConfig, data: Path, target: Path, now: datetime, *, clips: Path | None
) -> list[Entry]:
    """Write a backup into a new or empty directory. Raises StartError, StoreError.

    The manifest comes last: a directory without one is no backup.
    """
    _empty(target)
    make(target)
    make(target / _STREAMS)
    files = _copy(_anchors(data), target / _FILES)
    taken = [
        await snapshot.take(connection, name, target / _STREAMS / f"{name}.tar.s2")
        for name in await _present(connection, config)
    ]
    files |= _copy(_sources(data, clips), target / _FILES)
    manifest = {
        "version": VERSION,
        "store_format": store_format.format_of(data),
        "site": config.site,
        "created": now.isoformat(),
        "written_by": bridge.__version__,
        "streams": {
            one.stream: {"config": one.config, "state": one.state, "size": one.size, "sha256": one.sha256}
            for one in taken
        },
        "files": files,
    }
    write_private(target / MANIFEST, json.dumps(manifest, indent=1))
    return [Entry(one.stream, int(one.state["messages"]), one.size) for one in taken]


async def _present(connection: Connection, config: BridgeConfig) -> list[str]:
    """Return the streams there are: the audit trail first, then the engine's, the events last."""
    names = [stream.name for stream in streams.table(config.site, config.bus)]
    *first, last = (streams.stream_name(config.site, name) for name in (*_ORDER, _LAST))
    others = [name for name in names if name not in {*first, last}]
    found = []
    for name in (*first, *others, last):
        try:
            await connection.api(f"STREAM.INFO.{name}")
        except RefusedError as error:
            if error.code != STREAM_NOT_FOUND:
                raise
        else:
            found.append(name)
    return found


def _empty(target: Path) -> None:
    try:
        if target.exists() and any(target.iterdir()):
            raise StartError(f"{target} is not empty", "name a directory that does not exist yet")
    except OSError as error:
        raise start_error("read", target, error) from error


def _copy(sources: Iterable[tuple[Path, str]], target: Path) -> dict[str, str]:
    """Copy files to their names below the target; return the hash of each."""
    make(target)
    hashes: dict[str, str] = {}
    try:
        for source, name in sources:
            copy = target / name
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            copy.chmod(0o600)
            hashes[name] = _sha256(copy)
    except OSError as error:
        raise start_error("copy to", target, error) from error
    return hashes


def _anchors(data: Path) -> Iterator[tuple[Path, str]]:
    """Return the anchors, if there are any: copied later they would name records that the copy has not."""
    if (data / _ANCHORS).is_file():
        yield data / _ANCHORS, _ANCHORS.as_posix()


def _sources(data: Path, clips: Path | None) -> Iterator[tuple[Path, str]]:
    """Return the small files but the anchors, and the clips if wanted."""
    for path in sorted(data.rglob("*")):
        name = path.relative_to(data)
        if name.parts[0] in _NOT_COPIED or name == _ANCHORS:
            continue
        if path.is_file() and not path.is_symlink():
            yield path, name.as_posix()
    if clips is None:
        return
    for path in sorted(clips.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path, (PurePosixPath("clips") / path.relative_to(clips).as_posix()).as_posix()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- reading ----------------------------------------------------------------------------------------------


def examine(source: Path, site: str) -> dict[str, Any]:
    """Return the manifest of a backup that is whole and for us. Raises StartError."""
    try:
        manifest = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
        version, form, whose = manifest["version"], manifest["store_format"], manifest["site"]
        datetime.fromisoformat(manifest["created"])
        _whole(source, manifest)
    except FileNotFoundError as error:
        raise StartError(f"{source} is no backup, or not a whole one ({error.filename})", "name another") from error
    except OSError as error:
        raise start_error("read", source, error) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StartError(f"{source / MANIFEST} is damaged", "use another backup") from error
    if version > VERSION or form > store_format.FORMAT:
        raise StartError(
            f"the backup was written by version {manifest.get('written_by')}, which is newer",
            "restore it with that version",
        )
    if whose != site:
        raise StartError(f"the backup is of the site {whose!r}, not of {site!r}", "correct `site`, or name another")
    return dict(manifest)


def _whole(source: Path, manifest: Mapping[str, Any]) -> None:
    for name, about in manifest["streams"].items():
        _same(source / _STREAMS / f"{name}.tar.s2", about["sha256"])
    for name, sum_ in manifest["files"].items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ValueError("a name leads out of the backup")
        _same(source / _FILES / name, sum_)


def _same(path: Path, sha256: str) -> None:
    if _sha256(path) != sha256:
        raise StartError(f"{path} was changed or damaged since it was written", "use another backup")


async def read(
    source: Path, config: BridgeConfig, data: Path, clips: Path, *, erased: Path | None = None
) -> list[Entry]:
    """Put a backup into an empty data directory and look whether all is there. Raises StartError, StoreError.

    Until it is, the directory says so, and no bridge starts on it. Nothing moves until a person resets the kill switch.
    The plates that the file `erased` tells of are erased again.
    """
    manifest = examine(source, config.site)
    lock = Lock(data)
    lock.take()
    try:
        store_format.begin_restore(data)
        for name in manifest["files"]:
            parts = PurePosixPath(name).parts
            target = clips.joinpath(*parts[1:]) if parts[0] == "clips" else data.joinpath(*parts)
            _place(source / _FILES / name, target)
        await _stop(data, manifest)
        if erased is not None:
            _erase_again(erased, data / "audit")
        # Nobody else should reach the server while it is half full.
        bus = config.bus.model_copy(update={"mqtt": None, "host": "127.0.0.1", "port": 0})
        async with EmbeddedServer(bus, data, lock) as server:
            access = server.access
            link = Connection([server.url], access.username, access.password, "vms-bridge restore")
            async with link.opened() as connection:
                wanted = {one.name: one.config(1) for one in streams.table(config.site, bus, server.room.streams)}
                entries = [
                    await _restore(connection, name, about, wanted.get(name, {}), source)
                    for name, about in manifest["streams"].items()
                ]
                # What is lost from now on is noticed, even before the first start.
                marked = [streams.stream_name(config.site, name) for name in MARKED]
                marked = [name for name in marked if name in manifest["streams"]]
                await Marks(data, connection, marked, {}, SystemClock()).note()
        store_format.end_restore(data)
        return entries
    finally:
        lock.release()


async def _stop(data: Path, manifest: Mapping[str, Any]) -> None:
    folder = data / "safety"
    try:
        await restored.stop(folder, datetime.fromisoformat(manifest["created"]).astimezone(UTC), SystemClock())
    except OSError as error:
        raise start_error("write", folder, error) from error


def _erase_again(erased: Path, folder: Path) -> None:
    try:
        PlateKeys(folder).take_erased(erased)
    except OSError as error:
        raise start_error("use", erased, error) from error


def _place(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o600)
    except OSError as error:
        raise start_error("write", target, error) from error


async def _restore(
    connection: Connection, name: str, about: Mapping[str, Any], wanted: Mapping[str, Any], source: Path
) -> Entry:
    # With the limits that fit this disk: those of the other one may be more than there is.
    config = {**about["config"], **wanted}
    await snapshot.put(connection, name, config, about["state"], source / _STREAMS / f"{name}.tar.s2")
    state = (await connection.api(f"STREAM.INFO.{name}"))["state"]
    expected = about["state"]
    # The limits take the oldest while it comes back: what is too old, or more than there is room for.
    trimmed = max(0, int(state["first_seq"]) - int(expected["first_seq"])) if int(expected["messages"]) else 0
    seen = 0
    async for batch in scan(connection, name, headers_only=True):
        seen += len(batch)
    if int(state["last_seq"]) != int(expected["last_seq"]) or seen < int(expected["messages"]) - trimmed:
        raise StoreError(f"{name} came back with {seen} of {expected['messages']} messages")
    return Entry(name, seen, int(about["size"]))
