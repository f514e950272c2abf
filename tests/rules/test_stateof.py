"""What `state()` can never answer: what no rule sets, and what nobody tells."""

from __future__ import annotations

import pytest

from bridge.sdk import Known
from tests.rules.support import problems_of, rules_of

SETS = "{id: s, when: {kind: plate.read, channel: 2}, then: [%s]}"
SET = "{set_state: {entity: g, attribute: guest, value: 1}}"


def _unset(condition: str, then: str = SET) -> list[str]:
    """Return what is warned of, after the place."""
    rule = f"{{id: r, when: {{kind: plate.read, channel: 1}}, if: '{condition}', then: [{{webhook: x}}]}}"
    return [str(one).partition("state(")[2] for one in rules_of(f"rules: [{rule}, {SETS % then}]").warnings]


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ('state("rules/g", "guest") == 1', []),
        (
            'state("rules/g", "guest") == 1 && state("rules/h", "guest") == 1',
            ["'rules/h', 'guest'): no rule sets that; unknown entity 'rules/h'; did you mean 'rules/g'?"],
        ),
        (
            'state("rules/g", "a") == 1 && state("rules/g", "guest") == 1 && state("rules/g", "gest") == 1',
            [
                "'rules/g', 'a'): no rule sets that; unknown attribute 'a'; known: guest",
                "'rules/g', 'gest'): no rule sets that; unknown attribute 'gest'; did you mean 'guest'?",
            ],
        ),
        ('state("rules/" + key, "x") == 1', []),
    ],
)
def test_what_no_rule_sets_is_told(condition: str, told: list[str]) -> None:
    """Each of them, and nothing else: with the nearest that there is."""
    assert _unset(condition) == told


def test_an_attribute_that_is_set_of_any_entity_may_be_of_this_one() -> None:
    """Which one is only known when it is set; of another attribute it is."""
    then = "{set_state: {entity: '{{ key }}', attribute: guest, value: 1}}"
    assert _unset('state("rules/a", "guest") == 1', then) == []
    assert len(_unset('state("rules/a", "other") == 1', then)) == 1


def test_each_question_that_nobody_answers_is_told() -> None:
    """Also where the attribute is worked out, beside one where it is written."""
    condition = 'state("nvr/1", "motion") == "on" || state("nvr/1", key) == 1 || state("bridge", key) == 1'
    found = problems_of(
        f"rules: [{{id: r, when: {{kind: plate.read}}, if: '{condition}', then: [{{webhook: x}}]}}]",
        known=Known(sources=frozenset({"nvr1"})),
    )
    assert [one.partition("`if`: ")[2] for one in found] == [
        "state('nvr/1', 'motion'): unknown source 'nvr'; did you mean 'nvr1'?",
        "state('nvr/1', ...): unknown source 'nvr'; did you mean 'nvr1'?",
    ]
