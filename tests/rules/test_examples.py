"""The shipped rules compile and pass their own tests."""

from __future__ import annotations

from pathlib import Path

import pytest

import rules
from bridge.sdk import Known
from rules.compiler import compile_rules
from rules.load import load_documents
from rules.ruleset import RuleSet, SiteSettings
from rules.trial import run_trials
from tests.rules.support import ACTIONS, KNOWN

EXAMPLES = Path(rules.__file__).parent / "examples"
FILES = sorted(EXAMPLES.glob("*.yaml"))


def _compiled(known: Known = KNOWN) -> RuleSet:
    return compile_rules(load_documents(FILES, EXAMPLES), ACTIONS, known, SiteSettings("Europe/Berlin", name="site"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_shipped_example_passes_its_tests(path: Path) -> None:
    """Every shipped rule file has tests, and they pass."""
    results = run_trials(_compiled(), ACTIONS, lambda trial: trial.file == path.name)
    assert results
    assert all(result.passed for result in results), "\n".join(map(str, results))


def test_every_rule_of_the_examples_fires_in_some_test() -> None:
    """No shipped rule is without a test that makes it fire."""
    compiled = _compiled()
    fired = {trace.rule for result in run_trials(compiled, ACTIONS) for trace in result.traces if trace.fired}
    assert fired >= {rule.id for rule in compiled.rules}


def test_the_examples_fit_the_demo_site_without_warnings() -> None:
    """Nothing in the examples is left over."""
    assert _compiled().warnings == ()
