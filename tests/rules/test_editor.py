"""What an editor marks in a rule file, against what the reader refuses: the same names of fields."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jsonschema
import pytest

from bridge.sdk import PAYLOADS
from bridge.yamlfile import parse_yaml
from rules.fields import has_field, paths_of
from rules.jsonschema import rule_schema
from tests.rules.support import ACTIONS, problems_of


@lru_cache
def _schema() -> dict[str, Any]:
    return rule_schema(ACTIONS)


def _marked(text: str) -> bool:
    return not jsonschema.Draft202012Validator(_schema()).is_valid(parse_yaml(text).value)


@pytest.mark.parametrize("kind", PAYLOADS)
def test_a_field_is_marked_exactly_where_the_reader_does_not_know_it(kind: str) -> None:
    """Each field of each kind, what is below it, and a misspelling of it."""
    definition = _schema()["$defs"][f"match.{kind}"]
    validator = jsonschema.Draft202012Validator(definition)
    for path in ("plat", *paths_of(kind)):
        for name in (path, f"{path}x", f"x{path}", f"{path}.any", f"{path}.any.more"):
            asked = {"match": {name: {"exists": True}}}
            assert validator.is_valid(asked) == has_field(kind, name), name


PLACES = [
    "when: {kind: KIND}, match: MATCH, then: [{webhook: x}]",
    "when: {kind: KIND, count: 3, within: 1m}, match: MATCH, then: [{webhook: x}]",
    "when: {sequence: [{kind: KIND, match: MATCH}, {kind: motion.started}], within: 3s}, then: [{webhook: x}]",
    "when: {sequence: [{kind: call.started}, {not: {kind: KIND, match: MATCH}}, {kind: call.ended}], within: 3s}, then: [{webhook: x}]",  # noqa: E501
    "when: {any: [{kind: KIND, match: MATCH}, {kind: motion.started}]}, then: [{webhook: x}]",
    "when: {absent: {kind: KIND, match: MATCH}, after: {kind: motion.started}, within: 3s}, then: [{webhook: x}]",
    "when: {silent: {kind: KIND, match: MATCH}, for: 5m}, then: [{webhook: x}]",
    "when: {kind: motion.started}, then: [{wait_for: {kind: KIND, match: MATCH, within: 3s, per: []}}, {webhook: x}]",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("kind", "match", "wrong"),
    [
        ("plate.read", "{plate: A1}", False),
        ("plate.read", "{plat: A1}", True),
        ("motion.started", "{plate: A1}", True),
        ("custom.mine", "{whatever: {at_least: 3}}", False),
    ],
)
def test_a_wrong_field_is_marked_wherever_a_match_may_stand(place: str, kind: str, match: str, wrong: bool) -> None:
    """By the editor and by the reader."""
    rule = place.replace("KIND", kind).replace("MATCH", match)
    text = f"rules: [{{id: r, {rule}}}]"
    assert (_marked(text), bool(problems_of(text))) == (wrong, wrong)
    body = f"templates: {{t: {{rule: {{{rule}}}}}}}\nrules: [{{id: r, use: t}}]"
    assert (_marked(body), bool(problems_of(body))) == (wrong, wrong)


@pytest.mark.parametrize("place", PLACES)
def test_in_a_body_inputs_may_stand_for_what_nobody_knows_yet(place: str) -> None:
    """A kind, a whole `match`, or what is asked of a field: nothing of it is marked."""
    for kind, match in (("$kind", "{plat: A1}"), ("plate.read", "$match"), ("plate.read", "{plate: $plate}")):
        rule = place.replace("KIND", kind).replace("MATCH", match)
        assert not _marked(f"templates: {{t: {{inputs: {{kind: text, match: any, plate: any}}, rule: {{{rule}}}}}}}")
