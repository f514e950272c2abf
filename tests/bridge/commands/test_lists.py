"""`vms-bridge list` and `mode` with a bridge that runs, that dies, and that runs again."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.bridge.commands.helpers import cli, going, here, write_site

RULES = """
lists:
  residents: {plates: residents.csv, tags: [visitor]}
rules:
  - id: in
    when: {kind: plate.read}
    match: {plate: {in: residents}}
    mode: {not: away}
    then: [{webhook: backoffice}]
"""


def test_a_yes_outlives_the_bridge(tmp_path: Path) -> None:
    """What was answered stands in the log: killed right afterwards, the bridge knows it when it is back."""
    write_site(tmp_path, "webhooks: {backoffice: {url: https://example.org/hook}}\nmodes: [home, away]")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "a.yaml").write_text(RULES)
    (tmp_path / "rules" / "residents.csv").write_text("plate\nA1\n")
    with going("run", cwd=tmp_path) as program:
        program.line("listening on", "err")
        options = ("--until", "2099-01-31", "--tag", "visitor")
        done = cli("list", "add", "residents", "vis 17", "B2", *options, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, "added: VIS17, B2\n"), done.stderr
        assert cli("mode", "set", "away", "-r", "holidays", cwd=tmp_path).stdout == "away\n"
        assert cli("list", "remove", "residents", "A1", "--json", cwd=tmp_path).returncode == 0
        program.process.send_signal(signal.SIGKILL)
    with going("run", cwd=tmp_path) as program:
        program.line("listening on", "err")
        shown = cli("list", "show", "residents", cwd=tmp_path).stdout.splitlines()
        assert shown == [
            "residents: 1 in the file, 3 changed since",
            "A1, not listed",
            "B2, listed, until 2099-01-31T23:00:00+00:00, #visitor",  # the end of that day in Berlin
            "VIS17, listed, until 2099-01-31T23:00:00+00:00, #visitor",
        ]
        assert json.loads(cli("mode", "show", "--json", cwd=tmp_path).stdout)["mode"] == "away"
    records = _exported(tmp_path)
    who = records[1]["who"]
    assert who.startswith("cli:")
    assert [(one["kind"], one["way"], one.get("who")) for one in records] == [
        ("rules.changed", "file", None), ("list.changed", "cli", who), ("mode.changed", "cli", who),
        ("list.changed", "cli", who),
    ]  # fmt: skip
    assert (records[2]["what"]["mode"], records[2]["what"]["reason"]) == ("away", "holidays")
    assert [one["n"] for one in _exported(tmp_path, "--plate", "VIS17")] == [2]
    assert "VIS17" not in json.dumps(records)
    assert json.loads(_audit(tmp_path, "erase", "VIS17", "--json")) == {"erased": True, "letters": 0}
    assert json.loads(_audit(tmp_path, "verify", "--json"))["state"] != "altered"


def test_no_lists_are_said_to_be_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty answer leaves nobody wondering."""
    write_site(tmp_path, "")
    monkeypatch.setattr("bridge.commands.lists.ask", lambda *_: {"lists": []})
    shown = here("list", "show", "--config", str(tmp_path / "bridge.yaml"))
    assert shown.stdout == "there are no lists; they are written under `lists` in a rule file\n"


def _audit(site: Path, *arguments: str) -> str:
    done = here("audit", *arguments, "--config", str(site / "bridge.yaml"))
    assert done.exit_code == 0, done.output
    return done.stdout


def _exported(site: Path, *options: str) -> list[dict[str, Any]]:
    return [json.loads(line)["record"] for line in _audit(site, "export", *options).splitlines()]
