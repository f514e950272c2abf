"""A few worker processes for media work, and the asyncio side of talking to them.

PyAV never runs in this process. A worker is started with its first job and stays warm for the next ones: half of the
sites never make a clip, and one costs 50 MiB. A worker that crashes, hangs, is killed or whose job is cancelled is
replaced, and its job ends with an error; nothing is left running when the pool is closed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final, Self, TypeVar

from pydantic import ValidationError

import bridge
from bridge.errors import ActionRejectedError, ActionUnavailableError
from bridge.media.job import CutJob, CutResult, Inspection, InspectJob, Limits, Thumbnail, ThumbnailJob
from bridge.media.worker import (
    CutRequest,
    InspectRequest,
    Ready,
    Reply,
    Request,
    Settings,
    ThumbnailRequest,
)

log = logging.getLogger(__name__)

_AnswerT = TypeVar("_AnswerT", CutResult, Inspection, Thumbnail)

START_TIMEOUT: Final = 30.0
_LINE_LIMIT: Final = 8 * 1024**2
_JOBS_PER_WORKER: Final = 500
"""A worker is replaced after so many jobs, so that a leak in a library cannot grow for months."""
_LOOK_TIMEOUT: Final = 60.0
_EXIT_PATIENCE: Final = 2.0


def time_limit(window_seconds: float) -> float:
    """Return the seconds a cut of a window this long may take: twice its length and half a minute."""
    return window_seconds * 2 + 30


class MediaWorkers:
    """A pool of worker processes: `async with MediaWorkers(2) as workers: await workers.cut(job)`.

    With `warm` all of them are started on entering, so that not even the first job waits for Python and FFmpeg to load.
    """

    def __init__(self, count: int = 1, settings: Settings | None = None, *, warm: bool = False) -> None:
        self._settings, self._warm = settings or Settings(), warm
        self._workers = [_Worker(number, self._settings) for number in range(count)]
        self._idle: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()
        """The one that was busy last comes first: it is warm, the others may never be needed."""
        self._replacing: set[asyncio.Task[None]] = set()
        self._open = False

    async def __aenter__(self) -> Self:
        """Take jobs from now on. Raises ActionUnavailableError when workers are wanted `warm` and cannot be started."""
        self._open = True
        try:
            await asyncio.gather(*(worker.start() for worker in self._workers if self._warm))
        except BaseException:
            await self._stop()
            raise
        for worker in self._workers:
            self._idle.put_nowait(worker)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def _stop(self) -> None:
        self._open = False
        for task in self._replacing:
            task.cancel()
        await asyncio.gather(*self._replacing, return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    @property
    def pids(self) -> tuple[int, ...]:
        """Return the process ids of the workers that are up."""
        return tuple(worker.pid for worker in self._workers if worker.pid is not None)

    async def cut(self, job: CutJob, *, timeout: float | None = None, cpu: float | None = None) -> CutResult:
        """Cut a clip within `timeout` seconds and `cpu` seconds of CPU time, by default what its length allows.

        Raises:
            ActionUnavailableError: no footage, broken footage, disk full, the worker died or took too long.
            ActionRejectedError: the job or its recordings break a limit, or are no video.
        """
        limit = timeout if timeout is not None else time_limit(job.window.seconds)
        if await asyncio.to_thread(job.out.exists):
            raise ActionRejectedError("the clip's file exists already", "exists")
        try:
            return await self._run(CutRequest(job=job, cpu=cpu or limit * 2), limit, CutResult)
        except BaseException:
            # A worker that was killed could not remove what it had begun.
            await asyncio.shield(asyncio.to_thread(_remove_parts, job.out))
            raise

    async def inspect(self, path: Path, *, thorough: bool = False, limits: Limits | None = None) -> Inspection:
        """Return what is in a file; `thorough` also checks that it plays."""
        job = InspectJob(path=path, thorough=thorough, limits=limits or Limits())
        return await self._run(InspectRequest(job=job, cpu=_LOOK_TIMEOUT), _LOOK_TIMEOUT, Inspection)

    async def thumbnail(self, path: Path, out: Path, *, at: float = 0, max_width: int = 640) -> Thumbnail:
        """Write a JPEG of the first keyframe at or after `at` seconds."""
        job = ThumbnailJob(path=path, out=out, at=at, max_width=max_width)
        return await self._run(ThumbnailRequest(job=job, cpu=_LOOK_TIMEOUT), _LOOK_TIMEOUT, Thumbnail)

    async def _run(self, request: Request, timeout: float, kind: type[_AnswerT]) -> _AnswerT:
        if not self._open:
            raise ActionUnavailableError("the media workers are stopped")
        worker = await self._idle.get()
        try:
            reply = await worker.ask(request, timeout)
        finally:
            if worker.pid is not None or not self._open:
                self._idle.put_nowait(worker)
            else:
                task = asyncio.create_task(self._replace(worker), name="media-worker.replace")
                self._replacing.add(task)
                task.add_done_callback(self._replacing.discard)
        return _answer(reply, kind)

    async def _replace(self, worker: _Worker) -> None:
        """Warm a new process up. If that fails the next job tries again, and gets the error."""
        try:
            await worker.start()
        except ActionUnavailableError as exc:
            log.warning("media worker not replaced", extra={"error": str(exc)})
        finally:
            self._idle.put_nowait(worker)


class _Worker:
    """One worker process and the pipe to it."""

    def __init__(self, number: int, settings: Settings) -> None:
        self._name = f"media-worker[{number}]"
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._complaints: asyncio.Task[None] | None = None
        self._said: deque[str] = deque(maxlen=20)
        self._jobs = 0
        self._busy = False

    @property
    def pid(self) -> int | None:
        """Return the process id, if it is up."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Start the process and wait until it is ready for a job."""
        self._said.clear()
        self._jobs = 0
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "bridge.media.worker",
                self._settings.model_dump_json(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_LINE_LIMIT,
                env=_environment(),
            )
        except OSError as exc:
            raise ActionUnavailableError(f"a media worker cannot be started: {exc.strerror}") from exc
        self._complaints = asyncio.create_task(self._listen(self._process.stderr), name=f"{self._name}.stderr")
        try:
            async with asyncio.timeout(START_TIMEOUT):
                Ready.model_validate_json(await self._read())
        except (TimeoutError, ValidationError, OSError) as exc:
            await self.kill()
            raise ActionUnavailableError(f"a media worker did not start: {self._last_words()}") from exc
        except BaseException:
            await self.kill()
            raise

    async def ask(self, request: Request, timeout: float) -> Reply:
        """Give the process one job and return its reply; afterwards it is either idle or gone."""
        if self._process is None or self._process.returncode is not None or self._jobs >= _JOBS_PER_WORKER:
            await self.stop()
            await self.start()
        self._jobs += 1
        self._busy = True
        try:
            async with asyncio.timeout(timeout):
                await self._write(request.model_dump_json())
                return Reply.model_validate_json(await self._read())
        except TimeoutError as exc:
            await self.kill()
            raise ActionUnavailableError(f"media work took longer than {timeout:g} s and was stopped") from exc
        except (ValueError, OSError) as exc:
            raise await self._died() from exc
        except BaseException:
            await self.kill()
            raise
        finally:
            self._busy = False

    async def stop(self) -> None:
        """End the process: politely, then not."""
        process = self._process
        if process is None:
            return
        if not self._busy:
            if process.stdin is not None:
                process.stdin.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(_EXIT_PATIENCE):
                    await process.wait()
        await self.kill()

    async def kill(self) -> None:
        """Kill the process and wait until the system has taken it away."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        await asyncio.shield(self._reap(process))

    async def _reap(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        complaints, self._complaints = self._complaints, None
        if complaints is not None:
            await complaints

    async def _write(self, line: str) -> None:
        if self._process is None or self._process.stdin is None:
            raise ConnectionResetError("the process is gone")
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()

    async def _read(self) -> bytes:
        if self._process is None or self._process.stdout is None:
            raise ConnectionResetError("the process is gone")
        line = await self._process.stdout.readline()
        if not line:
            raise ConnectionResetError("the process closed its pipe")
        return line

    async def _listen(self, stderr: asyncio.StreamReader | None) -> None:
        """Keep the last lines of standard error, for the message when the process dies."""
        while stderr is not None and (chunk := await stderr.read(4096)):
            self._said.extend(chunk.decode(errors="replace").splitlines())

    async def _died(self) -> ActionUnavailableError:
        """Return the error for a process that ended in the middle of a job."""
        process = self._process
        if process is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_EXIT_PATIENCE):
                    await process.wait()
        await self.kill()
        code = process.returncode if process is not None else None
        log.warning("media worker died", extra={"worker": self._name, "code": code, "last_words": self._last_words()})
        return ActionUnavailableError(f"the media worker {_cause(code)}; a new one takes over")

    def _last_words(self) -> str:
        return " | ".join(self._said)[-500:]


def _cause(code: int | None) -> str:
    if code == -signal.SIGXCPU:
        return "used more CPU time than allowed"
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"


def _answer(reply: Reply, kind: type[_AnswerT]) -> _AnswerT:
    if reply.error == "rejected":
        raise ActionRejectedError(reply.message, reply.reason)
    if not isinstance(reply.answer, kind):
        raise ActionUnavailableError(reply.message or "the media worker gave a wrong answer")
    return reply.answer


def _environment() -> dict[str, str]:
    """Return what the process needs to run: no secrets of ours, few memory arenas, our own code."""
    package = Path(bridge.__file__).resolve().parents[1]
    kept = {
        name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH") if name in os.environ
    }
    return kept | {"PYTHONPATH": str(package), "PYTHONUTF8": "1", "MALLOC_ARENA_MAX": "2"}


def _remove_parts(out: Path) -> None:
    for path in (out, *out.parent.glob(f"{out.stem}.*{out.suffix}")):
        with suppress(OSError):
            path.unlink(missing_ok=True)
