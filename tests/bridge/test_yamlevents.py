"""Both YAML parsers say the same: what is read, where it stands, and what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge import yamlevents, yamlfile
from bridge.errors import ConfigError
from bridge.yamlfile import parse_yaml

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted([*ROOT.glob("rules/examples/**/*.yaml"), *ROOT.glob("deploy/*.yaml")])
_PARTS = (
    'a|b: |c:|- |-|[|]|{|}|, |,|\n|\n  |\n    | |\'x\'|"y"|"\\u00e9"|>|#c|&a |*a|!t |!!str |1|1.5|true|~|on|22:00|\'|'
    '"|---|...|\n---\n|é|漢|😀|a:b|{a:1}|{"a":1}|x#y|x #y|@|`|%|\\|<<: |=|\n\n|- - a|? b\n|- {k: v, l: [1, 2]}\n|'
    "k: v\n|http://x/y?z=1&b|::|-a|\t|\x85"
)
_text = st.lists(st.sampled_from(_PARTS.split("|")), max_size=12).map("".join)


def _read(text: str) -> tuple[Any, ...]:
    try:
        found = parse_yaml(text)
    except ConfigError as error:
        return ("refused", error.problems)
    return (found.value, found.problems, found._values, found._keys)


def _both(text: str) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    with pytest.MonkeyPatch.context() as patch:
        quick = _read(text)
        patch.setattr(yamlfile, "quick_events", lambda _: None)
        return quick, _read(text)


needs_libyaml = pytest.mark.skipif(yamlevents.CParser is None, reason="PyYAML is not installed with its C part")


@needs_libyaml
@settings(max_examples=400, deadline=None, derandomize=True)
@given(_text)
@example("a: \n  - \nb:\n")
@example("a: &x 1\nb: *x\n")
@example("a: {b: 1\n")
def test_what_is_read_does_not_depend_on_the_parser(text: str) -> None:
    """Values, places and problems; of what is left out too."""
    quick, slow = _both(text)
    assert quick == slow


@needs_libyaml
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_shipped_files_are_read_quickly(path: Path) -> None:
    """They hold nothing for which the slow parser would be needed."""
    text = path.read_text(encoding="utf-8")
    assert yamlevents.quick_events(text) is not None
    quick, slow = _both(text)
    assert quick == slow
