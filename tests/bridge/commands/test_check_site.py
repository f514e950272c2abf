"""`vms-bridge check` with a site: what only the configuration knows about what rules name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bridge.commands.site import actions, load_site
from bridge.contracts import ChannelInfo, PtzPreset, SystemInfo
from bridge.errors import ConfigError
from bridge.rulebook import action_specs, compile_site
from bridge.systems import told, write_down
from tests.bridge.commands.helpers import here

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


# --- what the systems said last --------------------------------------------------------------------------

AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
CAMERAS = [
    ChannelInfo("1", "gate", ptz=True, presets=[PtzPreset("p-1", "Entrance"), PtzPreset("p-2", "")]),
    ChannelInfo("2", "yard"),
]
INFO = SystemInfo("NVR", "1", "v1", "nvr", "UTC", CAMERAS)


def _check(folder: Path, rules: str, site: str = SITE) -> list[str]:
    """Return what `check` says is wrong, without the name of the file."""
    (folder / "bridge.yaml").write_text(site, encoding="utf-8")
    (folder / "rules.yaml").write_text(rules, encoding="utf-8")
    done = here("check", "--json", "-c", str(folder / "bridge.yaml"))
    answer = json.loads(done.stdout)
    assert done.exit_code == (0 if answer["ok"] else 2)
    problems = answer["problems"]
    return [f"{one['line']}:{one['column']} {one['message'].replace(str(folder), '')}" for one in problems]


WRONG = """\
rules:
  - id: one
    when: {kind: motion.started, source: nvr1, channel: [1, 22]}
    if: 'state("nvr1/3", "motion") == "on"'
    then:
      - ptz: {preset: entrnce, channel: 1, hold: 5s, home: entrence}
      - clip: {source: nvr1, channels: [2, 5]}
  - id: two
    when: {kind: call.started}
    then: [{ptz: {preset: "{{ event.data.name }}", source: nvr1, channel: 1}}]
  - id: three
    when: {kind: motion.started, source: nvr1, channel: 1}
    then: [{ptz: enterance}, {ptz: entrance}, {clip: {channels: 9}}]
