"""`vms-bridge check` with a site: what only the configuration knows about what rules name."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.commands.site import actions, load_site
from bridge.errors import ConfigError
from bridge.rulebook import action_specs, compile_site

SITE = """
site: home
zone: Europe/Berlin
modes: [home, night]
sources:
  nvr1: {type: ts-api, url: "http://127.0.0.1:39477", username: admin, password: admin}
outputs:
  barrier: {source: nvr1, channel: 1, relay: relay-1, idle: "off"}
doors:
  main: {output: barrier, mode: act, pulse: 1s}
  slow: {output: barrier, mode: act, pulse: 1s, max_age: 40s}
rules: [rules.yaml]
"""


def _problems(folder: Path, rules: str) -> list[str]:
    (folder / "bridge.yaml").write_text(SITE, encoding="utf-8")
    (folder / "rules.yaml").write_text(rules, encoding="utf-8")
    try:
        compile_site(load_site(folder / "bridge.yaml"), action_specs(actions()))
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("door", "said"),
    [
        ("main", "`open` comes 30s after the event at the earliest, and is not done for one older than 10s"),
        ("slow", ""),
    ],
)
def test_a_door_that_is_opened_too_late_for_it_is_told(door: str, said: str, tmp_path: Path) -> None:
    """By its own `max_age`, not by the longest that any door may have."""
    text = f"rules: [{{id: r, when: {{kind: plate.read}}, then: [{{wait: 30s}}, {{open: {door}}}]}}]\n"
    problems = _problems(tmp_path, text)
    assert bool(problems) is bool(said)
    assert said in "".join(problems)
