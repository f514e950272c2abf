"""`vms-bridge test`: which tests run, what is said of them, and what no test has shown."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from bridge.commands.choosing import chooser
from bridge.commands.output import Exit
from bridge.errors import ConfigError
from tests.bridge.commands.helpers import here

RULES = """
rules:
  - id: night-light
    when: {kind: motion.started, channel: 1}
    during: {from: sunset, to: sunrise}
    cooldown: 1m
    then: [{mqtt: {topic: light, payload: "on"}}]
tests:
  - name: a light at night
    site: {sunrise: "06:00", sunset: "18:00"}
    at: 2026-01-05T20:00:00
    given: [{kind: motion.started, channel: 1}]
    expect: [{mqtt: {payload: "on"}}]
  - name: no light <by day> & "never"
    site: {sunrise: "06:00", sunset: "18:00"}
    given: [{kind: motion.started, channel: 1}]
    expect: %s
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Return a rule file whose tests pass."""
    path = tmp_path / "good.yaml"
    path.write_text(RULES % "[]", encoding="utf-8")
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """Return one in which a test fails."""
    path = tmp_path / "bad.yaml"
    path.write_text(RULES % "[{mqtt: {topic: light}}]", encoding="utf-8")
    return path


def test_what_passes_and_what_differs(good: Path, bad: Path) -> None:
    """A line for each test; of one that fails both sides, and the reason."""
    done = here("test", str(good))
    assert done.exit_code == Exit.OK
    assert done.stdout.splitlines()[-1] == "2 passed, 0 failed"
    done = here("test", str(bad))
    seen = "wanted sunset-sunrise, saw 2026-01-05 12:00:00"
    assert done.exit_code == Exit.FAILED
    assert done.stdout.splitlines()[1:] == [
        'bad.yaml:14: no light <by day> & "never": FAILED',
        '    - mqtt {"topic": "light"} was expected',
        f"        rule night-light did not fire: during: {seen} (given[0] motion.started)",
        "1 passed, 1 failed",
    ]


def test_tests_are_chosen_by_words(bad: Path) -> None:
    """What was not chosen is not run; a choice of none is a mistake."""
    assert here("test", str(bad), "-k", "NIGHT").stdout.splitlines()[-1] == "1 passed, 0 failed"
    assert here("test", str(bad), "-k", "light and not (day or evening)").exit_code == Exit.OK
    assert here("test", str(bad), "-k", "bad.yaml and day").exit_code == Exit.FAILED
    done = here("test", str(bad), "-k", "rain")
    assert done.exit_code == Exit.CONFIG
    assert "no test is called so" in done.stderr


CHOICES = [
    ("light at night", True),
    ("light night", False),
    ("light and night", True),
    ("rain or light", True),
    ("not light", False),
    ("not (rain or snow)", True),
    ("not rain and light", True),
    ("rain or not light and night", False),
    ('"light at"', True),
    ("'and' or rain", False),
    ("GATE.yaml", True),
]


@pytest.mark.parametrize(("text", "chosen"), CHOICES)
def test_words_are_joined_by_and_or_not(text: str, chosen: bool) -> None:
    """`not` binds closest, then `and`; words beside each other are one text; quotes make any word one."""
    assert chooser(text)("gate.yaml A light at night") is chosen


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("light and", "a word is missing at the end"),
        ("and light", "a word is missing before 'and'"),
        ("(light", "a bracket is not closed"),
        ("light )", "')' stands where `and` or `or` should"),
        ("", "a word is missing"),
        ("()", "a word is missing before ')'"),
        ("(" * 101, "more than 100 words and signs"),
        ("not " * 99 + "day day", "more than 100 words and signs"),
    ],
)
def test_an_expression_that_is_none_is_refused(text: str, problem: str) -> None:
    """With what is wrong with it."""
    with pytest.raises(ConfigError, match="write words with") as refused:
        chooser(text)
    assert problem in str(refused.value)


def test_the_first_failure_stops_the_rest(good: Path, bad: Path) -> None:
    """And says how many were not run."""
    good.write_text(good.read_text(encoding="utf-8").replace("night-light", "other"), encoding="utf-8")
    done = here("test", str(bad), str(good), "-x")
    assert done.exit_code == Exit.FAILED
    assert done.stdout.splitlines()[-1] == "1 passed, 1 failed, 2 not run"


def test_results_as_json(bad: Path) -> None:
    """One value; the coverage with it if it is asked for."""
    done = here("test", str(bad), "--json", "--coverage")
    found = json.loads(done.stdout)
    assert done.exit_code == Exit.FAILED
    assert (found["passed"], found["failed"], found["not_run"]) == (1, 1, 0)
    assert found["tests"][0] == {
        "name": "a light at night",
        "file": "bad.yaml",
        "line": 9,
        "passed": True,
        "difference": [],
    }
    assert found["tests"][1]["difference"][0] == '- mqtt {"topic": "light"} was expected'
    assert found["coverage"]["percent"] == 80.0
    [rule] = found["coverage"]["rules"]
    assert rule["rule"] == "night-light"
    assert rule["missing"] == [
        {"condition": "cooldown", "wanted": "1m", "lacks": "decisive", "words": "cooldown 1m: never decisive"}
    ]
    assert "coverage" not in json.loads(here("test", str(bad), "--json").stdout)


def test_results_as_junit(tmp_path: Path, good: Path, bad: Path) -> None:
    """What build servers read: suites, cases, failures, each count right, whatever a name holds."""
    path = tmp_path / "results.xml"
    odd = tmp_path / "odd.yaml"
    text = (RULES % "[]").replace('name: no light <by day> & "never"', r'name: "a\x01b"')
    odd.write_text(text.replace("night-light", "odd"), encoding="utf-8")
    good.write_text(text.replace("night-light", "other"), encoding="utf-8")
    here("test", str(good), str(bad), str(odd), "--junit", str(path))
    root = Xml.fromstring(path.read_bytes())  # noqa: S314 - we have just written it ourselves
    assert root.tag == "testsuites"
    assert [root.attrib[name] for name in ("tests", "failures", "errors")] == ["6", "1", "0"]
    suites = {suite.attrib["name"]: suite for suite in root}
    assert {suite.tag for suite in root} == {"testsuite"}
    assert list(suites) == ["bad.yaml", "good.yaml", "odd.yaml"]
    for suite in root:
        assert int(suite.attrib["tests"]) == len(suite.findall("testcase")) == 2
        assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure"))
        assert all(case.attrib.keys() == {"classname", "name"} for case in suite)
    [failure] = root.iter("failure")
    assert failure.attrib["message"] == '- mqtt {"topic": "light"} was expected'
    assert "rule night-light did not fire: during" in (failure.text or "")
    assert suites["odd.yaml"][1].attrib["name"] == "a\N{REPLACEMENT CHARACTER}b"


def test_a_file_that_cannot_be_written_is_said(good: Path) -> None:
    """With what to do."""
    done = here("test", str(good), "--junit", "/nowhere/at/all.xml")
    assert done.exit_code == Exit.START
    assert "cannot be written" in done.stderr


def test_what_no_test_has_shown(good: Path) -> None:
    """A line for each rule that lacks something; less than what is asked for fails."""
    done = here("test", str(good), "--coverage")
    assert done.exit_code == Exit.OK
    assert done.stdout.splitlines()[-3:] == [
        "coverage: 80.0 % (4 of 5), 1 of 1 rules fired",
        "    4 of 5   good.yaml:3 night-light",
        "             cooldown 1m: never decisive",
    ]
    assert here("test", str(good), "--min", "80").exit_code == Exit.OK
    done = here("test", str(good), "--min", "80.1")
    assert done.exit_code == Exit.FAILED
    assert "coverage is 80.0 %, and must be 80.1 %" in done.stderr


def test_the_same_tests_say_the_same(tmp_path: Path, bad: Path) -> None:
    """Byte for byte, on the screen, as JSON and as XML."""
    runs = []
    for number in range(2):
        path = tmp_path / f"{number}.xml"
        text = here("test", str(bad), "--coverage", "--junit", str(path)).stdout
        runs.append((text, here("test", str(bad), "--coverage", "--json").stdout, path.read_bytes()))
    assert runs[0] == runs[1]


def test_the_shipped_rules_are_shown_whole() -> None:
    """Every rule of the examples fires in some test, and every condition is met and decisive in one."""
    done = here("test", "--examples", "--min", "100")
    assert done.exit_code == Exit.OK, done.stdout
