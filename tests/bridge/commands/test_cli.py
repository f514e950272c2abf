"""The command line as a whole."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from bridge.cli import app
from bridge.commands.output import Exit
from tests.bridge.commands.helpers import ROOT, environment

COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]
PAGE = (ROOT / "docs/ref/cli.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_reference_and_has_help(name: str) -> None:
    """A command that nobody can find does not exist."""
    assert re.search(rf"^## `vms-bridge {name}\b", PAGE, re.MULTILINE)
    if name != "simulate":  # hands --help on to the simulator
        shown = CliRunner().invoke(app, [name, "--help"])
        assert shown.exit_code == 0
        assert shown.stdout.strip()


def test_the_reference_names_no_other_command() -> None:
    """What was removed is removed there too."""
    assert sorted(re.findall(r"^## `vms-bridge (\w+)", PAGE, re.MULTILINE)) == COMMANDS


@pytest.mark.parametrize("name", ["test", "explain", "backtest", "bench"])
def test_the_reference_names_every_option_and_name_below(name: str) -> None:
    """Of the commands whose section lists them."""
    section = re.split(r"^## ", PAGE.partition(f"\n## `vms-bridge {name}")[2], maxsplit=1, flags=re.MULTILINE)[0]
    asked = get_command(app).commands[name]  # type: ignore[attr-defined]
    below: dict[str, Any] = getattr(asked, "commands", {})
    told = {option for one in (asked, *below.values()) for param in one.params for option in param.opts}
    wanted = {option for option in told if option.startswith("-")} - {"--config", "-c", "--help"}
    missing = [one for one in wanted | set(below) if not re.search(rf"`[^`]*(?<![\w-]){re.escape(one)}\b", section)]
    assert missing == []


def test_the_mode_is_shown_with_a_time_of_the_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the second; a script gets what the bridge said."""
    (tmp_path / "bridge.yaml").write_text("site: home\nzone: Asia/Kathmandu\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    told = {"mode": "away", "since": "2026-01-10T02:12:58.123456+00:00", "modes": ["away", "home"]}
    monkeypatch.setattr("bridge.commands.lists.ask", lambda *_: told)
    shown = CliRunner().invoke(app, ["mode", "show"])
    assert shown.stdout == "away, since 2026-01-10 07:57:58\nthere are: away, home\n", shown.stderr
    assert json.loads(CliRunner().invoke(app, ["mode", "show", "--json"]).stdout) == told


def test_every_exit_code_is_in_the_reference() -> None:
    """Scripts rely on them."""
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)] == sorted(Exit)


def test_help_imports_no_heavy_library() -> None:
    """Whoever asks for help waits for nothing."""
    code = (
        "import sys; from typer.testing import CliRunner; from bridge.cli import app;"
        "assert all(CliRunner().invoke(app, [c, '--help']).exit_code == 0 for c in ('events', 'doctor', 'init'));"
        "bad = {'nats', 'httpx', 'av', 'uvicorn', 'faststream'} & set(sys.modules);"
        "print(bad); raise SystemExit(bool(bad))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
