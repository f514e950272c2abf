"""The ten jobs of the guide: each is a shipped rule file that does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest

from bridge.actions import BUILTIN as ACTIONS
from bridge.config.load import Loaded, load
from bridge.config.reference import config_schema
from bridge.registry import Registry
from bridge.rulebook import action_specs, compile_files, compile_site, shipped_examples
from bridge.yamlfile import parse_yaml
from rules.ruleset import RuleSet
from rules.trial import run_trials
from tests.rules.support import rules_of
from tests.test_docs import shipped

ROOT = Path(__file__).resolve().parents[2]
JOBS = ROOT / "rules" / "examples" / "jobs"
FILES = shipped_examples()[1]
PAGE = (ROOT / "docs" / "guide" / "jobs.md").read_text(encoding="utf-8")
SPECS = action_specs(Registry("action", ACTIONS, "vms_bridge.none"))


def _site() -> Loaded:
    return load(JOBS / "bridge.yaml", Registry("source type", {"ts-api": "connectors.ts_api:SPEC"}, "vms_bridge.none"))


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    """All ten together, at their site."""
    return compile_site(_site(), SPECS)


def test_there_are_ten() -> None:
    """One file for each chapter of the page."""
    assert len(FILES) == 10
    assert len(re.findall(r"^## \d+\. ", PAGE, re.MULTILINE)) == 10


def test_the_jobs_fit_their_site_without_warnings(rules: RuleSet) -> None:
    """Every door, output, webhook, list and mode that they name is there."""
    assert rules.warnings == ()


def test_the_site_fits_its_schema() -> None:
    """An editor marks nothing in it."""
    content = parse_yaml((JOBS / "bridge.yaml").read_text(encoding="utf-8")).value
    validator = jsonschema.Draft202012Validator(config_schema(shipped()))
    assert [error.message for error in validator.iter_errors(content)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_job_passes_its_tests_by_itself(path: Path) -> None:
    """As whoever copies that one file would run it."""
    results = run_trials(compile_files([path], SPECS), SPECS)
    assert [str(result) for result in results if not result.passed] == []


def test_every_rule_of_the_jobs_fires_in_some_test(rules: RuleSet) -> None:
    """No shipped rule is without a test that makes it fire."""
    results = run_trials(rules, SPECS)
    assert [str(result) for result in results if not result.passed] == []
    fired = {trace.rule for result in results for trace in result.traces if trace.fired}
    assert {rule.id for rule in rules.rules} - fired == set()


@pytest.mark.parametrize("path", [JOBS / "bridge.yaml", *FILES], ids=lambda path: path.stem)
def test_the_page_shows_the_shipped_file(path: Path) -> None:
    """Word for word up to its tests, under a link to it."""
    relative = path.relative_to(ROOT).as_posix()
    text = path.read_text(encoding="utf-8").partition("\ntests:\n")[0].rstrip("\n")
    assert f"[{path.name}](../../{relative}):\n\n```yaml\n{text}\n```\n" in PAGE


def test_what_the_page_shows_besides_is_right() -> None:
    """The conditions that its text suggests compile."""
    told = re.findall(r"`(?:when: )?(\{(?:kind|all): [^`]*\})`", PAGE)
    assert len(told) >= 4
    for when in told:
        text = f"rules: [{{id: r, when: {when}, then: [{{mqtt: {{topic: a}}}}]}}]"
        assert rules_of(text).rules, when
