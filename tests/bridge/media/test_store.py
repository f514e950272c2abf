"""The store: one clip for one id, nothing half done, nothing lost in a crash, nothing outside its folder."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ActionUnavailableError, StartError
from bridge.media import folder as folder_module
from bridge.media.job import CutResult
from bridge.media.manifest import About, Manifest, id_digits
from bridge.media.pool import MediaWorkers
from bridge.media.store import ClipStore, Retention, StoredClip
from tests.bridge.media.conftest import Recorder
from tests.bridge.media.footage import Footage, at, job, shown
from tests.clock import VirtualClock

MiB = 1024**2
Opener = Callable[..., AbstractAsyncContextManager[ClipStore]]


def about(clip: str) -> About:
    """Return what is known about a clip."""
    return About(clip=clip, source="home/nvr1", channel="1", cameras=("Gate",), events=("e1", "e2"), rule="gate")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the store's folder."""
    return tmp_path / "clips"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a file system of 64 KiB."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield small
    subprocess.run(["umount", str(small)], check=True)


@pytest.fixture
async def store(root: Path, workers: MediaWorkers) -> AsyncIterator[ClipStore]:
    """Return an open store."""
    async with ClipStore(root, workers, VirtualClock(at(100))) as opened:
        yield opened


async def put(
    store: ClipStore, workers: MediaWorkers, recorded: Recorder, clip: str, begin: float = 2, **more: Any
) -> StoredClip:
    """Cut a clip and publish it."""
    async with store.draft(clip) as draft:
        result = await workers.cut(job(draft.out, recorded(), begin=begin, end=begin + 3, event=begin + 1, **more))
        return await store.publish(draft, result, about(clip))


def files(root: Path) -> list[str]:
    """Return all files of a store but its lock, relative to it."""
    found = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    return sorted(name for name in found if name != ".lock")


async def test_a_published_clip_has_its_files_manifest_and_picture(
    store: ClipStore, root: Path, workers: MediaWorkers, recorded: Recorder
) -> None:
    """Names come from the window and the id's hash; the manifest says what the clip is and why it was made."""
    clip = await put(store, workers, recorded, "order-1/../../etc")
    stem = f"2026/01/10/20260110T120002Z-{id_digits('order-1/../../etc')}"
    assert files(root) == [f"{stem}.jpg", f"{stem}.json", f"{stem}.mp4"]
    assert (clip.path, clip.thumbnail) == (f"{stem}.mp4", f"{stem}.jpg")
    assert shown(root / clip.path)[0].clock == 2
    said = json.loads((root / f"{stem}.json").read_bytes())
    assert said["schema"] == 1
    assert said["about"]["events"] == ["e1", "e2"]
    assert said["parts"][0]["frames"] == 75
    assert said["missing"] == []
    assert (said["before"], said["after"]) == (1, 2)
    assert stat.S_IMODE((root / clip.path).stat().st_mode) == 0o640
    assert stat.S_IMODE((root / f"{stem}.json").stat().st_mode) == 0o640
    assert Manifest.model_validate_json((root / f"{stem}.json").read_bytes()) == clip.manifest


async def test_the_same_id_is_the_same_clip(
    store: ClipStore, root: Path, workers: MediaWorkers, recorded: Recorder
) -> None:
    """A retry finds the first one's, and publishing again changes no byte."""
    first = await put(store, workers, recorded, "order-1")
    before = {name: (root / name).read_bytes() for name in files(root)}
    assert await store.find("order-1") == first
    assert await put(store, workers, recorded, "order-1") == first
    assert {name: (root / name).read_bytes() for name in files(root)} == before
    assert len(store) == 1
    assert await store.find("order-2") is None


async def test_two_tries_at_once_publish_one_clip(
    store: ClipStore, root: Path, workers: MediaWorkers, recorded: Recorder
) -> None:
    """Whoever is second gets the first one's."""
    clips = await asyncio.gather(*(put(store, workers, recorded, "order-1") for _ in range(3)))
    assert len({clip.path for clip in clips}) == 1
    assert len(files(root)) == 3


