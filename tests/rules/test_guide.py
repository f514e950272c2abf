"""What the guide shows is true."""

from __future__ import annotations

import re
from pathlib import Path

from rules.conditions import OPERATORS
from rules.model import RulePart
from rules.ruleset import SiteSettings
from rules.trial import run_trials
from rules.whenmodel import When
from tests.rules.support import ACTIONS, KNOWN, rules_of

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "guide" / "rules.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_of_the_guide_compiles_and_passes() -> None:
    """With the list it shows."""
    [rules] = re.findall(r"```yaml\n(lists:.*?)```", GUIDE, re.DOTALL)
    [table] = re.findall(r"```csv\n(.*?)```", GUIDE, re.DOTALL)
    results = run_trials(rules_of(rules, known=KNOWN, residents=table), ACTIONS)
    assert [str(result) for result in results if not result.passed] == []
    assert len(results) == 1


def test_the_tests_that_the_guide_shows_pass() -> None:
    """At a rule such as they speak of."""
    [tests] = re.findall(r"```yaml\n(tests:.*?)```", GUIDE, re.DOTALL)
    rule = "{id: visitors, when: {kind: plate.read, channel: 1}, match: {plate: {in: visitors}}, cooldown: 30s"
    text = f"lists: {{visitors: {{plates: []}}}}\nrules: [{rule}, then: [{{open: main-gate}}]}}]\n{tests}"
    [result] = run_trials(rules_of(text, known=KNOWN), ACTIONS)
    assert result.passed, str(result)


def test_the_rule_of_the_readme_passes_its_own_test() -> None:
    """Word for word, as whoever copies it would run it."""
    [rules] = re.findall(r"```yaml\n(lists:.*?)```", README, re.DOTALL)
    [table] = re.findall(r"```csv\n(.*?)```", GUIDE, re.DOTALL)
    results = run_trials(rules_of(rules, known=KNOWN, residents=table), ACTIONS)
    assert [str(result) for result in results if not result.passed] == []
    assert len(results) == 1


def test_the_guide_names_every_key_and_operator() -> None:
    """Nothing that a rule may say is missing from it."""
    keys = {info.alias or name for name, info in RulePart.model_fields.items()} - {"description"}
    assert [key for key in keys if f"`{key}`" not in GUIDE] == []
    assert [name for name in OPERATORS.keys() - {"equals"} if name not in GUIDE] == []


def test_the_guide_names_every_way_to_say_when() -> None:
    """Nothing that `when` may say is missing from it, and what it shows as a pattern is one."""
    keys = {info.alias or name for name, info in When.model_fields.items()}
    assert [key for key in keys if not re.search(rf"\b{key}\b", GUIDE)] == []
    section = GUIDE[GUIDE.index("## Patterns over time") : GUIDE.index("**Which events")]
    shown = re.findall(r"^\| `(\{.*?\})` \|", section, re.MULTILINE)
    patterns = [one for cell in shown for one in cell.split("`, `")]
    assert len(patterns) == 15
    words = {"…, sum": "parking.count, sum", "…, field": "parking.count, field", "…, d": "plate.read, d"}
    for pattern in patterns:
        for short, whole in {**words, "…": "call.started", "kind: A": "kind: call.started"}.items():
            pattern = pattern.replace(short, whole)
        pattern = re.sub(r"kind: [BX]\b", "kind: call.ended", pattern)
        text = f"rules: [{{id: r, when: {pattern}, then: [{{webhook: backoffice}}]}}]"
        assert rules_of(text, known=KNOWN, site=SiteSettings("Europe/Berlin", 52.5, 13.4)).rules, pattern
