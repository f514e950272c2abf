"""What the guide for doors says is what the bridge takes, and names no reason that there is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bridge.config.models import DoorConfig, OutputConfig, SafetyConfig
from bridge.safety.reasons import Reason
from bridge.yamlfile import parse_yaml

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs" / "guide" / "doors.md").read_text(encoding="utf-8")
DESIGN = (ROOT / "docs" / "design" / "safety.md").read_text(encoding="utf-8")
BLOCKS: list[dict[str, Any]] = [parse_yaml(text).value for text in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)]


@pytest.mark.parametrize("block", BLOCKS)
def test_what_the_guide_shows_is_right(block: dict[str, Any]) -> None:
    """Every example can be copied."""
    assert block
    for name, model in (("outputs", OutputConfig), ("doors", DoorConfig)):
        for value in block.get(name, {}).values():
            model.model_validate(value)
    SafetyConfig.model_validate(block.get("safety", {}))
    assert set(block) <= {"outputs", "doors", "safety"}


def test_the_reasons_it_explains_exist() -> None:
    """Whoever looks one up finds it."""
    told = re.findall(r"`([a-z_]+)`", GUIDE[GUIDE.index("## When it does not open") :])
    known = {reason.value for reason in Reason} | {"requires", "blocks"}
    assert [word for word in told if word not in known] == []


def test_every_rule_has_its_row_in_the_design() -> None:
    """R1 to R20, each with where it is decided."""
    rows = re.findall(r"^\| (R\d+)(?:, (R\d+))?", DESIGN, re.MULTILINE)
    assert [name for row in rows for name in row if name] == [f"R{n}" for n in range(1, 21)]


def test_the_defaults_that_the_guide_names_are_the_defaults() -> None:
    """The table of what holds a door back says what holds."""
    door, safety = DoorConfig(output="x"), SafetyConfig()
    for what, value in (
        ("`cooldown`", f"{door.cooldown.seconds} s"),
        ("`per_minute`, `per_hour`", f"{door.per_minute}, {door.per_hour}"),
        ("`same_plate`", f"{door.same_plate.seconds} s"),
        ("`max_age`", f"{door.max_age.seconds} s"),
        ("`min_score`", f"{door.min_score:g} of 100"),
    ):
        assert re.search(rf"^\| [^|]+ \| {value} \| {re.escape(what)}", GUIDE, re.MULTILINE), what
    assert f"the first {safety.hold_off.seconds} s after a start" in GUIDE
    assert f"more than {safety.breaker.per_minute} openings a minute" in GUIDE
    assert door.mode == "observe"
