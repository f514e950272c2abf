"""`vms-bridge explain` against a real site: through the running bridge, and without one."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bridge.commands.helpers import cli, going, write_site

RULES = """
rules:
  - id: hello
    when: {kind: bridge.started}
    then: [{webhook: nobody}]
  - id: never
    when: {kind: bridge.started}
    if: "false"
    then: [{webhook: nobody}]
  - id: moved
    when: {kind: motion.started}
    then: [{webhook: nobody}]
"""
MORE = """
rules: [rules.yaml]
webhooks: {nobody: {url: "http://127.0.0.1:9/"}}
"""


def test_a_person_asks_why(site: Path) -> None:
    """While the bridge runs and when it has stopped; by time, by rule, by event; nothing is written."""
    write_site(site, MORE)
    (site / "rules.yaml").write_text(RULES, encoding="utf-8")
    with going("run", cwd=site) as bridge:
        bridge.line("listening", "err")
        shown = cli("explain", "--since", "1h", cwd=site)
        assert shown.returncode == 0, shown.stderr
        assert "  FIRED        hello" in shown.stdout
        assert "webhook (to=nobody): " in shown.stdout
        assert "  not fired    never " in shown.stdout
        assert "moved" not in shown.stdout
    before = cli("events", "--json", "--all", cwd=site).stdout
    started = next(one for one in map(json.loads, before.splitlines()) if one["type"] == "bridge.started")
    shown = cli("explain", started["id"], "--json", cwd=site)
    assert shown.returncode == 0, shown.stderr
    told = json.loads(shown.stdout)
    assert {one["rule"]: (one["fired"], one["from"]) for one in told["answers"]} == {
        "hello": (True, "kept"),
        "never": (False, "kept"),
    }
    assert (told["about_something_else"], told["unknown"], told["notes"]) == (1, False, [])
    one = cli("explain", str(told["seq"]), "--rule", "moved", cwd=site)
    assert "  not fired    moved" in one.stdout
    assert "when.kind: wanted motion.started, saw bridge.started" in one.stdout
    assert cli("events", "--json", "--all", cwd=site).stdout == before


def test_what_cannot_be_explained_is_said(site: Path) -> None:
    """Cause and cure."""
    write_site(site)
    assert "name an event, or say --since" in cli("explain", cwd=site).stderr
    shown = cli("explain", "--since", "soon", cwd=site)
    assert (shown.returncode, "--since: 'soon' is neither" in shown.stderr) == (2, True)
    assert "start the bridge first" in cli("explain", "x", cwd=site).stderr
