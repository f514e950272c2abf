"""Worker processes: what happens when they die, hang, are cancelled, and that none is left behind."""

# ruff: noqa: ASYNC240  (a test may touch a small file without a thread)

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bridge.errors import ActionRejectedError, ActionUnavailableError
from bridge.media.job import Accuracy
from bridge.media.pool import MediaWorkers, time_limit
from bridge.media.worker import Settings
from tests.bridge.media.conftest import Recorder
from tests.bridge.media.footage import Footage, job, shown

LONG = Footage(seconds=60, width=960, height=540)
"""Takes seconds to encode again, so that there is time to disturb it."""


def running(pid: int) -> bool:
    """Return whether a process exists, a zombie included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(condition: object, seconds: float = 20) -> None:
    """Wait until the condition holds."""
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  (what is waited for happens in another process)
            await asyncio.sleep(0.01)


async def test_a_worker_is_started_with_its_first_job_and_stays(recorded: Recorder, out: Path) -> None:
    """Whoever makes no clip does not pay for one; whoever makes them one by one pays for one worker, once."""
    async with MediaWorkers(2) as workers:
        assert workers.pids == ()
        assert (await workers.cut(job(out, recorded(), begin=2, end=5))).complete
        (pid,) = workers.pids
        await workers.inspect(out)
        assert workers.pids == (pid,)


async def test_a_worker_that_dies_while_it_starts_says_so(
    recorded: Recorder, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last words are in the error, as when FFmpeg's libraries are broken; the job can be tried again."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    async with MediaWorkers(1) as workers:
        with pytest.raises(ActionUnavailableError, match="a media worker did not start"):
            await workers.cut(job(out, recorded(), begin=2, end=5))
        monkeypatch.undo()
        assert (await workers.cut(job(out, recorded(), begin=2, end=5))).complete


async def test_two_workers_cut_at_the_same_time(recorded: Recorder, tmp_path: Path) -> None:
    """More jobs than workers are all done, each with its own file."""
    async with MediaWorkers(2, warm=True) as workers:
        assert len(set(workers.pids)) == 2
        outs = [tmp_path / f"{number}.mp4" for number in range(6)]
        done = await asyncio.gather(*(workers.cut(job(out, recorded(), begin=2, end=5)) for out in outs))
    assert [result.main.path for result in done] == outs
    assert all(shown(out)[0].clock == 2 for out in outs)


async def test_a_killed_worker_gives_an_error_and_is_replaced(recorded: Recorder, out: Path) -> None:
    """kill -9 in the middle of a job: the job says so, nothing is left of its file, the next job works."""
    async with MediaWorkers(1, warm=True) as workers:
        (pid,) = workers.pids
        task = asyncio.create_task(workers.cut(job(out, recorded(LONG), begin=1, end=59, accuracy=Accuracy.EXACT)))
        await until(out.exists)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ActionUnavailableError, match="ended by SIGKILL; a new one takes over"):
            await task
        assert not out.exists()
        assert not running(pid)
        result = await workers.cut(job(out, recorded(), begin=2, end=5))
        assert result.complete
        assert workers.pids != (pid,)


async def test_a_worker_killed_between_jobs_costs_no_job(recorded: Recorder, out: Path) -> None:
    """The next job starts a new one."""
    async with MediaWorkers(1, warm=True) as workers:
        (pid,) = workers.pids
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not running(pid) or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z")
        try:
            await workers.cut(job(out, recorded(), begin=2, end=5))
        except ActionUnavailableError:  # the pipe broke before the exit was noticed: the next try works
            await workers.cut(job(out, recorded(), begin=2, end=5))
        assert not running(pid)


async def test_a_worker_that_hangs_is_killed_at_the_time_limit(recorded: Recorder, out: Path) -> None:
    """The job ends with a clear error and the process is gone."""
    async with MediaWorkers(1, warm=True) as workers:
        (pid,) = workers.pids
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ActionUnavailableError, match=r"took longer than 0\.3 s and was stopped"):
            await workers.cut(job(out, recorded(), begin=2, end=5), timeout=0.3)
        assert not running(pid)
        assert (await workers.cut(job(out, recorded(), begin=2, end=5))).complete


async def test_cancelling_a_job_kills_it(recorded: Recorder, out: Path) -> None:
    """A cancelled clip stops using the machine at once and leaves no file."""
    async with MediaWorkers(1, warm=True) as workers:
        (pid,) = workers.pids
        task = asyncio.create_task(workers.cut(job(out, recorded(LONG), begin=1, end=59, accuracy=Accuracy.EXACT)))
        await until(out.exists)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not running(pid)
        assert not out.exists()
        assert (await workers.cut(job(out, recorded(), begin=2, end=5))).complete


async def test_a_job_over_its_cpu_time_ends(recorded: Recorder, out: Path) -> None:
    """The kernel ends a worker that computes more than its job may; the message says so."""
    async with MediaWorkers(1) as workers:
        with pytest.raises(ActionUnavailableError, match="used more CPU time than allowed"):
            await workers.cut(job(out, recorded(LONG), begin=1, end=59, accuracy=Accuracy.EXACT), timeout=60, cpu=0.5)


async def test_a_job_over_the_memory_limit_ends(recorded: Recorder, out: Path) -> None:
    """A worker that may not have the memory a job needs says so and the next job works."""
    async with MediaWorkers(1, Settings(memory=190 * 1024**2)) as workers:
        with pytest.raises((ActionUnavailableError, ActionRejectedError)):
            await workers.cut(job(out, recorded(LONG), begin=1, end=59, accuracy=Accuracy.EXACT))
        assert not out.exists()
        assert (await workers.cut(job(out, recorded(), begin=2, end=5))).complete


async def test_nothing_is_left_running() -> None:
    """Closing the pool joins its processes, also with a job in one of them."""
    async with MediaWorkers(2, warm=True) as workers:
        pids = workers.pids
    assert not any(running(pid) for pid in pids)


async def test_closing_ends_a_job_in_flight(recorded: Recorder, out: Path) -> None:
    """A stop does not wait for minutes of encoding."""
    async with MediaWorkers(1, warm=True) as workers:
        pids = workers.pids
        task = asyncio.create_task(workers.cut(job(out, recorded(LONG), begin=1, end=59, accuracy=Accuracy.EXACT)))
        await until(out.exists)
    with pytest.raises(ActionUnavailableError):
        await task
    assert not any(running(pid) for pid in pids)
    with pytest.raises(ActionUnavailableError, match="stopped"):
        await workers.cut(job(out, recorded(), begin=2, end=5))


def test_a_worker_ends_with_its_parent(recorded: Recorder, out: Path) -> None:
    """kill -9 of the bridge leaves no worker behind, also not one in the middle of a job."""
    long = job(out, recorded(LONG), begin=1, end=59, accuracy=Accuracy.EXACT).model_dump_json()
    code = (
        "import asyncio, os, signal, sys\n"
        "from bridge.media.job import CutJob\n"
        "from bridge.media.pool import MediaWorkers\n"
        "async def main():\n"
        "    async with MediaWorkers(1, warm=True) as workers:\n"
        "        print(workers.pids[0], flush=True)\n"
        "        job = CutJob.model_validate_json(sys.stdin.read())\n"
        "        task = asyncio.create_task(workers.cut(job))\n"
        "        while not job.out.exists():\n"
        "            await asyncio.sleep(0.01)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    told, _ = process.communicate(long, timeout=60)
    pid = int(told)
    end = time.monotonic() + 1
    while running(pid) and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < end, "the worker outlived its parent"
        time.sleep(0.01)


def test_the_worker_does_not_load_the_application() -> None:
    """Neither event loop nor bus nor HTTP come along: a worker starts fast, and holds nothing worth stealing."""
    code = (
        "import sys, bridge.media.worker, bridge.media.clip, bridge.media.inspect\n"
        "bad = {'asyncio', 'nats', 'faststream', 'httpx', 'bridge.app', 'bridge.config', 'bridge.bus',"
        " 'bridge.sdk', 'bridge.contracts', 'bridge.schema', 'websockets', 'rich', 'typer'}\n"
        "print(sorted(bad & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_pool_does_not_load_pyav() -> None:
    """The event loop's process never has FFmpeg in it."""
    code = "import sys, bridge.media.pool, bridge.media.store, bridge.media.recorded; print('av' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


