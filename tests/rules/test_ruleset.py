"""What names a rule set and a rule's meaning, and how a set is made again from what was stored."""

from __future__ import annotations

import pytest

from bridge.sdk import PayloadError
from rules.changes import change_between
from rules.ruleset import RuleSet, SiteSettings
from tests.rules.support import ACTIONS, rules_of

TEXT = """
lists: {l: {plates: l.csv}}
schedules: {night: {from: "22:00", to: "06:00"}}
rules:
  - id: r
    description: first
    when: {kind: plate.read, source: nvr1}
    match: {plate: {in: l}}
    during: night
    then: [{open: a}]
"""


def _version(text: str, table: str = "plate\nA\n") -> str:
    return rules_of(text, l=table).rules[0].version


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("first", "another description"),
        ("source: nvr1", "source: [nvr1]"),
        ("{open: a}", "{'open': \"a\"}"),
        ('to: "06:00"', 'to: "07:00"'),
        ("rules:", "# a remark\nrules:"),
        ("    when", "    priority: 0\n    when"),
    ],
)
def test_a_rules_version_outlives_what_does_not_change_its_meaning(old: str, new: str) -> None:
    """Words, spelling, lists and schedules: state is kept."""
    assert _version(TEXT.replace(old, new)) == _version(TEXT)


def test_a_list_is_no_part_of_a_rules_version() -> None:
    """But of the set's hash."""
    assert _version(TEXT, "plate\nB\n") == _version(TEXT)
    assert rules_of(TEXT, l="plate\nB\n").hash != rules_of(TEXT, l="plate\nA\n").hash


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{open: a}", "{open: b}"),
        ("source: nvr1", "source: nvr2"),
        ("during: night", "during: {not: night}"),
        ("    when", "    cooldown: 1s\n    when"),
        ("    when", "    shadow: true\n    when"),
        ("    when", "    priority: 1\n    when"),
        ("id: r", "id: q"),
    ],
)
def test_a_rules_version_follows_its_meaning(old: str, new: str) -> None:
    """Anything that can change a decision or an order."""
    assert _version(TEXT.replace(old, new)) != _version(TEXT)


def test_the_hash_names_files_lists_and_site() -> None:
    """The same content gives the same hash; the zone belongs to it."""
    assert rules_of(TEXT, l="plate\n").hash == rules_of(TEXT, l="plate\n").hash
    assert rules_of(TEXT, l="plate\n").hash != rules_of(TEXT, l="plate\n", site=SiteSettings("Asia/Seoul")).hash


def test_a_bundle_gives_the_same_rules_again() -> None:
    """Everything a decision depends on is in it."""
    rules = rules_of(TEXT, l="plate\nA\n", site=SiteSettings("Asia/Seoul", 37.5, 127.0, "north"))
    again = RuleSet.from_bundle(rules.bundle(), ACTIONS)
    assert again.hash == rules.hash
    assert again.bundle() == rules.bundle()
    assert [rule.version for rule in again.rules] == [rule.version for rule in rules.rules]
    assert again.site == rules.site


@pytest.mark.parametrize("bundle", [b"", b"[]", b"{}", b'{"format":2}', b"\xff"])
def test_what_is_no_bundle_is_refused(bundle: bytes) -> None:
    """With a reason."""
    with pytest.raises(PayloadError):
        RuleSet.from_bundle(bundle, ACTIONS)


def test_an_empty_set_decides_nothing() -> None:
    """Before any rules are there."""
    assert RuleSet.empty().kinds == frozenset()
    assert RuleSet.from_bundle(RuleSet.empty().bundle(), ACTIONS).hash == RuleSet.empty().hash


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ("when: {kind: plate.read}, during: {from: '22:00', to: '06:00'}", ("r",)),
        ("when: {at: '22:00', max_lateness: 30s}", ("r",)),
        ("when: {kind: plate.read}", ()),
    ],
)
def test_another_zone_changes_what_goes_by_the_clock(rule: str, named: tuple[str, ...]) -> None:
    """The rule says the same, and opens at other hours: that is no less to be agreed to than another schedule."""
    text = f"rules: [{{id: r, {rule}, then: [{{open: main-gate}}]}}]"
    here, there = (rules_of(text, site=SiteSettings(zone)) for zone in ("UTC", "Asia/Seoul"))
    change = change_between(here, there)
    assert (change.changed, change.moving) == (named, named)
    assert change_between(here, rules_of(text, site=SiteSettings("UTC"))).changed == ()
