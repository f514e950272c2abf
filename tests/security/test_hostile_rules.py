"""Rule files made to do harm: each is refused with a place and a cure, or read within bounds of time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.security.hostile_files import CASES

pytestmark = pytest.mark.timeout(600)
"""The first waits for all of them to be read, which takes a busy machine minutes."""
ROOT = Path(__file__).resolve().parents[2]
SECONDS = 15
"""Of the processor, for one file. The slowest needs about two on an idle machine."""
LONGEST = 2_000
"""Characters of a message."""
SAID: Mapping[str, str] = {
    "deep lists": "is nested deeper than 32 levels",
    "deep mappings": "is nested deeper than 32 levels",
    "deep block": "is nested deeper than 32 levels",
    "deep dashes": "is nested deeper than 32 levels",
    "aliases": "unknown key `a0`; known:",
    "an alias of itself": "rules: anchors are not allowed; quote the text, or remove &a",
    "merge keys": "unknown key `a`; known:",
    "a tag": "rules: the tag tag:yaml.org,2002:python/object/apply:os.system is not",
    "many documents": "a second document begins here; a file holds one",
    "many keys": "unknown key `a0`; known:",
    "many keys in a rule": "rule r: unknown key `k0`; known: ",
    "the same key": "rules: stands twice; it is already in line 1",
    "many fields": "rule r: unknown field of plate.read 'k0'; known:",
    "many rules all wrong": "rule r0: unknown kind 'plate.raed'; did you mean 'plate.read'?",
    "many lists nearly named": "rule r0: `plate`: unknown list 'lost0'; known: list0, list1, list10,",
    "a name of a megabyte": "`id`: 'aaaa",
    "a kind of a megabyte": "unknown kind 'aaaa",
    "a field of a megabyte": "is not YAML: while parsing a flow mapping expected ',' or '}', but got",
    "a key of a megabyte": "is not YAML: while scanning a simple key could not find expected ':'",
    "an action of a megabyte": "is not YAML: while parsing a flow mapping expected ',' or '}', but got",
    "a text of a megabyte": "rule r: `mqtt`: a text of 900009 characters; at most 65536",
    "many templates in a text": "rule r: `mqtt`: a text of 810000 characters; at most 65536",
    "open braces": "rule r: `mqtt`: a text of 400000 characters; at most 65536",
    "a long integer": "rule r: `priority`: must be a whole number, got",
    "a large integer": "rule r: `score`: it is a number, and '999999999999999999999999999999'",
    "a large float": "rule r: `score`: it is a number, and '1.5e999' is not",
    "a long duration": "rule r: `cooldown`: '99999999999999999999'... is too long for a",
    "a duration of ages": "rule r: `cooldown`: '999999999999d' is longer than 36500 days; nothing",
    "a span of ages": "rule r: `when.within`: '999999d' is longer than 36500 days; nothing",
    "a huge count": "rule r: `when.count`: input should be less than or equal to 1000, got",
    "a rate of everything": "rule r: `when.rate`: '1e999/s' is not written as it is here;",
    "a clock time of ages": "rule r: `when.at`: '99999999:00' is not a time of day; write \"22:00\",",
    "an offset of ages": "rule r: `when.at`: '99999999999d' is longer than 36500 days; nothing",
    "many times": "rule r: `when.at`: value should have at most 48 items after",
    "cron of the 30th of February": "rule r: `every`: '0 0 30 2 *' is no cron expression (Bad",
    "cron of a Monday the 31st of June": "",
    "cron of a hundred thousand minutes": "rule r: `every`: '' is no cron expression (Wrong number of fields);",
    "cron of many fields": "rule r: `every`: '' is no cron expression (Wrong number of fields);",
    "cron of a huge step": "",
    "a long sequence": "rule r: `when.sequence`: tuple should have at most 16 items after",
    "a long any": "rule r: `when.any`: tuple should have at most 32 items after",
    "many keys of per": "rule r: `per`: value should have at most 16 items after validation,",
    "many expressions of per": "rule r: `per`: value should have at most 16 items after validation,",
    "many steps": "rule r: 5000 steps; a rule has at most 200",
    "many waiting steps": "rule r: 3000 steps; a rule has at most 200",
    "deep parallel": "is nested deeper than 32 levels",
    "a pattern of a megabyte": "rule r: `plate`: the pattern is longer than 512 characters",
    "a pattern of patterns": "rule r: `plate`: not a pattern of RE2: invalid repetition size:",
    "a pattern that looks back": "rule r: `plate`: not a pattern of RE2: invalid escape sequence: \\1",
    "many patterns": "",
    "an expression of a megabyte": "rule r: `if`: string should have at most 4096 characters, got",
    "an expression of brackets": "rule r: `if`: nested deeper than 24 brackets",
    "an expression of minus": "",
    "an expression of nots": "",
    "an expression of questions": "rule r: `if`: at character 1057: nested too deeply; split it into",
    "an expression of lists": "rule r: `if`: nested deeper than 24 brackets",
    "macros in macros": "rule r: `if`: `all` inside another macro is not allowed: its cost has",
    "many expressions": "",
    "a list of ten megabytes": "the file is larger than 1024 KiB; split it",
    "a list of a megabyte": "",
    "a table of ten megabytes": "",
    "a table of too much": "list l: more than 250000 plates",
    "a table all wrong": "list l: `days`: 'nosuchday' is not a day; write mon, or mon-fri, or",
    "a table with one line": "list l: not CSV: field larger than field limit (131072)",
    "a table somewhere else": "list l: the first line must name the columns, `plate` among them:",
    "templates in a ring": "template t2: templates use each other in a ring: t0 → t1 → t2 → t0;",
    "templates in a large ring": "more than 8 templates use each other: t",
    "templates that laugh": "rule r: the rule made from template t0 is too large: more than 5000",
    "templates that laugh in texts": "rule r: with its inputs this has 32000 characters, at most 16384 (in",
    "templates that grow": "rule r249: the rule made from template t is too large: with the others",
    "many inputs": "template t: 10000 inputs, at most 32",
    "many windows": "",
    "tests without end": "stopped at 2026-01-05 12:00:00 UTC: it led to more than 100,000 events",
    "a test that waits for ages": "stopped at 2026-01-28 15:34:00 UTC: it led to more than 100,000 events and firings;",
    "a test that waits for ever": "test 'x': the test would wait beyond 2200",
    "zeros": "holds a character that YAML does not allow",
    "half pairs": "rule \\ud800: `then` is missing",
}
"""What is said about each, after its place; nothing is said about what is allowed."""


@pytest.fixture(scope="module")
def results() -> Mapping[str, Mapping[str, Any]]:
    """Read all of them in one process that may not use more than 1 GiB."""
    command = [sys.executable, "-m", "tests.security.hostile_files"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return {one["name"]: one for one in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_rule_file_is_refused_or_bounded(name: str, results: Mapping[str, Mapping[str, Any]]) -> None:
    """With the first message at its place, soon, in little memory, and no more messages than anybody reads."""
    found = results[name]
    assert SAID[name] in found["first"]
    assert bool(found["first"]) == bool(SAID[name])
    assert found["seconds"] < SECONDS
    assert found["problems"] <= 301
    assert found["longest"] <= LONGEST
    assert found["memory"] <= 1024


def test_every_case_says_where() -> None:
    """A message without a line would leave a person looking through a megabyte."""
    assert set(SAID) == set(CASES)