async def test_a_worker_does_not_get_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a process needs to run is in its environment."""
    monkeypatch.setenv("BRIDGE_API_KEY", "canary")
    async with MediaWorkers(1, warm=True) as workers:
        environment = Path(f"/proc/{workers.pids[0]}/environ").read_bytes()
    assert b"canary" not in environment


def test_the_time_limit_grows_with_the_clip() -> None:
    """Twice the clip and half a minute."""
    assert time_limit(30) == 90


async def test_a_thorough_look_finds_a_clip_that_does_not_play(
    recorded: Recorder, tmp_path: Path, workers: MediaWorkers
) -> None:
    """A file with a good header and rubbish for pictures is found out."""
    good = await workers.inspect(recorded().path, thorough=True)
    assert (good.frames, good.keyframes) == (250, 10)
    assert good.streams[0].codec == "h264"
    data = bytearray(recorded().path.read_bytes())
    begin = data.index(b"mdat") + 4
    data[begin : data.index(b"moov") - 4] = bytes(len(data[begin : data.index(b"moov") - 4]))
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(data)
    with pytest.raises(ActionUnavailableError, match=r"first picture does not decode|cannot be read"):
        await workers.inspect(bad, thorough=True)


async def test_a_thumbnail_shows_the_first_keyframe_from_the_asked_time(
    recorded: Recorder, tmp_path: Path, workers: MediaWorkers
) -> None:
    """The JPEG is a small picture; past the last keyframe it is the last one."""
    made = await workers.thumbnail(recorded().path, tmp_path / "t.jpg", at=3.3, max_width=160)
    assert (made.width, made.height, made.at) == (160, 120, 4)
    assert (tmp_path / "t.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    assert (await workers.thumbnail(recorded().path, tmp_path / "u.jpg", at=9.9)).at == 9
