"""Each operator of `match` by itself: what passes, what it says it wanted, and what it cannot mean."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.sdk import Logged
from rules.conditions import OPERATORS, Like, Lists, Test
from rules.fields import field_of
from rules.moment import Moment
from tests.rules.support import START, event, rules_of

TEXT = """
lists:
  plates: {plates: plates.csv}
  words: {values: [x, Y]}
rules: []
"""
RULES = rules_of(TEXT, plates="plate,tags\n12AB345,near\n34CD567,far\n")
LISTS = Lists(RULES.lists)
DATA = {"plate.read": {"plate": "12AB345", "plate_raw": "12AB345"}, "source.lost": {"reason": "x", "message": "x"}}


def _test(kind: str, path: str, operator: str, argument: Any) -> Test:
    return OPERATORS[operator](field_of(kind, path), argument, LISTS)


def _holds(test: Test, kind: str, path: str, value: Any) -> bool:
    """Tell whether a test holds for an event with this value there; "..." is what stands there anyway."""
    data = {**DATA.get(kind, {}), **({} if value == "..." else {path: value})}
    return test.holds(Moment(Logged(1, START, event(kind, data)), RULES.place))


REFERENCE = "takes the name of a list, {list: name, tag: text}, or values: [A, B]"
NOON, LATER = "2026-01-05T12:00:00+00:00", "2026-01-05T12:00:01+00:00"


@pytest.mark.parametrize(
    ("what", "operator", "argument", "wanted", "passing", "others"),
    [
        ("custom.x v", "equals", 1, "equals 1", [1, 1.0], [True, "1", 2, [1], {"a": 1}, None]),
        ("custom.x v", "equals", True, "equals true", [True], [1, "true", None]),
        ("custom.x v", "in", [1, "a"], "in 1, a", [1, "a"], [True, "b", None]),
        ("custom.x v", "not_in", [1, "a"], "not in 1, a", ["b", True], [1, "a", None]),
        ("custom.x v", "in", list("abcdefgh"), "in a, b, c, d, e, f, g, h", ["h"], ["i"]),
        ("custom.x v", "in", list("abcdefghi"), "in a, b, c, d, e, f, g, h, ... (9)", ["i"], ["j"]),
        ("custom.x v", "at_least", 5, "at least 5", [5, 6], [4.9, True, "6", None]),
        ("custom.x v", "at_most", 5, "at most 5", [5, 4.9], [5.1, False, "4", None]),
        ("custom.x v", "between", [5, 7], "between 5 and 7", [5, 6, 7], [4.9, 7.1, True, "6", None]),
        ("custom.x v", "between", [5, 5], "between 5 and 5", [5], [4, 6]),
        ("custom.x v", "exists", True, "present", [0, "", False], [None]),
        ("custom.x v", "exists", False, "absent", [None], [0, "", False]),
        (
            "custom.x v",
            "glob",
            "ab*",
            "like ab*",
            ["ab", "abc", "a" + "b" * 4095],
            ["a", "Ab", "xab", "a" + "b" * 4096, 5],
        ),
        ("custom.x v", "glob", "a*b*", "like a*b*", ["ab", "a12bc"], ["ba"]),
        ("custom.x v", "glob", "a?*", "like a?*", ["ab", "abc"], ["a"]),
        ("custom.x v", "glob", "ab", "like ab", ["ab"], ["abc", "a"]),
        ("custom.x v", "regex", "a.c", "matching a.c", ["xabcx", "a" * 4093 + "abc"], ["ac", "a" * 4094 + "abc", 5]),
        ("custom.x v", "in", "words", "in words", ["x", "Y"], ["y", 1, None]),
        ("custom.x v", "in", "plates", "in plates", ["12AB345", "12-ab-345"], ["12AB346", 5]),
        ("custom.x v", "in", {"list": "plates", "tag": "near"}, "in plates with tag near", ["12AB345"], ["34CD567"]),
        ("custom.x v", "like", "12AB345", "like 12AB345 within 1", ["12AB346", "12-AB-345"], ["12AB366", 5, None]),
        ("custom.x v", "like", Like(["A1", "12AB345"], 2), "like A1, 12AB345 within 2", ["12AB366", "A1"], ["12AX666"]),
        (
            "custom.x v",
            "like",
            Like({"list": "plates", "tag": "near"}, 1),
            "like one of plates with tag near within 1",
            ["12AB346"],
            ["34CD567", "12AB366", 5],
        ),
        ("custom.x v", "like", Like({"list": "plates"}, 2), "like one of plates within 2", ["34CD588"], ["99"]),
        ("plate.read score", "at_least", 97, "at least 97", [97], [96.9]),
        ("plate.read score", "at_most", 97, "at most 97", [97], [97.1]),
        ("plate.read score", "between", [90, 97], "between 90 and 97", [90, 97], [89.9, 97.1]),
        ("plate.read plate", "equals", "12-ab-345", "equals 12-ab-345", ["..."], ["A1"]),
        ("source.lost since", "at_least", LATER, f"at least {LATER}", [LATER], [NOON]),
        ("source.lost since", "between", [NOON, NOON], f"between {NOON} and {NOON}", [NOON], [LATER]),
        ("plate.read linked_channels", "in", ["1", "2"], "in 1, 2", [["2", "3"]], [["3"], []]),
    ],
)
def test_what_passes(
    what: str, operator: str, argument: Any, wanted: str, passing: list[Any], others: list[Any]
) -> None:
    """To the very bound; what is of another type does not, nor what is absent."""
    kind, _, path = what.partition(" ")
    test = _test(kind, path, operator, argument)
    assert (test.name, test.wanted) == (f"match.{path}", wanted)
    assert [value for value in passing if not _holds(test, kind, path, value)] == []
    assert [value for value in others if _holds(test, kind, path, value)] == []


@pytest.mark.parametrize(
    ("operator", "argument", "exact", "asks"),
    [
        ("equals", "x", True, set()),
        ("in", "plates", True, {("plates", True)}),
        ("not_in", "plates", True, {("plates", False)}),
        ("like", "x1234", False, set()),
        ("like", {"list": "plates"}, False, {("plates", True)}),
    ],
)
def test_what_a_question_rests_on(operator: str, argument: Any, exact: bool, asks: set[tuple[str, bool]]) -> None:
    """Whether what passes is what was asked for, and which lists decide."""
    test = _test("custom.x", "v", operator, argument)
    assert (test.exact, test.asks) == (exact, asks)


@pytest.mark.parametrize(
    ("operator", "argument", "answers"),
    [
        ("equals", 5, {5: True, 6: False, "5": False}),
        ("at_least", 5, {5: True, 4.9: False, "6": None, True: None}),
        ("at_most", 5, {5: True, 5.1: False, "4": None}),
        ("between", [5, 6], {5: None}),
        ("glob", "a*", {"a": None}),
        ("exists", False, {None: True, 5: None}),
        ("exists", True, {None: False}),
    ],
)
def test_what_is_known_of_a_value_before_it_comes(
    operator: str, argument: Any, answers: dict[Any, bool | None]
) -> None:
    """None where more than the value decides, or nobody asks."""
    test = _test("custom.x", "v", operator, argument)
    assert {value: test.answer(value) for value in answers} == answers
    assert test.answer([5]) is None


@pytest.mark.parametrize(
    ("what", "operator", "argument", "why"),
    [
        ("custom.x v", "equals", [1], "`equals` takes one value; for several write `in`"),
        ("custom.x v", "equals", None, "cannot be compared with nothing; for absent write {exists: false}"),
        ("custom.x v", "equals", {"a": 1}, "cannot be compared with a mapping; for absent write {exists: false}"),
        ("custom.x v", "in", [], "`in` must not be empty"),
        ("custom.x v", "in", 5, REFERENCE),
        ("custom.x v", "in", {"list": "plates", "x": 1}, REFERENCE),
        ("custom.x v", "in", {"tag": "x"}, REFERENCE),
        ("custom.x v", "at_least", "a", "'a' is not a number"),
        ("custom.x v", "between", [7, 5], "`between` has its ends the wrong way round: 7 is above 5"),
        ("custom.x v", "glob", 5, "`glob` takes a text with * and ?, got 5"),
        ("custom.x v", "regex", 5, "`regex` takes a pattern, got 5"),
        ("custom.x v", "exists", "yes", "`exists` is true or false, got 'yes'"),
        ("custom.x v", "like", [], "`like` must not be empty"),
        ("custom.x v", "like", "-", "an empty plate is like nothing"),
        ("plate.read score", "glob", "5*", "it is a number; `glob` looks at texts"),
        ("plate.read score", "regex", "5", "it is a number; `regex` looks at texts"),
        ("plate.read score", "in", "words", "it is a number; named lists hold texts"),
        ("plate.read score", "like", "A1", "it is a number; `like` compares plates"),
        ("plate.read score", "equals", "5", "it is a number, and '5' is not"),
        ("plate.read plate", "equals", "-", "an empty plate matches nothing"),
        ("clip.ready complete", "equals", 1, "it is true or false, and 1 is neither"),
        ("source.lost since", "equals", "noon", "it is a time, and 'noon' is not; write 2026-01-31T18:00:00+01:00"),
        ("source.lost since", "equals", 5, "it is a time, and 5 is not; write 2026-01-31T18:00:00+01:00"),
        (
            "source.lost since",
            "equals",
            "2026-01-31T18:00",
            "it is a time, and '2026-01-31T18:00' is not; write 2026-01-31T18:00:00+01:00",
        ),
    ],
)
def test_what_cannot_be_meant(what: str, operator: str, argument: Any, why: str) -> None:
    """In a sentence with what was given, and what to write."""
    kind, _, path = what.partition(" ")
    with pytest.raises(ValueError, match=r".") as caught:
        _test(kind, path, operator, argument)
    assert str(caught.value) == why


@pytest.mark.parametrize(("most", "distance", "refused"), [(2, 2, False), (1, 2, True), (1, 1, False), (1, 0, False)])
def test_how_many_plates_are_looked_through_for_two_slips(
    most: int, distance: int, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For one there is no limit."""
    monkeypatch.setattr("rules.conditions.FAR_ENTRIES", most)
    if not refused:
        assert _test("custom.x", "v", "like", Like({"list": "plates"}, distance)).wanted.endswith(f"within {distance}")
        return
    with pytest.raises(ValueError, match="holds") as caught:
        _test("custom.x", "v", "like", Like({"list": "plates"}, distance))
    assert str(caught.value) == (
        "list 'plates' holds 2 plates; a distance of 2 is for 1 at most, and of so many some would be like nearly "
        "every plate. With 1 there is no limit"
    )
