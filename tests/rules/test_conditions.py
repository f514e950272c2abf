"""What `match` can ask of a field, operator by operator."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bridge.sdk import VmsEvent
from rules.conditions import Test
from rules.fields import field_of
from rules.matching import Unlike
from tests.rules.support import Run, event, plate, problems_of, rules_of


def _fires(match: str, one: VmsEvent, **tables: str) -> bool:
    lists = "lists: {residents: {plates: [A1, 'b-2']}, words: {values: [x, Y]}}\n" if not tables else ""
    text = f"{lists}rules: [{{id: r, when: {{kind: {one.type}}}, match: {match}, then: [{{clip: {{}}}}]}}]"
    return bool(Run(rules_of(text, **tables)).feed(one).orders)


LOT = {"entrance": "P1"}


@pytest.mark.parametrize(
    ("match", "data", "fires"),
    [
        ("{plate: A1}", {}, True),
        ("{plate: a-1}", {}, True),  # a plate is compared in canonical form, however it is written
        ("{plate: A2}", {}, False),
        ("{plate: {equals: A1}}", {}, True),
        ("{plate: [X, A1]}", {}, True),
        ("{plate: [X, Y]}", {}, False),
        ("{plate: {in: [X, 'A 1']}}", {}, True),
        ("{plate: {in: residents}}", {}, True),
        ("{plate: {in: residents}}", {"plate": "B2"}, True),
        ("{plate: {in: residents}}", {"plate": "C3"}, False),
        ("{plate: {not_in: residents}}", {}, False),
        ("{plate: {not_in: residents}}", {"plate": "C3"}, True),
        ("{plate: {not_in: [A1]}}", {}, False),
        ("{device: {not_in: [g1]}}", {}, False),  # absent
        ("{device: {not_in: words}}", {"device": "y"}, True),  # values are compared as they are
        ("{device: {in: words}}", {"device": "Y"}, True),
        ("{device: 7}", {"device": "7"}, True),
        ("{score: {at_least: 97}}", {}, True),
        ("{score: {at_least: 97.5}}", {}, False),
        ("{score: {at_least: 1}}", {"score": None}, False),
        ("{score: {at_most: 97}}", {}, True),
        ("{score: {at_most: 96}}", {}, False),
        ("{score: {between: [90, 97]}}", {}, True),
        ("{score: {between: [98, 99]}}", {}, False),
        ("{score: {at_least: 90, at_most: 95}}", {}, False),
        ("{score: 97}", {}, True),
        ("{score: {exists: true}}", {}, True),
        ("{score: {exists: false}}", {}, False),
        ("{score: {exists: false}}", {"score": None}, True),
        ("{direction: entry}", {"direction": "entry"}, True),
        ("{direction: entry}", {}, False),
        ("{plate: {glob: 'A*'}}", {}, True),
        ("{plate: {glob: 'a-?'}}", {}, True),
        ("{plate: {glob: 'B*'}}", {}, False),
        ("{plate: {glob: '*'}}", {}, True),
        ("{plate: {glob: '?*'}}", {}, True),
        ("{plate: {glob: '**'}}", {}, True),
        ("{plate: {glob: 'A'}}", {}, False),
        ("{plate: {glob: '?'}}", {}, False),
        ("{plate: {glob: '.1'}}", {}, False),  # a dot is a dot
        ("{plate: {regex: '^[A-Z][0-9]$'}}", {}, True),
        ("{plate: {regex: '1'}}", {}, True),  # anywhere, unless anchored
        ("{plate: {regex: '^1'}}", {}, False),
        ("{lot.entrance: P1}", {"lot": LOT}, True),
        ("{lot.entrance: P1}", {}, False),
        ("{lot.exit: {exists: false}}", {"lot": LOT}, True),
        ("{linked_channels: 3}", {"linked_channels": ["1", "3"]}, True),
        ("{linked_channels: 4}", {"linked_channels": ["1", "3"]}, False),
        ("{linked_channels: {not_in: [3]}}", {"linked_channels": ["1", "3"]}, False),
        ("{linked_channels: {not_in: [4]}}", {"linked_channels": ["1", "3"]}, True),
        ("{linked_channels: {exists: false}}", {}, True),
        ("{linked_channels: {glob: '1*'}}", {"linked_channels": ["3", "12"]}, True),
        ("{first_seen: {at_least: '2026-01-01T00:00:00+01:00'}}", {"first_seen": "2025-12-31T23:00:00Z"}, True),
        ("{first_seen: {at_most: '2026-01-01T00:00:00+01:00'}}", {"first_seen": "2025-12-31T23:00:01Z"}, False),
    ],
)
def test_match_on_a_plate(match: str, data: dict[str, Any], fires: bool) -> None:
    """Each operator holds and fails where it should."""
    one = event("plate.read", {"plate": "A1", "plate_raw": "A 1", "score": 97.0, **data})
    assert _fires(match, one) is fires


@pytest.mark.parametrize(
    ("match", "fires"),
    [
        ("{flag: true}", True),
        ("{flag: 1}", False),  # in free JSON true is not 1
        ("{one: 1}", True),
        ("{one: true}", False),
        ("{one: 1.0}", True),
        ("{one: [true, 2]}", False),
        ("{text: '1'}", True),
        ("{text: 1}", False),
        ("{deep.er: x}", True),
        ("{deep: {exists: true}}", True),
        ("{deep: x}", False),
        ("{deep.est: {exists: false}}", True),
        ("{one: {at_least: 1}}", True),
        ("{flag: {at_least: 0}}", False),
        ("{text: {at_least: 0}}", False),
        ("{text: {regex: '^1$'}}", True),
        ("{one: {regex: '1'}}", False),
        ("{text: {in: residents}}", False),
        ("{plate: {in: residents}}", True),  # a list of plates compares in canonical form wherever it is used
        ("{one: {in: residents}}", False),
        ("{list: {exists: true}}", True),
        ("{list: x}", False),
    ],
)
def test_match_on_free_json(match: str, fires: bool) -> None:
    """Fields without a type of their own are compared by value and type."""
    data = {"flag": True, "one": 1, "text": "1", "deep": {"er": "x"}, "plate": "b 2", "list": ["x"]}
    assert _fires(match, event("custom.thing", data)) is fires


def test_nested_lists_match_when_one_element_does() -> None:
    """`clothes.colors` looks into every piece of clothing."""
    person = event(
        "object.detected", {"object": "human", "clothes": [{"colors": ["red"]}, {"colors": ["blue", "white"]}]}
    )
    assert _fires("{clothes.colors: blue}", person)
    assert not _fires("{clothes.colors: green}", person)
    assert not _fires("{clothes.part: tops}", person)


def test_true_and_false_fields() -> None:
    """A flag is compared with true or false."""
    status = event("recording.status", {"streaming": True, "recording": False})
    assert _fires("{streaming: true, recording: false}", status)
    assert not _fires("{recording: true}", status)


def test_a_tag_of_a_list_can_be_asked_for() -> None:
    """`{list: residents, tag: staff}` holds for tagged entries alone."""
    table = "plate,tags\nA1,staff night\nB2,\n"
    text = """
    lists: {residents: {plates: residents.csv}}
    rules:
      - id: r
        when: {kind: plate.read}
        match: {plate: {in: {list: residents, tag: night}}}
        then: [{clip: {}}]
    """
    run = Run(rules_of(text, residents=table))
    assert run.feed(plate("A1")).orders
    assert not run.feed(plate("B2")).orders


def test_a_pattern_that_kills_other_engines_is_quick() -> None:
    """RE2 takes linear time, and does not look at values without end."""
    one = event("custom.thing", {"text": "A" * 4000 + "!"})
    began = time.process_time()
    assert not _fires("{text: {regex: '^(([A-Z]+)+)+$'}}", one)
    assert not _fires("{text: {regex: A}}", event("custom.thing", {"text": "A" * 5000}))
    assert time.process_time() - began < 5


@pytest.mark.parametrize("pattern", ["a" * 513, "((a{100}){100}){100}", "(?=x)", "[", "(?P<"])
def test_a_pattern_that_cannot_be_is_refused(pattern: str) -> None:
    """Too long, too large, or not RE2: said at load."""
    text = f"rules: [{{id: r, when: {{kind: custom.x}}, match: {{a: {{regex: '{pattern}'}}}}, then: [{{clip: {{}}}}]}}]"
    [problem] = problems_of(text)
    assert "pattern" in problem


def test_the_opposite_of_a_match_is_made_of_all_of_it() -> None:
    """It is exact if all of it is; lists that let the one pass keep the other back."""
    plate_read, lot = field_of("plate.read", "plate"), field_of("plate.read", "device")
    like = Test(plate_read, "like A1", lambda value, moment: True, exact=False, asks=frozenset({("a", True)}))
    out = Test(lot, "not in b", lambda value, moment: True, asks=frozenset({("b", False)}))
    unlike = Unlike([like, out])
    assert (unlike.name, unlike.wanted) == ("match.plate", "not match.plate like A1 and match.device not in b")
    assert (unlike.exact, Unlike([out]).exact) == (False, True)
    assert unlike.asks == {("a", False), ("b", True)}


@pytest.mark.parametrize(
    "asked", ["in: {list: %s}", "in: {list: l, tag: %s}", "like: {list: %s}", "like: {list: l, tag: %s}"]
)
def test_each_rule_asks_its_own_list_and_tag(asked: str) -> None:
    """However much the questions of two rules are alike."""
    tables = {name: f"plate,tags\n{number},{name}\n" for name, number in (("a", "1AAAA1"), ("b", "2BBBB2"))}
    lists = "lists: {a: {plates: a.csv}, b: {plates: b.csv}, l: {plates: l.csv}}"
    rule = "{id: %s, when: {kind: plate.read}, match: {plate: {%s}}, then: [{clip: {}}]}"
    rules = ", ".join(rule % (name, asked % name) for name in "ab")
    tables["l"] = tables["a"] + tables["b"].partition("\n")[2]
    run = Run(rules_of(f"{lists}\nrules: [{rules}]", **tables))
    for number, name in (("1AAAA1", "a"), ("2BBBB2", "b")):
        assert [order.rule for order in run.feed(plate(number)).orders] == [name]
