"""`vms-bridge explain` against a real site: through the running bridge, and without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import Result

from bridge.past.explain import Explainer
from tests.bridge.commands.helpers import going, here, write_site

RULES = """
rules:
  - id: hello
    when: {kind: bridge.started}
    then: [{webhook: nobody}]
  - id: never
    when: {kind: bridge.started}
    if: "false"
    then: [{webhook: nobody}]
  - id: moved
    when: {kind: motion.started}
    then: [{webhook: nobody}]
"""
MORE = """
rules: [rules.yaml]
webhooks: {nobody: {url: "http://127.0.0.1:9/"}}
"""


def test_a_person_asks_why(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the bridge runs and when it has stopped; by time, by rule, by event; nothing is written."""
    monkeypatch.chdir(write_site(site, MORE).parent)
    (site / "rules.yaml").write_text(RULES, encoding="utf-8")
    with going("run", cwd=site) as bridge:
        bridge.line("listening", "err")
        shown = _once("webhook (to=nobody): ")
        assert "  FIRED        hello" in shown.stdout
        assert "  not fired    never " in shown.stdout
        assert "moved" not in shown.stdout
    before = here("events", "--json", "--all").stdout
    started = next(one for one in map(json.loads, before.splitlines()) if one["type"] == "bridge.started")
    shown = here("explain", started["id"], "--json")
    assert shown.exit_code == 0, shown.stderr
    told = json.loads(shown.stdout)
    assert {one["rule"]: (one["fired"], one["from"]) for one in told["answers"]} == {
        "hello": (True, "kept"),
        "never": (False, "kept"),
    }
    assert (told["about_something_else"], told["unknown"], told["notes"]) == (1, False, [])
    one = here("explain", str(told["seq"]), "--rule", "moved")
    assert "  not fired    moved" in one.stdout
    assert "when.kind: wanted motion.started, saw bridge.started" in one.stdout
    for options in (["--since", "1h"], [started["id"]]):
        with monkeypatch.context() as no_look:
            no_look.setattr(Explainer, "span", None)  # it is told before anything is looked back at
            no_look.setattr(Explainer, "event", None)
            misspelt = here("explain", "--rule", "movd", *options)
        assert (misspelt.exit_code, misspelt.stdout) == (2, "")
        assert "--rule: unknown rule 'movd'; did you mean 'moved'?" in misspelt.stderr
    assert "nothing: no rule had anything" in here("explain", "--rule", "moved", "--since", "1h").stderr
    assert here("events", "--json", "--all").stdout == before


def _once(words: str) -> Result:
    """Ask until the order is there: its trace may be written a moment before it."""
    for _ in range(50):
        shown = here("explain", "--since", "1h")
        assert shown.exit_code == 0, shown.stderr
        if words in shown.stdout:
            return shown
    raise AssertionError(shown.stdout)


def test_what_cannot_be_explained_is_said(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cause and cure."""
    monkeypatch.chdir(write_site(site).parent)
    assert "name an event, or say --since" in here("explain").stderr
    shown = here("explain", "--since", "soon")
    assert (shown.exit_code, "--since: 'soon' is neither" in shown.stderr) == (2, True)
    for options in (["--since", "1h", "--until", "2h"], ["--until", "2d", "--rule", "x"]):
        shown = here("explain", *options)
        assert (shown.exit_code, "--until is not after --since" in shown.stderr) == (2, True)
    assert "start the bridge first" in here("explain", "x").stderr
