"""Download recorded pieces over HTTP into a folder: two at a time, resumed after a break, never more than allowed.

What comes is believed only as far as it looks like video: no redirect is followed, no web page is stored,
no packed body is unpacked. Addresses and headers carry credentials and appear in no message. Nothing is
demuxed here.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import httpx

from bridge.clock import Clock, SystemClock
from bridge.contracts import Piece
from bridge.errors import ActionRejectedError, ActionUnavailableError
from bridge.media.folder import storage_errors
from bridge.media.job import PieceFile
from bridge.media.sniff import HEAD, container_of, looks_like

log = logging.getLogger(__name__)

_CHUNK: Final = 256 * 1024
_NOT_MEDIA: Final = re.compile(r"text/|application/(json|xml|xhtml|.*mpegurl)|audio/.*mpegurl|image/", re.I)
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_TRY_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that another connection may change."""
_LATER: Final = {
    401: "refuses our credentials",
    403: "refuses our credentials",
    404: "does not have the recording (yet, or no longer)",
    410: "no longer has the recording",
}
"""Answers that another try of the whole order may change: it asks for addresses anew."""


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What fetching the pieces of one clip may use."""

    max_bytes: int = 4 * 1024**3
    """Of all pieces together."""
    max_seconds: float = 600
    """For all pieces together."""
    stall: float = 20
    """Seconds without a byte before a connection counts as broken."""
    tries: int = 4
    """Connections per piece."""
    parallel: int = 2


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fetch is; `total` is None while not every size is known."""

    done: int
    total: int | None
    pieces_done: int
    pieces: int


OnProgress = Callable[[Progress], None]


async def fetch_pieces(
    client: httpx.AsyncClient,
    pieces: Sequence[Piece],
    folder: Path,
    *,
    partial: bool = False,
    limits: FetchLimits | None = None,
    clock: Clock | None = None,
    on_progress: OnProgress | None = None,
) -> list[PieceFile]:
    """Download pieces into an existing folder and return those that came, in the order given.

    A piece that is no video is left out while others are there: the cut says what is missing. One that could not be
    had now fails the fetch, so that it is tried again; with `partial` it is left out too.

    Raises:
        ActionUnavailableError: the far side did not deliver, or the disk is full; worth another try.
        ActionRejectedError: nothing it delivers is video, or it is more than allowed.
    """
    fetch = _Fetch(client, folder, limits or FetchLimits(), clock or SystemClock(), on_progress, len(pieces))
    try:
        async with asyncio.timeout(fetch.limits.max_seconds):
            outcomes = await fetch.run(pieces)
    except TimeoutError as exc:
        raise ActionUnavailableError(
            f"fetching the recordings took longer than {fetch.limits.max_seconds:g} s"
        ) from exc
    files = [each for each in outcomes if isinstance(each, PieceFile)]
    for outcome in outcomes:
        if isinstance(outcome, ActionRejectedError) and (not files or outcome.reason == "too_large"):
            raise outcome
        if isinstance(outcome, ActionUnavailableError) and not (partial and files):
            raise outcome
        if not isinstance(outcome, PieceFile):
            log.warning("recorded piece left out", extra={"error": str(outcome)})
    return files


class _BrokenError(Exception):
    """A connection did not bring all of it; the next one goes on from there."""


@dataclass(slots=True)
class _Download:
    """One piece on its way: how much is here, and how to tell that the rest belongs to it."""

    index: int
    piece: Piece
    path: Path
    got: int = 0
    total: int | None = None
    validator: str | None = None
    finished: bool = False

    def request_headers(self) -> dict[str, str]:
        """Return the caller's headers and, after a break, the range that is still to come."""
        headers = {**self.piece.headers, "Accept-Encoding": "identity"}
        if self.got:
            headers["Range"] = f"bytes={self.got}-"
            if self.validator is not None:
                headers["If-Range"] = self.validator
        return headers

    def accept(self, response: httpx.Response) -> None:
        """Take note of what the answer says; begin anew if it does not continue what is here."""
        length = response.headers.get("content-length", "")
        told = int(length) if length.isdigit() else None
        match = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
        if response.status_code == httpx.codes.PARTIAL_CONTENT and match is not None:
            total = int(match[2]) if match[2].isdigit() else None
            if int(match[1]) == self.got and total in (self.total, None):
                return
            self.restart()
            raise _BrokenError("the recording changed meanwhile")
        self.restart()
        self.total = told
        tag = response.headers.get("etag", "")
        self.validator = tag if tag and not tag.startswith("W/") else response.headers.get("last-modified")

    def restart(self) -> None:
        """Forget what came so far."""
        self.got, self.total, self.validator = 0, None, None


