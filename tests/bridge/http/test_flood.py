"""Many bad clients at once: each of them is gone within ten seconds, and good ones hardly notice.

`VMS_BRIDGE_SLOW_SOCKETS=2000` is the long form.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from bridge.http.app import HttpServer
from tests.bridge.http.harness import BOOTH, Log, serving

ROOT = Path(__file__).resolve().parents[3]
SOCKETS = int(os.environ.get("VMS_BRIDGE_SLOW_SOCKETS", "300"))
PATIENCE = 10.0
GOOD_P99 = 0.25 if "VMS_BRIDGE_SLOW_SOCKETS" in os.environ else PATIENCE
"""How fast good ones are is a matter of the long form, which is run alone."""


async def _attacked(server: HttpServer) -> list[float]:
    """Have slow clients come, from a process of their own; return how long each was suffered."""
    program = [sys.executable, "-m", "tests.bridge.http.flood", str(server.port), str(SOCKETS)]
    process = await asyncio.create_subprocess_exec(
        *program, stdout=asyncio.subprocess.PIPE, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    found: list[float] = json.loads(said)
    return found


async def _good(server: HttpServer, stop: asyncio.Event) -> list[float]:
    """Push again and again, on a connection that is kept, and on a new one each time, in turn."""
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
                async with asyncio.timeout(0.02):
                    await stop.wait()
    return took


async def test_slow_clients_do_not_keep_good_ones_out() -> None:
    """All of them are hung up on in time, and good pushes are stored meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < SOCKETS + 500:
        if hard < SOCKETS + 500:
            pytest.skip("this machine does not allow so many sockets")
        resource.setrlimit(resource.RLIMIT_NOFILE, (SOCKETS + 500, hard))
    log, stop = Log(), asyncio.Event()
    try:
        async with serving(log) as server:
            good = asyncio.create_task(_good(server, stop))
            slow = await _attacked(server)
            stop.set()
            took = sorted(await good)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    p99 = took[min(len(took) - 1, int(len(took) * 0.99))]
    why = Counter(reason for _, reason in log.seen)
    print(f"{SOCKETS} slow, {len(slow)} times: longest {max(slow):.2f} s; {len(took)} good: p99 {p99:.3f} s; {why}")
    assert max(slow) <= PATIENCE
    assert len(took) >= 20, "the good ones had no chance to show anything"
    assert p99 <= GOOD_P99
    assert set(why) <= {
        "slow_first_byte",
        "slow_header",
        "slow_body",
        "made_room",
        "no_credentials",
        "too_many_from_address",
    }
