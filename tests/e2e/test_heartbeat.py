"""The heartbeat reaches whoever waits for it: the guide's own rule, through log, engine, runner and socket."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.bridge.actions.receiver import receiving
from tests.e2e.site import bridge

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guide" / "actions.md").read_text(encoding="utf-8")
CONFIG = """\
site: home
http: {{port: 0}}
safety: {{heartbeat: 200ms}}
webhooks: {{watchdog: {{url: "{url}", allow_private: true}}}}
rules: [rules/*.yaml]
"""


@pytest.mark.timeout(120)
async def test_a_dead_man_service_hears_the_bridge_beat(tmp_path: Path) -> None:
    """Each beat is one POST with an id of its own."""
    section = GUIDE.partition("### Be told when the bridge is silent")[2]
    found = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert found is not None
    async with receiving() as receiver:
        async with bridge(tmp_path, CONFIG.format(url=receiver.url), found[1]) as site:
            await site.until(lambda: len(receiver.requests) >= 2)
        ids = {request.headers["webhook-id"] for request in receiver.requests}
        assert {request.method for request in receiver.requests} == {"POST"}
        assert len(ids) == len(receiver.requests)
