"""Read files that people name. Never waits: what is no regular file (a pipe, a device) is refused, not read."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)
"""Opening a pipe that nobody writes into would wait for somebody who does."""


def read_file(path: Path, most: int = -1) -> bytes:
    """Return what a file holds, of a large one not more than `most`. Raises OSError, of what is no regular file too."""
    with os.fdopen(os.open(path, os.O_RDONLY | _NO_WAITING), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))
        return file.read(most)
