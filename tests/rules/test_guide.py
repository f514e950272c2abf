"""What the guide shows is true."""

from __future__ import annotations

import re
from pathlib import Path

from rules.conditions import OPERATORS
from rules.model import RulePart
from rules.trial import run_trials
from tests.rules.support import ACTIONS, KNOWN, rules_of

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guide" / "rules.md").read_text(encoding="utf-8")


def test_the_example_of_the_guide_compiles_and_passes() -> None:
    """With the list it shows."""
    [rules] = re.findall(r"```yaml\n(lists:.*?)```", GUIDE, re.DOTALL)
    [table] = re.findall(r"```csv\n(.*?)```", GUIDE, re.DOTALL)
    results = run_trials(rules_of(rules, known=KNOWN, residents=table), ACTIONS)
    assert [str(result) for result in results if not result.passed] == []
    assert len(results) == 1


def test_the_guide_names_every_key_and_operator() -> None:
    """Nothing that a rule may say is missing from it."""
    keys = {info.alias or name for name, info in RulePart.model_fields.items()} - {"description"}
    assert [key for key in keys if f"`{key}`" not in GUIDE] == []
    assert [name for name in OPERATORS.keys() - {"equals"} if name not in GUIDE] == []
