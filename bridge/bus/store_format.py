"""What form the data directory has, and whose it is: `store.json`, read before anything else there.

A directory written by a newer bridge is refused; one written by an older one is brought up to date
here, step by step in order, before any part reads it. What a step does it can do again: a crash in
the middle only means that it is done again at the next start.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import bridge
from bridge.bus.datadir import read_json, write_private
from bridge.errors import StartError

_log = logging.getLogger(__name__)

FILE = "store.json"
FORMAT = 2
"""Raised with every change of what is stored that an earlier version would misread, or write over.

1: the first with this file. 2: changes of what decides stand in the audit trail, where an earlier version takes them
for foreign; a head may name a step that is still to be copied; a firing that waits is a value of its own; kinds of
events were added.
"""
RESTORING = "restoring"
"""There while a backup is being put into the directory: what is in it is not whole."""

Step = Callable[[Path], None]

STEPS: Mapping[int, Step] = {0: lambda _: None, 1: lambda _: None}
"""Step `n` makes format `n + 1` of format `n`. Format 0 is the first versions', which had no `store.json`.

Of 1 everything is read as it stands: what is new has defaults.
"""


def site_of(folder: Path) -> str | None:
    """Return the site whose data these are; None if it is not known. Raises StartError if the file is damaged."""
    site = _read(folder).get("site")
    return site if isinstance(site, str) else None


def format_of(folder: Path) -> int:
    """Return the format of a data directory: 0 if it holds data and does not say, `FORMAT` if it is new."""
    number = _read(folder).get("format")
    if isinstance(number, int) and number >= 0:
        return number
    return 0 if (folder / "bus").exists() else FORMAT


def claim(folder: Path, site: str, *, steps: Mapping[int, Step] = STEPS, newest: int = FORMAT) -> None:
    """Bring the directory to our format and say that it is this site's. Raises StartError when it is not for us.

    The caller holds the directory's lock.
    """
    if (folder / RESTORING).exists():
        raise StartError(f"a restore into {folder} has not ended", "run `vms-bridge restore` again")
    found = format_of(folder)
    if found > newest:
        raise StartError(
            f"the data in {folder} have format {found}; this version ({bridge.__version__}) reads up to {newest}",
            "run the newer version again, or restore a backup that this version made",
        )
    for number in range(found, newest):
        _log.info("the stored data are brought up to date", extra={"from_format": number, "to_format": number + 1})
        steps[number](folder)
        _write(folder, number + 1, site_of(folder) or site)
    if _read(folder) != _content(newest, site):
        _write(folder, newest, site)


def begin_restore(folder: Path) -> None:
    """Make an empty directory ready for a backup; what an interrupted restore left is removed.

    The caller holds the lock. Raises StartError when there are data already.
    """
    if not (folder / RESTORING).exists():
        found = sorted(path.name for path in folder.iterdir() if path.name not in _NO_DATA)
        if found:
            raise StartError(f"{folder} holds data already ({', '.join(found[:5])})", "move it away first")
        write_private(folder / RESTORING, "")
    for path in folder.iterdir():
        if path.name not in {*_NO_DATA, RESTORING}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def end_restore(folder: Path) -> None:
    """Say that all is there."""
    (folder / RESTORING).unlink()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_NO_DATA = frozenset({"lock", "lost+found"})


def _content(number: int, site: str) -> dict[str, object]:
    return {"format": number, "site": site, "written_by": bridge.__version__}


def _write(folder: Path, number: int, site: str) -> None:
    write_private(folder / FILE, json.dumps(_content(number, site), indent=1))


def _read(folder: Path) -> dict[str, object]:
    try:
        return read_json(folder / FILE)
    except StartError as error:
        if isinstance(error.__cause__, OSError):
            raise
        raise StartError(
            f"{folder / FILE} is damaged", f'write {{"format": {FORMAT}}} into it, or restore a backup'
        ) from error
