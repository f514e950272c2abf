"""`vms-bridge backtest` against a real site: a changed rule file before it is put into force."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.past.backtest import Backtest
from tests.bridge.commands.helpers import going, here, write_site

RULE = "rules:\n  - id: hello\n    when: {kind: bridge.started}\n    then: [{webhook: nobody}]\n"
MORE = "rules: [rules.yaml]\nwebhooks: {nobody: {url: 'http://127.0.0.1:9/'}}\n"


def test_a_changed_rule_is_tried_on_the_past(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the bridge runs and when it has stopped; for people and as JSON; the log stays as it was."""
    monkeypatch.chdir(write_site(site, MORE).parent)
    (site / "rules.yaml").write_text(RULE, encoding="utf-8")
    with going("run", cwd=site) as bridge:
        bridge.line("listening", "err")
        same = here("backtest", "--since", "1h")
        assert same.exit_code == 0, same.stderr
        assert "no difference" in same.stdout
    before = here("events", "--json", "--all").stdout
    (site / "new.yaml").write_text(RULE + "    if: 'false'\n", encoding="utf-8")
    shown = here("backtest", "--since", "1h", "--rules", "new.yaml")
    assert shown.exit_code == 0, shown.stderr
    assert "lost     hello" in shown.stdout
    found = json.loads(here("backtest", "--rules", "new.yaml", "--rule", "hello", "--json").stdout)
    hello = found["rules"]["hello"]
    assert (hello["old"], hello["new"], hello["lost"]) == (1, 0, 1)
    assert (found["different"], found["changed"]) == (True, ["hello"])
    assert hello["lost_fires"][0]["orders"][0]["action"] == "webhook"
    assert here("events", "--json", "--all").stdout == before
    with monkeypatch.context() as no_look:
        no_look.setattr(Backtest, "run", None)  # it is told before anything is looked back at
        misspelt = here("backtest", "--rules", "new.yaml", "--rule", "helo", "--json")
    assert (misspelt.exit_code, misspelt.stdout) == (2, "")
    assert "--rule: unknown rule 'helo'; did you mean 'hello'?" in misspelt.stderr
    (site / "other.yaml").write_text(RULE.replace("hello", "other"), encoding="utf-8")
    for rule in ("hello", "other"):  # one of those in force then, one of the new ones
        either = here("backtest", "--rules", "other.yaml", "--rule", rule, "--json")
        assert list(json.loads(either.stdout)["rules"]) == [rule]
    assert "--until is not after --since" in here("backtest", "--since", "1h", "--until", "2h").stderr
    wrong = here("backtest", "--rules", "none.yaml")
    assert (wrong.exit_code, "none.yaml" in wrong.stderr) == (2, True)
    assert "--warm-up: 'soon' is no duration" in here("backtest", "--warm-up", "soon").stderr
