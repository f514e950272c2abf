"""A time that was up while the bridge was away: it does not take its own absence for somebody's silence."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from bridge.bus.pull import scan
from bridge.schema.event import VmsEvent
from tests.e2e.site import Bridge, bridge

CONFIG = """\
site: home
http: {port: 0, push: {gate: {username: gate, password: s3cret}}}
rules: [rules/*.yaml]
"""
RULES = """\
rules:
  - id: alone
    when: {absent: {kind: plate.read, match: {plate: B}}, after: {kind: plate.read, match: {plate: A}}, within: 5s}
    then: [{emit: custom.alone}]
  - id: unknown
    when: {absent: {kind: plate.read, match: {plate: B}}, after: {kind: plate.read}, within: 5s, include: inconclusive}
    then: [{emit: custom.unknown}]
"""
OTHER = """\
  - id: other
    when: {kind: call.started}
    then: [{emit: custom.other}]
"""


async def _log(site: Bridge) -> list[VmsEvent]:
    bus = site.running.bus
    batches = [batch async for batch in scan(bus.connection, bus.stream("EVENTS"))]
    return [VmsEvent.decode(message.data) for batch in batches for message in batch]


@pytest.mark.timeout(120)
async def test_what_was_due_while_the_bridge_was_away_is_not_believed(tmp_path: Path) -> None:
    """Other rules come with the restart: nothing else comes before the log says that the bridge was away."""
    async with bridge(tmp_path, CONFIG, RULES) as site:
        body = {"topic": "LPR", "src": "F00001", "plateNo": "A"}
        async with httpx.AsyncClient(base_url=site.running.http.url, auth=("gate", "s3cret")) as http:
            (await http.post("/api/push", json=body)).raise_for_status()
        await site.until(lambda: site.of("plate.read"))
        due = site.of("plate.read")[0].received + timedelta(seconds=5)
        kinds = [event.type for event in await _log(site)]
    assert "bridge.tick" not in kinds
    await asyncio.sleep((due - datetime.now(UTC)).total_seconds() + 0.1)  # it is up, and nobody is there
    async with bridge(tmp_path, CONFIG, RULES + OTHER) as site:
        async with asyncio.timeout(30):
            while not any(event.type == "custom.unknown" for event in await _log(site)):  # noqa: ASYNC110 - it is for the log to say
                await asyncio.sleep(0.1)
        life = [event.type for event in (await _log(site))[len(kinds) :]]
        [*_, started] = [event for event in await _log(site) if event.type == "bridge.started"]
    assert life[:2] == ["rules.changed", "bridge.started"]
    assert started.data.sources == ()  # those that it listens to: a client that pushes is none
    assert "custom.alone" not in life
