"""Downloads: resumed, bounded, and only of what is video."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.contracts import Piece
from bridge.errors import ActionError, ActionRejectedError, ActionUnavailableError
from bridge.media.fetch import FetchLimits, Progress, fetch_pieces
from tests.bridge.media.footage import at
from tests.bridge.media.web import File, Web, web

VIDEO = b"\0\0\0\x20ftypisom" + bytes(range(256)) * 4000
QUICK = FetchLimits(stall=5)


class NoWait:
    """A clock on which waiting takes no time."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> Any:
        return at(0)

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as made:
        yield made


def piece(server: Web, name: str, **headers: str) -> Piece:
    return Piece(url=server.url(name), begin=at(0), end=at(10), headers=headers)


async def fetch(client: httpx.AsyncClient, pieces: list[Piece], folder: Path, **more: Any) -> list[bytes]:
    options = {"limits": QUICK, "clock": NoWait()} | more
    return [each.path.read_bytes() for each in await fetch_pieces(client, pieces, folder, **options)]


async def test_pieces_come_in_order_two_at_a_time(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """The bytes, the times and the order are those asked for; the caller's headers are sent."""
    files = {f"p{number}": File(VIDEO + bytes([number])) for number in range(6)}
    seen: list[Progress] = []
    async with web(**files) as server:
        got = await fetch(
            client,
            [piece(server, name, Authorization="Basic eA==") for name in files],
            tmp_path,
            on_progress=seen.append,
        )
        assert server.most_busy <= 2
        assert all(asked["authorization"] == "Basic eA==" for _, asked in server.requests)
    assert got == [file.data for file in files.values()]
    assert seen[-1] == Progress(done=6 * (len(VIDEO) + 1), total=6 * (len(VIDEO) + 1), pieces_done=6, pieces=6)


@pytest.mark.parametrize("length", [True, False])
async def test_a_broken_connection_is_resumed(client: httpx.AsyncClient, tmp_path: Path, length: bool) -> None:
    """After two breaks the file is whole, and no byte was asked for twice."""
    async with web(a=File(VIDEO, breaks=[300_000, 300_000], length=length)) as server:
        if not length:  # without a length an early end cannot be told from the end
            server.files["a"].breaks = []
        assert await fetch(client, [piece(server, "a")], tmp_path) == [VIDEO]
        ranges = [asked.get("range") for _, asked in server.requests]
        assert ranges == ([None, "bytes=300000-", "bytes=600000-"] if length else [None])


async def test_a_recording_that_changed_is_fetched_anew(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """Halves of two different files are never put together."""
    async with web(a=File(VIDEO, breaks=[300_000])) as server:

        class Growing(NoWait):
            async def sleep(self, seconds: float) -> None:
                server.files["a"] = File(VIDEO + b"more", etag='"2"')

        assert await fetch(client, [piece(server, "a")], tmp_path, clock=Growing()) == [VIDEO + b"more"]


async def test_a_server_without_ranges_starts_anew(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """A 200 after a break replaces what came before it."""
    async with web(a=File(VIDEO, breaks=[300_000], ranges=False)) as server:
        assert await fetch(client, [piece(server, "a")], tmp_path) == [VIDEO]


async def test_a_busy_recorder_is_asked_again_later(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """503 and 502 are waited out, longer each time."""
    clock = NoWait()
    async with web(a=File(VIDEO, statuses=[503, 502])) as server:
        assert await fetch(client, [piece(server, "a")], tmp_path, clock=clock) == [VIDEO]
    assert len(clock.slept) == 2
    assert clock.slept[0] <= 1 < clock.slept[1] * 2


REFUSED = [
    pytest.param(File(b"<html>login</html>", content_type="text/html"), "sent text/html", id="html"),
    pytest.param(File(b"<html>login</html>"), "an HTML or XML page", id="html-as-video"),
    pytest.param(File(b"#EXTM3U\n"), "a playlist", id="playlist-as-video"),
    pytest.param(File(b"{}", content_type="application/json; charset=utf-8"), "application/json", id="json"),
    pytest.param(File(b"", statuses=[302], headers={"Location": "http://10.0.0.1/"}), "redirects", id="redirect"),
    pytest.param(File(gzip.compress(VIDEO), headers={"Content-Encoding": "gzip"}), "packed body", id="gzip-encoding"),
    pytest.param(File(b"", statuses=[400]), re.escape("refused to give the recording (400)"), id="400"),
]


@pytest.mark.parametrize(("file", "says"), REFUSED)
async def test_what_is_no_video_is_refused(file: File, says: str, client: httpx.AsyncClient, tmp_path: Path) -> None:
    """Another try would bring the same, so it is not made."""
    async with web(a=File(**vars(file))) as server:
        with pytest.raises(ActionRejectedError, match=says):
            await fetch(client, [piece(server, "a")], tmp_path)
        assert len(server.requests) == 1


LATER = [
    pytest.param(File(VIDEO, statuses=[401]), "refuses our credentials", id="401"),
    pytest.param(File(VIDEO, statuses=[404]), "does not have the recording", id="404"),
    pytest.param(File(VIDEO, statuses=[503] * 4), "in 4 tries: the recorder answered 503", id="503"),
    pytest.param(File(VIDEO, breaks=[0] * 4), "in 4 tries", id="never-a-byte"),
    pytest.param(File(b"", length=True), "it sent nothing", id="empty"),
]


@pytest.mark.parametrize(("file", "says"), LATER)
async def test_what_may_come_later_is_worth_another_try(
    file: File, says: str, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """The order is tried again, with new addresses and credentials."""
    async with web(a=File(**vars(file))) as server:
        with pytest.raises(ActionUnavailableError, match=says):
            await fetch(client, [piece(server, "a")], tmp_path)


async def test_no_error_tells_the_address(client: httpx.AsyncClient, tmp_path: Path, caplog: Any) -> None:
    """Addresses hold tokens; neither message, cause nor our log has them."""
    async with web(a=File(b"<html>")) as server:
        with pytest.raises(ActionError) as refused:
            await fetch(client, [piece(server, "a")], tmp_path)
        gone = piece(server, "b")
    with pytest.raises(ActionUnavailableError) as unreachable:
        await fetch(client, [gone], tmp_path)
    for caught in (refused, unreachable):
        assert "canary-secret" not in repr(caught.value)
        assert "canary-secret" not in repr(caught.value.__cause__)
    assert not any(
        "canary-secret" in record.getMessage() for record in caplog.records if record.name.startswith("bridge")
    )


async def test_a_recorder_that_says_nothing_is_given_up(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """A connection without a byte counts as broken, the whole has a time limit."""
    async with web(a=File(VIDEO, hang=True)) as server:
        with pytest.raises(ActionUnavailableError, match="no answer in time"):
            await fetch(client, [piece(server, "a")], tmp_path, limits=FetchLimits(stall=0.1, tries=2))
        with pytest.raises(ActionUnavailableError, match=r"took longer than 0\.2 s"):
            await fetch(client, [piece(server, "a")], tmp_path, limits=FetchLimits(max_seconds=0.2))


@pytest.mark.parametrize("length", [True, False])
async def test_more_than_allowed_is_refused(client: httpx.AsyncClient, tmp_path: Path, length: bool) -> None:
    """By what the recorder says it will send, and by what it sends."""
    async with web(a=File(VIDEO), b=File(VIDEO, length=length)) as server:
        with pytest.raises(ActionRejectedError, match="more than the 1500000 bytes allowed"):
            await fetch(
                client,
                [piece(server, "a"), piece(server, "b")],
                tmp_path,
                limits=FetchLimits(max_bytes=1_500_000),
            )


async def test_one_bad_piece_does_not_cost_the_others(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """A page instead of a piece is left out at once; one that may come later only when asked for what there is."""
    async with web(a=File(VIDEO), page=File(b"<html>")) as server:
        assert await fetch(client, [piece(server, "page"), piece(server, "a")], tmp_path) == [VIDEO]
        both = [piece(server, "missing"), piece(server, "a")]
        with pytest.raises(ActionUnavailableError, match="404"):
            await fetch(client, both, tmp_path)
        assert await fetch(client, both, tmp_path, partial=True) == [VIDEO]


async def test_cancelling_closes_the_connection(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """A cancelled fetch holds nothing open."""
    async with web(a=File(VIDEO, hang=True)) as server:
        task = asyncio.create_task(fetch(client, [piece(server, "a")], tmp_path))
        async with asyncio.timeout(10):
            while not server.requests:  # noqa: ASYNC110  (what is waited for happens in the server)
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while server.busy:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


async def test_only_http_is_fetched(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """A recorder cannot make the bridge read its own files."""
    with pytest.raises(ActionRejectedError, match="not HTTP"):
        await fetch(client, [Piece(url="file:///etc/passwd", begin=at(0), end=at(1))], tmp_path)
