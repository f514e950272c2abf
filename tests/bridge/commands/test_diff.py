"""`vms-bridge diff`: files or folders, words or JSON, and exit codes like those of diff."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from bridge.cli import app

RULE = "rules:\n  - {id: r, when: {kind: plate.read}, cooldown: 30s, then: [{open: main-gate}]}\n"


def test_the_exit_code_says_whether_anything_differs(tmp_path: Path) -> None:
    """0 the same, 1 different, 2 trouble."""
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(RULE)
    new.write_text("# as before\n" + RULE)
    same = CliRunner().invoke(app, ["diff", str(old), str(new)])
    assert (same.exit_code, same.output) == (0, "the same in meaning\n")
    new.write_text(RULE.replace("30s", "1m"))
    different = CliRunner().invoke(app, ["diff", str(old), str(new)])
    assert (different.exit_code, different.output) == (1, "~ rule r\n    cooldown: 30s → 1m\n")
    new.write_text(RULE.replace("open:", "opn:"))
    assert CliRunner().invoke(app, ["diff", str(old), str(new)]).exit_code == 2
    assert CliRunner().invoke(app, ["diff", str(old), str(tmp_path / "gone.yaml")]).exit_code == 2


def test_folders_are_compared_as_a_whole(tmp_path: Path) -> None:
    """A rule that moves to another file is no difference."""
    old, new = tmp_path / "old", tmp_path / "new"
    (new / "gates").mkdir(parents=True)
    old.mkdir()
    (old / "a.yaml").write_text(RULE)
    (new / "gates" / "b.yaml").write_text(RULE)
    assert CliRunner().invoke(app, ["diff", str(old), str(new)]).exit_code == 0
    (new / "c.yaml").write_text(RULE.replace("id: r", "id: s").replace("30s", "5s"))
    shown = CliRunner().invoke(app, ["diff", "--json", str(old), str(new)])
    assert shown.exit_code == 1
    assert json.loads(shown.output)["added"] == ["s"]
