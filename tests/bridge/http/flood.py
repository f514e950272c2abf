"""Slow clients, a process of their own: `python -m tests.bridge.http.flood PORT SOCKETS` says how long they stayed."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress

ADDRESSES = 150
"""That they come from: so many that the share of one address does not keep them out."""

LASTS = 6.0
"""Seconds for which whoever was hung up on comes again a second later."""
KINDS = (
    b"",
    b"POST /push HT",
    b"POST /push HTTP/1.1\r\nHost: h\r\nX-Slow: ",
    b"POST /push HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n{",
    b"POST /push HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\nPOST /pu",
)


async def _dawdle(port: int, number: int) -> float:
    """Say a byte a second until hung up on; return how long that took."""
    address = f"127.0.1.{1 + number % ADDRESSES}"
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
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


async def _attack(port: int, sockets: int) -> list[float]:
    end = time.monotonic() + LASTS

    async def again_and_again(number: int) -> list[float]:
        stayed = []
        while time.monotonic() < end:
            stayed.append(await _dawdle(port, number))
            await asyncio.sleep(1)
        return stayed

    stayed = await asyncio.gather(*(again_and_again(number) for number in range(sockets)))
    return [seconds for each in stayed for seconds in each]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_attack(int(sys.argv[1]), int(sys.argv[2])))))
