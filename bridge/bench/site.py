"""The sites that the benchmarks run: an ordinary configuration with one source, and its rules."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from bridge.bench.device import RULES, plate
from bridge.config.load import Loaded, load
from bridge.registry import Registry

Sync = Literal["always", "interval"]

SOURCE = "nvr1"
INTERVAL = "2m"
"""Of the sync that is not `always`: nats-server's own default."""

_CONFIG = """\
site: bench
data_dir: data
bus: {{sync: {sync}}}
http: {{port: 0}}
sources:
  nvr1: {{type: ts-api, url: "{url}", username: bench, password: bench, dialect: v0, topics: [LPR], keep_raw: false}}
rules: [rules.yaml]
"""
_FLOOD_RULE = """\
  - id: plate-{number:04d}
    when: {{kind: plate.read, source: nvr1}}
    match: {{plate: {plate}, score: {{at_least: 90}}}}
    per: plate
    cooldown: 100ms
    then: [{{ptz: {{preset: gate}}}}]
"""
_PACE_RULE = """\
rules:
  - id: look
    when: {kind: plate.read, source: nvr1}
    then: [{ptz: {preset: "{{ event.data.plate }}"}}]
"""


def many_rules() -> str:
    """Return a rule for each plate that has one: a cooldown to remember and a camera to turn."""
    rules = (_FLOOD_RULE.format(number=number, plate=plate(number, 1)) for number in range(RULES))
    return "rules:\n" + "".join(rules)


def one_rule() -> str:
    """Return the rule that turns the camera on every plate, without any limit."""
    return _PACE_RULE


def site(folder: Path, registry: Registry, url: str, rules: str, sync: Sync) -> Loaded:
    """Write a site into a folder and load it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "bridge.yaml"
    path.write_text(_CONFIG.format(url=url, sync="always" if sync == "always" else INTERVAL), encoding="utf-8")
    (folder / "rules.yaml").write_text(rules, encoding="utf-8")
    return load(path, registry)