async def test_a_restart_finds_what_was_published(root: Path, workers: MediaWorkers, recorded: Recorder) -> None:
    """The index is made anew from the folder."""
    async with ClipStore(root, workers, VirtualClock(at(100))) as store:
        first = await put(store, workers, recorded, "order-1")
    async with ClipStore(root, workers, VirtualClock(at(100))) as store:
        assert await store.find("order-1") == first
        assert store.size == first.manifest.size


async def test_a_clip_of_two_parts_is_stored_whole(
    store: ClipStore, root: Path, workers: MediaWorkers, recorded: Recorder
) -> None:
    """Each part has its file and its hash; the path is that of the part with the event."""
    pieces = recorded(Footage(seconds=4)), recorded(Footage(begin=4, seconds=4, width=640, height=480))
    async with store.draft("two") as draft:
        result = await workers.cut(job(draft.out, *pieces, begin=2, end=7, event=5))
        clip = await store.publish(draft, result, about("two"))
    assert [Path(path).name[-6:] for path in clip.paths] == [".1.mp4", ".2.mp4"]
    assert clip.path == clip.paths[1]
    assert all((root / path).exists() for path in clip.paths)
    assert await store.find("two") == clip


async def test_a_damaged_clip_is_put_aside_and_made_again(
    store: ClipStore, root: Path, workers: MediaWorkers, recorded: Recorder
) -> None:
    """A stored hash that does not fit is noticed by the retry; the damaged file is kept for a person to look at."""
    first = await put(store, workers, recorded, "order-1")
    with (root / first.path).open("r+b") as file:
        file.seek(5000)
        file.write(b"rot")
    assert await store.find("order-1") is None
    again = await put(store, workers, recorded, "order-1")
    assert again.manifest.main.sha256 == first.manifest.main.sha256
    assert len([name for name in files(root) if name.startswith(".damaged/")]) == 3


async def test_a_clip_that_does_not_play_is_not_published(
    store: ClipStore, root: Path, workers: MediaWorkers, recorded: Recorder
) -> None:
    """What was written is read back before it is called a clip."""
    async with store.draft("order-1") as draft:
        result = await workers.cut(job(draft.out, recorded(), begin=2, end=5))
        data = bytearray(draft.out.read_bytes())
        where = data.index(b"mdat") + 4
        data[where:] = bytes(len(data) - where)
        draft.out.write_bytes(data)
        with pytest.raises(ActionUnavailableError):
            await store.publish(draft, result, about("order-1"))
    assert files(root) == []


class TestCrash:
    """kill -9 at any point leaves either a whole clip or none."""

    STEPS = 12
    """More file operations than publishing needs, so that the last ones are no crash at all."""

    @pytest.mark.parametrize("step", range(STEPS))
    async def test_a_crash_while_publishing(
        self, step: int, root: Path, workers: MediaWorkers, recorded: Recorder, tmp_path: Path
    ) -> None:
        """After a restart the clip is there and whole, or there is nothing of it; and it can be made."""
        source = tmp_path / "cut.mp4"
        result = await workers.cut(job(source, recorded(), begin=2, end=5))
        done = await asyncio.to_thread(_publish_and_die, root, source, result, step)
        async with ClipStore(root, workers, VirtualClock(at(100))) as store:
            clip = await store.find("order-1")
            if clip is None:
                assert files(root) == []
            else:
                assert done == 0 or step >= 5
            assert (await put(store, workers, recorded, "order-1")).manifest.complete
            assert len(files(root)) in (2, 3)

    async def test_drafts_are_removed_at_the_next_start(
        self, root: Path, workers: MediaWorkers, recorded: Recorder
    ) -> None:
        """Half a download is of no use to anyone."""
        left = root / ".incoming" / "abc" / "pieces"
        left.mkdir(parents=True)
        (left / "0000.piece").write_bytes(b"half")
        async with ClipStore(root, workers, VirtualClock(at(100))):
            assert files(root) == []

    async def test_files_that_are_not_ours_stay(self, root: Path, workers: MediaWorkers) -> None:
        """A user's own file in the folder is never touched, an unfinished clip of ours goes."""
        day = root / "2026" / "01" / "10"
        day.mkdir(parents=True)
        (day / "holiday.mp4").write_bytes(b"mine")
        (day / "20260110T120002Z-0123456789abcdef.mp4").write_bytes(b"unfinished")
        (day / "20260110T120002Z-0123456789abcdef.jpg").write_bytes(b"unfinished")
        async with ClipStore(root, workers, VirtualClock(at(100))) as store:
            assert files(root) == ["2026/01/10/holiday.mp4"]
            assert len(store) == 0


