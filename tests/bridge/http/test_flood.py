"""Many bad clients at once: each of them is gone within ten seconds, and good ones hardly notice.

`VMS_BRIDGE_SLOW_SOCKETS=2000` is the long form.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections import Counter
from contextlib import suppress

import httpx
import pytest

from bridge.http.app import HttpServer
from tests.bridge.http.harness import BOOTH, Log, serving

SOCKETS = int(os.environ.get("VMS_BRIDGE_SLOW_SOCKETS", "300"))
ADDRESSES = 150
"""That the bad ones come from: so many that the share of one address does not keep them out."""
PATIENCE = 10.0
GOOD_P99 = 0.25

KINDS = (
    b"",
    b"POST /push HT",
    b"POST /push HTTP/1.1\r\nHost: h\r\nX-Slow: ",
    b"POST /push HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n{",
    b"POST /push HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\nPOST /pu",
)


async def _dawdle(server: HttpServer, number: int) -> float:
    """Say a byte a second until hung up on; return how long that took."""
    address = f"127.0.1.{1 + number % ADDRESSES}"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=(address, 0))
    began = time.monotonic()
    drip = asyncio.create_task(_drip(writer, KINDS[number % len(KINDS)]))
    try:
        with suppress(ConnectionError):
            while await reader.read(4096):
                pass
        return time.monotonic() - began
    finally:
        drip.cancel()
        writer.transport.abort()
        await asyncio.wait([drip])


async def _drip(writer: asyncio.StreamWriter, first: bytes) -> None:
    with suppress(ConnectionError):
        writer.write(first)
        while True:
            await asyncio.sleep(1)
            writer.write(b"x")


async def _good(server: HttpServer, stop: asyncio.Event) -> list[float]:
    """Push ten times a second, on a connection that is kept, and on a new one each time, in turn."""
    took: list[float] = []
    async with httpx.AsyncClient(base_url=server.url, auth=BOOTH, timeout=10) as kept:
        while not stop.is_set():
            began = time.monotonic()
            if len(took) % 2:
                answer = await kept.post("/push", json={"plate": f"A{len(took)}"})
            else:
                async with httpx.AsyncClient(base_url=server.url, auth=BOOTH, timeout=10) as fresh:
                    began = time.monotonic()
                    answer = await fresh.post("/push", json={"plate": f"A{len(took)}"})
            took.append(time.monotonic() - began)
            assert answer.status_code == 200
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await stop.wait()
    return took


async def test_slow_clients_do_not_keep_good_ones_out() -> None:
    """All of them are hung up on in time, and good pushes are stored as fast as ever."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < SOCKETS * 2 + 200:
        if hard < SOCKETS * 2 + 200:
            pytest.skip("this machine does not allow so many sockets")
        resource.setrlimit(resource.RLIMIT_NOFILE, (SOCKETS * 2 + 200, hard))
    log, stop = Log(), asyncio.Event()
    try:
        async with serving(log) as server:
            good = asyncio.create_task(_good(server, stop))
            slow = await asyncio.gather(*(_dawdle(server, number) for number in range(SOCKETS)))
            stop.set()
            took = sorted(await good)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    p99 = took[min(len(took) - 1, int(len(took) * 0.99))]
    why = Counter(reason for _, reason in log.seen)
    print(f"{SOCKETS} slow: longest {max(slow):.2f} s; {len(took)} good: p99 {p99 * 1000:.0f} ms; {dict(why)}")
    assert max(slow) <= PATIENCE
    assert len(took) >= 20
    assert p99 <= GOOD_P99
    assert set(why) <= {"slow_first_byte", "slow_header", "slow_body", "made_room", "no_credentials"}
