"""Steps that wait, and what rules write into the log, through the whole bridge and over its restart."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.e2e.site import Bridge, bridge

CONFIG = """\
site: home
zone: UTC
http: {port: 0, push: {gate: {username: gate, password: s3cret}}}
rules: [rules/*.yaml]
"""
RULES = """\
lists: {guests: {values: []}}
rules:
  - id: guest
    when: {kind: plate.read}
    match: {plate: A}
    then:
      - set_mode: night
      - add_to_list: {list: guests, value: "{{ event.data.plate }}", for: 1h}
      - wait_for: {kind: plate.read, match: {plate: B}, within: 1h, as: second}
      - emit: {kind: custom.both, data: {second: "{{ steps.second.event.data.plate }}"}}
  - id: both
    when: {kind: custom.both}
    if: state("bridge", "mode") == "night"
    then:
      - set_state: {entity: pair, attribute: second, value: "{{ event.data.second }}"}
"""


async def _push(site: Bridge, plate: str) -> None:
    body = {"topic": "LPR", "src": "F00001", "plateNo": plate}
    async with httpx.AsyncClient(base_url=site.running.http.url, auth=("gate", "s3cret")) as http:
        (await http.post("/api/push", json=body)).raise_for_status()


@pytest.mark.timeout(120)
async def test_a_firing_goes_on_after_the_bridge_was_stopped(tmp_path: Path) -> None:
    """What it waited for comes in the bridge's next life; each event of its orders is there once."""
    async with bridge(tmp_path, CONFIG, RULES) as site:
        await _push(site, "A")
        await site.until(lambda: site.of("mode.changed") and site.of("list.changed"))
        [mode], [listed] = site.of("mode.changed"), site.of("list.changed")
        assert (mode.principal, mode.via, mode.hops) == ("rule guest", "rule", 1)
        assert listed.data.model_dump()["added"] == ("A",)
        await site.until(lambda: len(site.of("action.ended")) == 2)
    async with bridge(tmp_path, CONFIG, RULES) as site:
        await _push(site, "B")
        await site.until(lambda: site.of("state.changed"))
        [both], [state] = site.of("custom.both"), site.of("state.changed")
        assert both.data.model_dump() == {"second": "B"}
        assert state.data.model_dump(exclude_none=True) == {"entity": "rules/pair", "attribute": "second", "value": "B"}
        assert (both.hops, state.hops) == (1, 2)
        assert site.of("mode.changed") == []
