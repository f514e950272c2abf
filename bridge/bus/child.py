"""A child process that does not outlive us, and what was left over of one that did."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent() -> Callable[[], None] | None:
    """Return what the child does between fork and exec: ask the kernel for SIGTERM when we die.

    Everything is looked up before the fork; after it only two system calls are made. If we died
    in between, the parent is no longer the one that forked, and the child leaves at once.
    """
    if _libc is None:
        return None
    prctl, getppid, leave, parent = _libc.prctl, os.getppid, os._exit, os.getpid()

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if getppid() != parent:
            leave(0)

    return prepare


async def spawn(arguments: Sequence[str | Path]) -> asyncio.subprocess.Process:
    """Start a program with its standard error piped to us.

    The death signal is tied to the thread that forks, so call this on the event loop of a thread
    that lives as long as the process: the main thread. The child gets a session of its own, so that
    Ctrl-C reaches us alone and the server is there until we have said the last word to it.
    """
    return await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=die_with_parent(),
        start_new_session=True,
    )


async def stop(process: asyncio.subprocess.Process, patience: float = 10.0) -> None:
    """End a child: SIGTERM, wait, SIGKILL."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(patience):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def left_over(pid_file: Path, config: Path) -> int | None:
    """Return the id of a running process that was started with that configuration file, if `pid_file` names one.

    The number alone proves nothing, it may belong to anybody by now; the command line does.
    """
    try:
        pid = int(pid_file.read_text().strip())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if os.fsencode(config) in command else None


async def stop_left_over(pid: int, patience: float = 5.0) -> None:
    """End a process that is not our child: SIGTERM, wait, SIGKILL, wait."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                # Not our child: there is nothing to wait on.
                while await asyncio.to_thread(alive, pid):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                return


def alive(pid: int) -> bool:
    """Whether a process runs. One that has ended and was not buried yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # whoever adopted it will bury it; it holds no files any more