def _publish_and_die(root: Path, source: Path, result: CutResult, step: int) -> int:
    """Publish in another process that kills itself at its n-th file operation; return its exit code."""
    code = """
import asyncio, os, shutil, signal, sys
from pathlib import Path
from bridge.clock import SystemClock
from bridge.media import store as module
from bridge.media.job import CutResult
from bridge.media.manifest import About

root, source, step = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
result = CutResult.model_validate_json(sys.stdin.read())
left = step

def deadly(name):
    real = getattr(os, name)
    def call(*args, **kwargs):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return real(*args, **kwargs)
    setattr(os, name, call)

async def main():
    async with module.ClipStore(root, None, SystemClock()) as store:
        async def nothing(*_): return None
        store._check = store._picture = nothing
        async with store.draft("order-1") as draft:
            shutil.copy(source, draft.out)
            part = result.parts[0].model_copy(update={"path": draft.out})
            cut = result.model_copy(update={"parts": (part,)})
            for name in ("rename", "fsync", "mkdir"):
                deadly(name)
            about = About(clip="order-1", source="s", channel="1")
            await store.publish(draft, cut, about)

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(root), str(source), str(step)],
        input=result.model_dump_json(),
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode in (0, -9), done.stderr
    return done.returncode


class TestDisk:
    """Disks that are full or in use."""

    async def test_below_the_free_space_no_clip_is_begun(self, root: Path, workers: MediaWorkers) -> None:
        """The message says how much there is and how much is kept."""
        async with ClipStore(root, workers, VirtualClock(at(0)), Retention(min_free=1 << 60)) as store:
            with pytest.raises(ActionUnavailableError, match=r"clip store is full: \d+ MiB free"):
                async with store.draft("order-1"):
                    pytest.fail("a draft was given")

    async def test_a_disk_that_fills_up_while_publishing_leaves_nothing(
        self,
        store: ClipStore,
        root: Path,
        workers: MediaWorkers,
        recorded: Recorder,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The clip's files that were moved already are taken back."""
        real = os.fsync
        calls = 0

        def full(handle: int) -> None:
            nonlocal calls
            calls += 1
            if calls > 6:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(handle)

        with monkeypatch.context() as patch:
            patch.setattr(folder_module.os, "fsync", full)
            with pytest.raises(ActionUnavailableError, match="clip store is full: storing a clip failed"):
                await put(store, workers, recorded, "order-1")
        assert files(root) == []
        assert (await put(store, workers, recorded, "order-1")).manifest.complete

    async def test_a_full_disk_while_cutting_is_said_and_leaves_nothing(
        self, workers: MediaWorkers, recorded: Recorder, small_disk: Path
    ) -> None:
        """On a real small file system: the cut fails with the reason, its partial file is gone."""
        with pytest.raises(ActionUnavailableError, match="No space left on device"):
            await workers.cut(job(small_disk / "clip.mp4", recorded(Footage(seconds=60)), begin=1, end=59))
        assert files(small_disk) == []

    async def test_one_bridge_a_folder(self, store: ClipStore, root: Path, workers: MediaWorkers) -> None:
        """A second one is told which folder, and what to do."""
        with pytest.raises(StartError, match="used by another bridge: stop it, or choose another folder"):
            async with ClipStore(root, workers, VirtualClock(at(0))):
                pytest.fail("it opened")

    async def test_a_folder_that_cannot_be_made_is_said(self, tmp_path: Path, workers: MediaWorkers) -> None:
        """A file where the folder should be."""
        (tmp_path / "clips").write_bytes(b"")
        with pytest.raises(StartError, match="cannot be used"):
            async with ClipStore(tmp_path / "clips", workers, VirtualClock(at(0))):
                pytest.fail("it opened")

    async def test_a_link_among_the_folders_is_not_followed(
        self, store: ClipStore, root: Path, workers: MediaWorkers, recorded: Recorder, tmp_path: Path
    ) -> None:
        """Nothing is written outside the root, whoever put a link there."""
        outside = tmp_path / "outside"
        outside.mkdir()
        (root / "2026").symlink_to(outside)
        with pytest.raises(ActionUnavailableError, match="clip store does not work"):
            await put(store, workers, recorded, "order-1")
        assert list(outside.iterdir()) == []