class _Fetch:
    """The downloads of one clip: they share the byte budget and the progress."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        folder: Path,
        limits: FetchLimits,
        clock: Clock,
        on_progress: OnProgress | None,
        count: int,
    ) -> None:
        self.limits = limits
        self._client, self._folder, self._clock, self._on_progress = client, folder, clock, on_progress
        self._count = count
        self._downloads: list[_Download] = []

    async def run(self, pieces: Sequence[Piece]) -> list[PieceFile | ActionUnavailableError | ActionRejectedError]:
        """Fetch all; an error that concerns one piece is its outcome."""
        gate = asyncio.Semaphore(self.limits.parallel)
        self._downloads = [_Download(n, piece, self._folder / f"{n:04d}.piece") for n, piece in enumerate(pieces)]

        async def one(download: _Download) -> PieceFile | ActionUnavailableError | ActionRejectedError:
            async with gate:
                try:
                    await self._fetch(download)
                except (ActionUnavailableError, ActionRejectedError) as exc:
                    return exc
            return PieceFile(path=download.path, begin=download.piece.begin, end=download.piece.end)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(each), name=f"fetch[{each.index}]") for each in self._downloads]
        return [task.result() for task in tasks]

    async def _fetch(self, download: _Download) -> None:
        why = ""
        for attempt in range(self.limits.tries):
            if attempt:
                await self._clock.sleep(random.uniform(0.5, 1) * min(10, 2 ** (attempt - 1)))
            try:
                await self._connect(download)
            except _BrokenError as exc:
                why = str(exc)
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as exc:
                raise ActionRejectedError("the recording's address cannot be used", "bad_address") from exc
            except httpx.TransportError as exc:
                why = _in_words(exc)
            else:
                download.finished = True
                self._tell()
                return
        raise ActionUnavailableError(f"the recording could not be fetched in {self.limits.tries} tries: {why}")

    async def _connect(self, download: _Download) -> None:
        if not download.piece.url.lower().startswith(("http://", "https://")):
            raise ActionRejectedError("the recording's address is not HTTP", "bad_address")
        timeout = httpx.Timeout(self.limits.stall, connect=min(10.0, self.limits.stall), pool=None)
        async with self._client.stream(
            "GET",
            download.piece.url,
            headers=download.request_headers(),
            follow_redirects=False,
            timeout=timeout,
        ) as response:
            _check_status(response, download)
            _check_type(response)
            download.accept(response)
            self._check_budget(download, download.total or 0)
            # Not in a thread: who is cancelled while a thread opens a file has nothing to close.
            file = _open_at(download.path, download.got)
            try:
                await self._receive(response, download, file)
            finally:
                await asyncio.shield(asyncio.to_thread(file.close))
        if not download.got:
            raise _BrokenError("it sent nothing")
        if download.total is not None and download.got != download.total:
            raise _BrokenError("the connection ended early")

    async def _receive(self, response: httpx.Response, download: _Download, file: IO[bytes]) -> None:
        """Store what comes; when the connection breaks, all that came before is kept."""
        buffer = bytearray()
        try:
            async for chunk in response.aiter_raw():
                buffer += chunk
                self._check_budget(download, download.got + len(buffer))
                if len(buffer) >= _CHUNK:
                    await self._store(download, file, buffer)
        except httpx.TransportError:
            if download.got or len(buffer) >= HEAD:  # less cannot be told to be video yet
                await self._store(download, file, buffer)
            raise
        if buffer:
            await self._store(download, file, buffer)

    async def _store(self, download: _Download, file: IO[bytes], buffer: bytearray) -> None:
        if download.got == 0 and container_of(bytes(buffer[:HEAD])) is None:
            what = looks_like(bytes(buffer[:HEAD]))
            buffer.clear()
            raise ActionRejectedError(f"the recorder sent {what} for a recording", "not_video")
        data = bytes(buffer)
        buffer.clear()
        with storage_errors("storing a recording"):
            await asyncio.to_thread(file.write, data)
        download.got += len(data)
        self._tell()

    def _check_budget(self, download: _Download, size: int) -> None:
        others = sum(each.got for each in self._downloads if each is not download)
        if others + size > self.limits.max_bytes:
            raise ActionRejectedError(
                f"the recordings are more than the {self.limits.max_bytes} bytes allowed", "too_large"
            )

    def _tell(self) -> None:
        if self._on_progress is None:
            return
        totals = [each.total for each in self._downloads]
        known = [total for total in totals if total is not None]
        self._on_progress(
            Progress(
                done=sum(each.got for each in self._downloads),
                total=sum(known) if len(known) == len(totals) else None,
                pieces_done=sum(each.finished for each in self._downloads),
                pieces=self._count,
            )
        )


def _check_status(response: httpx.Response, download: _Download) -> None:
    code = response.status_code
    if code in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        return
    if code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
        download.restart()
        raise _BrokenError("the recording changed meanwhile")
    if code in _TRY_AGAIN:
        raise _BrokenError(f"the recorder answered {code}")
    if code in _LATER:
        raise ActionUnavailableError(f"the recorder {_LATER[code]} ({code})")
    if response.is_redirect:
        raise ActionRejectedError("the recorder redirects to another address, which is not followed", "redirect")
    raise ActionRejectedError(f"the recorder refused to give the recording ({code})", "refused")


def _check_type(response: httpx.Response) -> None:
    kind = response.headers.get("content-type", "").partition(";")[0].strip()
    if _NOT_MEDIA.match(kind):
        raise ActionRejectedError(f"the recorder sent {kind[:40]} for a recording", "not_video")
    packing = response.headers.get("content-encoding", "identity").lower()
    if packing not in ("", "identity"):
        raise ActionRejectedError("the recorder sent a packed body, which is not unpacked", "not_video")


def _in_words(error: httpx.TransportError) -> str:
    """Say what broke, without the address, which may hold a token."""
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx.ConnectError):
        return "no connection"
    return "the connection broke"


def _open_at(path: Path, offset: int) -> IO[bytes]:
    with storage_errors("storing a recording"):
        file: IO[bytes] = path.open("r+b" if offset else "wb")
        file.seek(offset)
        file.truncate()
        return file
