"""Every code that health can show stands in the guide's table, and none that it cannot."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from bridge.runtime.report import _CURES
from bridge.runtime.supervisor import _REASON

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs/guide/troubles.md").read_text(encoding="utf-8")
SAY = {"degraded": 0, "down": 0, "on_flaw": 0, "_show": 0, "_bad": 0, "_flaw": 0, "set": 2, "PartState": 3, "_Wrong": 0}
"""Calls that name a code, and as which argument."""
WAITS = {"QUICK", "SLOW"}
"""What stands second where the supervisor says how a session has ended."""


def _sources() -> Iterator[Path]:
    for package in ("bridge", "connectors"):
        yield from (path for path in (ROOT / package).rglob("*.py") if "simulator" not in path.parts)


def _codes(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        said: ast.expr | None = None
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            place = SAY.get(name, len(node.args))
            said = node.args[place] if place < len(node.args) else None
            if name == "set" and "Level" not in ast.unparse(node):
                said = None
        elif isinstance(node, ast.Tuple) and len(node.elts) > 1 and getattr(node.elts[1], "id", "") in WAITS:
            said = node.elts[0]
        of = said.value if isinstance(said, ast.Subscript) else said
        found = known.get(of.id) if isinstance(of, ast.Name) else of
        for one in found.values if isinstance(found, ast.Dict) else [found]:
            if isinstance(one, ast.Constant) and isinstance(one.value, str) and one.value:
                yield one.value


def _table(heading: str, column: int) -> set[str]:
    section = GUIDE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" |") for line in section.splitlines() if line.startswith("|")]
    return {code for row in rows if column < len(row) for code in re.findall(r"`([a-z_]+)`", row[column])}


def test_every_code_that_health_can_show_is_explained() -> None:
    """Found in the code itself, so that a new one cannot be forgotten; and the page explains no other."""
    produced = {code for path in _sources() for code in _codes(path)}
    assert {"unavailable", "unreadable_message", "topics_refused", "store_damaged", "broken"} <= produced
    assert produced == _table("All codes", 0)


def test_every_trouble_of_a_source_has_its_case() -> None:
    """What a source can be down or degraded for is in the table of cases."""
    cases = _table("Sources", 2)
    down = {code for code, _ in _REASON.values()} | set(_CURES) | {"starting"}
    flaws = {code for path in (ROOT / "connectors").rglob("*.py") for code in _codes(path)}
    assert cases == down | flaws | {"unreadable_message", "not_written"}