"""


def test_channels_and_presets_are_held_against_what_the_system_said_last(tmp_path: Path) -> None:
    """Where `when`, `state()` and actions name them, or the preset is one of the camera that the event comes from."""
    assert _check(tmp_path, WRONG) == []  # nobody knows what there is
    write_down(tmp_path / "data", "nvr1", INFO, AT)
    assert _check(tmp_path, WRONG) == [
        "3:61 unknown channel '22'; did you mean '2'? (of nvr1)",
        "4:9 `if`: state('nvr1/3', 'motion'): unknown channel of nvr1 '3'; known: 1, 2",
        "6:14 `ptz`: unknown preset of nvr1/1 'entrence'; did you mean 'Entrance'?",
        "6:14 `ptz`: unknown preset of nvr1/1 'entrnce'; did you mean 'Entrance'?",
        "7:15 `clip`: unknown channel of nvr1 '5'; known: 1, 2",
        "13:18 `ptz`: unknown preset of nvr1/1 'enterance'; did you mean 'Entrance'?",
        "13:54 `clip`: unknown channel of nvr1 '9'; known: 1, 2",
    ]


def test_how_old_that_is_is_said(tmp_path: Path) -> None:
    """A camera that is new is a mistake until the bridge has asked again."""
    write_down(tmp_path / "data", "nvr1", INFO, AT)
    _check(tmp_path, WRONG)
    said = here("check", "-c", str(tmp_path / "bridge.yaml")).stderr
    assert "channels and presets of nvr1 as it said at 2026-01-05T12:00:00+00:00" in said


def test_what_runs_does_not_depend_on_it(tmp_path: Path) -> None:
    """It is a memory: a bridge starts with rules that name a channel which was not there yesterday."""
    write_down(tmp_path / "data", "nvr1", INFO, AT)
    assert _problems(tmp_path, WRONG) == []


def test_channels_that_the_configuration_leaves_out_never_come(tmp_path: Path) -> None:
    """That is certain, so the bridge does not start with it either."""
    site = SITE.replace("password: admin}", "password: admin, channels: [1, 3]}")
    rules = "rules: [{id: r, when: {kind: motion.started, source: nvr1, channel: 2}, then: [{clip: {}}]}]\n"
    write_down(tmp_path / "data", "nvr1", INFO, AT)
    assert _check(tmp_path, rules, site) == ["1:69 unknown channel '2'; known: 1, 3 (of nvr1)"]
    with pytest.raises(ConfigError, match="unknown channel '2'; known: 1, 3"):
        compile_site(load_site(tmp_path / "bridge.yaml"), action_specs(actions()))


def test_what_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    """Damaged, of another source, of another form: as if there were nothing."""
    write_down(tmp_path, "nvr1", INFO, AT)
    file = tmp_path / "systems" / "nvr1.json"
    good = file.read_text()
    assert told(tmp_path, ["nvr1", "nvr2"])["nvr1"].channels == {"1": {"p-1", "Entrance", "p-2"}, "2": set()}
    for text in ("", "{", "[]", good.replace("nvr1", "nvr3"), good.replace('["', '{"'), "\x00"):
        file.write_text(text)
        assert told(tmp_path, ["nvr1"]) == {}


# --- a file by itself ------------------------------------------------------------------------------------


def test_a_file_is_tested_as_one_of_a_site_if_the_site_is_named(tmp_path: Path) -> None:
    """Its doors, names and zone count then; without it a door is one that says nothing of its age."""
    file, site = tmp_path / "one.yaml", tmp_path / "bridge.yaml"
    rules = "rules: [{id: r, when: {kind: plate.read}, during: {from: '12:00', to: '13:00'}, then: THEN}]\n"
    given = "given: [{kind: plate.read}, {wait: 1m}], expect: [{open: slow}]"
    tests = f"tests: [{{name: t, at: 2026-01-05T11:30:00Z, {given}}}]\n"
    file.write_text(rules.replace("THEN", "[{wait: 20s}, {open: slow}]") + tests)
    site.write_text(
        SITE.replace("rules: [rules.yaml]", "http: {api: {app: {token: ABC, lists: [some]}}}").replace("ABC", "a" * 32)
    )
    alone = here("test", str(file))
    assert alone.exit_code == 2
    assert "not done for one older than 10s (a door that says nothing else; `--config` asks the site's)" in alone.stderr
    assert here("test", str(file), "-c", str(site)).stdout.endswith("1 passed, 0 failed\n")
    file.write_text(rules.replace("THEN", "[{open: slwo}]"))
    assert "unknown door 'slwo'; did you mean 'slow'?" in here("test", str(file), "-c", str(site)).stderr
    assert here("test", str(file)).exit_code == 0


# --- everything in one run -------------------------------------------------------------------------------


def test_a_mistake_in_the_configuration_hides_none_in_the_rules(tmp_path: Path) -> None:
    """What is written there in any form counts as there; what may follow from the mistake is not told."""
    site = SITE.replace("pulse: 1s}", "puls: 1s}", 1).replace("Europe/Berlin", "Europe/Berlinn")
    site += "http: {api: {app: {lists: [residnts]}}}\n"
    rules = """\
lists: {residents: {plates: [A1]}}
rules:
  - {id: one, when: {kind: plate.raed}, then: [{open: main}]}
  - {id: two, when: {kind: plate.read, source: nvr2}, match: {plate: {in: residents}}, then: [{open: slwo}]}
  - {id: three, when: {at: sunset}, mode: nigt, then: [{webhook: x}]}
"""
    found = _check(tmp_path, rules, site)
    assert "3:28 unknown kind 'plate.raed'; did you mean 'plate.read'?" in found
    assert "4:48 unknown source 'nvr2'; did you mean 'nvr1'?" in found
    assert "4:102 `open`: unknown door 'slwo'; did you mean 'slow'?" in found
    assert any("Berlinn" in one for one in found)
    assert any("puls" in one for one in found)
    assert not any("main" in one or "latitude" in one or "nigt" in one for one in found)


def test_a_list_that_nobody_declares_is_told_beside_mistakes_in_rules(tmp_path: Path) -> None:
    """What people may change by the API must be a list, also when a rule is wrong."""
    token = "http: {api: {app: {token: 0123456789abcdef0123456789abcdef, lists: [residnts]}}}\n"
    rules = "lists: {residents: {plates: [A1]}}\nrules: [{id: one, when: {kind: plate.raed}, then: [{open: main}]}]\n"
    first, second = _check(tmp_path, rules, SITE + token)
    assert first == "0:0 unknown list 'residnts'; did you mean 'residents'?"
    assert second.startswith("2:32 unknown kind 'plate.raed'")