class TestRetention:
    """What leaves, when, and what stays."""

    async def test_old_clips_leave_and_held_ones_stay(
        self, root: Path, workers: MediaWorkers, recorded: Recorder
    ) -> None:
        """By the time they show, not the time they were made; empty folders go too."""
        clock = VirtualClock(at(100))
        async with ClipStore(root, workers, clock, Retention(max_age=timedelta(hours=1))) as store:
            for number in range(3):
                await put(store, workers, recorded, f"order-{number}", begin=number)
            await store.hold("order-1")
            assert await store.retain() == []
            await clock.advance(3600 + 1.5 - 100)
            assert len(await store.retain()) == 1
            await clock.advance(3600)
            assert len(await store.retain()) == 1
            assert await store.find("order-1") is not None
            assert await store.hold("order-1", held=False)
            assert len(await store.retain()) == 1
        assert files(root) == []
        assert not (root / "2026").exists()

    async def test_a_hold_survives_a_restart(self, root: Path, workers: MediaWorkers, recorded: Recorder) -> None:
        """It is a file beside the clip."""
        async with ClipStore(root, workers, VirtualClock(at(100))) as store:
            await put(store, workers, recorded, "order-1")
            await store.hold("order-1")
        late = VirtualClock(datetime(2030, 1, 1, tzinfo=UTC))
        async with ClipStore(root, workers, late, Retention(max_age=timedelta(1))) as store:
            assert await store.retain() == []
            assert await store.find("order-1") is not None

    async def test_the_oldest_leave_while_there_is_too_much(
        self, root: Path, workers: MediaWorkers, recorded: Recorder
    ) -> None:
        """Enough go, and no more."""
        async with ClipStore(root, workers, VirtualClock(at(100))) as store:
            sizes = [(await put(store, workers, recorded, f"order-{n}", begin=n)).manifest.size for n in range(4)]
        limit = Retention(max_age=None, max_bytes=sum(sizes[2:]) + 10)
        async with ClipStore(root, workers, VirtualClock(at(100)), limit) as store:
            assert len(await store.retain()) == 2
            assert [await store.find(f"order-{n}") is not None for n in range(4)] == [False, False, True, True]
            assert store.size == sum(sizes[2:])

    async def test_a_clip_can_be_removed(
        self, store: ClipStore, root: Path, workers: MediaWorkers, recorded: Recorder
    ) -> None:
        """All its files go; a second time there is nothing to remove."""
        await put(store, workers, recorded, "order-1")
        assert await store.remove("order-1")
        assert not await store.remove("order-1")
        assert files(root) == []
