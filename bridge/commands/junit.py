"""Results of rule tests as JUnit XML, which every build server reads.

No durations and no time of day: a test has a clock of its own, and the same tests give the same file, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from xml.etree import ElementTree as Xml

from rules.trial import TrialResult

_UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold."""


def junit(results: Sequence[TrialResult]) -> bytes:
    """Return the results, a suite for each file."""
    root = Xml.Element("testsuites", {"name": "vms-bridge test", **_counts(results)})
    ordered = sorted(results, key=lambda result: (result.trial.file, result.trial.line))
    for file, found in groupby(ordered, key=lambda result: result.trial.file):
        some = list(found)
        suite = Xml.SubElement(root, "testsuite", {"name": _text(file), **_counts(some), "skipped": "0"})
        for result in some:
            _case(suite, result)
    Xml.indent(root)
    return bytes(Xml.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _counts(results: Sequence[TrialResult]) -> dict[str, str]:
    failures = sum(not result.passed for result in results)
    return {"tests": str(len(results)), "failures": str(failures), "errors": "0"}


def _case(suite: Xml.Element, result: TrialResult) -> None:
    trial = result.trial
    case = Xml.SubElement(suite, "testcase", {"classname": _text(trial.file), "name": _text(trial.name)})
    if not result.passed:
        failure = Xml.SubElement(case, "failure", {"message": _text(result.difference[0]), "type": "difference"})
        failure.text = _text(str(result))


def _text(text: str) -> str:
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)
