"""`vms-bridge reload`, SIGHUP and saved files, with a bridge that runs."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.bridge.commands.helpers import cli, going, here, write_site

MORE = """\
webhooks: {backoffice: {url: https://example.org/hook}}
sources: {nvr1: {type: ts-api, url: http://127.0.0.1:9, username: a, password: b}}
outputs: {barrier: {source: nvr1, channel: 1, relay: relay-1, idle: "off"}}
doors: {gate: {output: barrier}}
"""
RULE = "rules:\n  - id: {name}\n    when: {{kind: plate.read}}\n    then: [{{{then}}}]\n"


def test_rules_change_while_the_bridge_runs(tmp_path: Path) -> None:
    """By themselves, by a signal, and with a person's word; a mistake is shown with its place and changes nothing."""
    write_site(tmp_path, MORE)
    (tmp_path / "rules").mkdir()
    file = tmp_path / "rules" / "a.yaml"
    file.write_text(RULE.format(name="one", then="webhook: backoffice"))
    with going("run", cwd=tmp_path) as program:
        program.line("listening on", "err")
        file.write_text(RULE.format(name="two", then="webhok: backoffice"))
        refused = cli("reload", cwd=tmp_path)
        assert refused.returncode == 2
        assert "rules/a.yaml:4:13: rule two: unknown action" in refused.stderr
        file.write_text(RULE.format(name="three", then="webhook: backoffice"))
        program.line("count from now on", "err")
        file.write_text(RULE.format(name="four", then="webhook: backoffice"))
        program.process.send_signal(signal.SIGHUP)
        program.line("count from now on", "err")
        file.write_text(RULE.format(name="five", then="open: gate"))
        waits = json.loads(cli("reload", "--json", cwd=tmp_path).stdout)
        assert (waits["outcome"], waits["moving"]) == ("waits", ["five"])
        agreed = cli("reload", "--confirm", waits["confirm"], "-r", "a new gate", cwd=tmp_path)
        said = ["new: five, and may move things", "gone: four", "1 rules decide from now on"]
        assert agreed.stdout.splitlines() == said
        told = cli("events", "--kind", "rules.changed", "--json", cwd=tmp_path).stdout
    trail = here("audit", "export", "--config", str(tmp_path / "bridge.yaml")).stdout
    records = [json.loads(line)["record"] for line in trail.splitlines()]
    asked = [one["what"] for one in records if one["kind"] == "command.given"]
    assert [one["outcome"] for one in asked] == ["refused", "waits", "changed"]
    assert (asked[-1]["target"], asked[-1]["reason"]) == (waits["confirm"], "a new gate")
    assert [one["way"] for one in records if one["kind"] == "rules.changed"] == ["file", "file", "file", "cli"]
    events = [json.loads(line) for line in told.splitlines()]
    assert [event["data"].get("added") for event in events] == [["one"], ["three"], ["four"], ["five"]]
    assert [event["origin"] for event in events] == ["bridge", "bridge", "bridge", "command"]
    assert events[-1]["principal"].startswith("cli:")
