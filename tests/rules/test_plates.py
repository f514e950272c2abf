"""What a plate is like: looks, slips, lists of them."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.sdk import canonical_plate
from rules.plates import FAR_ENTRIES, HOMOGLYPHS, LONGEST, LOOK_ALIKES, Looks, allowed, look, slips
from rules.trial import run_trials
from tests.rules.support import ACTIONS, Run, plate, problems_of, rules_of

# --- looks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("B0O1", "80OI"),
        ("5z-ql", "SZ 01"),
        ("АВЕКМНОРСТУХ", "ABEKMHOPCTYX"),  # the letters of Russian plates
        ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEZHIKMNOPTYX"),  # the letters of Greek plates
        ("КІ", "KI"),
        ("ЁЙ", "EИ"),
        ("MÜ·Ø", "MU0"),
        ("ЗЅ", "35"),
        ("１２가３４", "12가34"),
    ],
)
def test_what_is_printed_or_read_alike_looks_alike(one: str, other: str) -> None:
    """Latin, Greek and Cyrillic; accents are nothing a reader is sure of."""
    assert look(one) == look(other)


@pytest.mark.parametrize(
    ("one", "other"), [("12가34", "12나34"), ("가", "거"), ("각", "가"), ("3", "8"), ("京A", "沪A")]
)
def test_what_is_not_alike_stays_apart(one: str, other: str) -> None:
    """Hangul above all: one syllable is one character, and no other."""
    assert look(one) != look(other)
    assert slips(look(one), look(other), 2) == 1


def test_the_tables_agree_with_each_other() -> None:
    """No character is in two places, and none of them is changed by the canonical form first."""
    for table in (HOMOGLYPHS, LOOK_ALIKES):
        others = "".join(table.values())
        assert len(set(others)) == len(others)
        assert not set(others) & table.keys()
        assert all(canonical_plate(char) == char for char in others)


_texts = st.text(max_size=12) | st.text("AΑАBВ8O0oé가나각 -", max_size=12)


@given(_texts)
@example("가̈ᅡ")
@settings(max_examples=300)
def test_a_look_looks_like_itself_and_like_its_plate(text: str) -> None:
    """However strange the text; whoever is equal is alike."""
    assert look(look(text)) == look(text)
    assert look(canonical_plate(text)) == look(text)


# --- slips -----------------------------------------------------------------------------------------


@cache
def _plain_slips(one: str, other: str) -> int:
    """The distance as its definition says it."""
    if not one or not other:
        return len(one) + len(other)
    ways = [
        _plain_slips(one[:-1], other) + 1,
        _plain_slips(one, other[:-1]) + 1,
        _plain_slips(one[:-1], other[:-1]) + (one[-1] != other[-1]),
    ]
    if len(one) > 1 and len(other) > 1 and one[-1] == other[-2] and one[-2] == other[-1]:
        ways.append(_plain_slips(one[:-2], other[:-2]) + 1)
    return min(ways)


_looks = st.text("AB1가", max_size=9)


@given(_looks, _looks, st.integers(0, 3))
@settings(max_examples=300)
def test_slips_are_counted_as_defined(one: str, other: str, most: int) -> None:
    """And what is more than one cares for is just more."""
    assert slips(one, other, most) == min(_plain_slips(one, other), most + 1) == slips(other, one, most)


@pytest.mark.parametrize(
    ("other", "count"), [("12AB345", 0), ("12AB34", 1), ("121AB345", 1), ("12BA345", 1), ("72AB347", 2), ("1AB3457", 2)]
)
def test_one_slip_is_one_mistake_of_a_reader(other: str, count: int) -> None:
    """Missing, invented, misread, exchanged."""
    assert slips("12AB345", other, 5) == count


@given(
    st.lists(st.text("AB18가-", min_size=1, max_size=9), max_size=12), st.text("AB18가-", max_size=9), st.integers(0, 2)
)
@settings(max_examples=400)
def test_a_list_is_searched_as_if_every_plate_was_looked_at(plates: list[str], seen: str, distance: int) -> None:
    """Quick ways find what the slow one finds."""
    known = {canonical_plate(one) for one in plates}
    slow = [one for one in sorted(known) if slips(look(seen), look(one), 2) <= allowed(look(one), distance)]
    assert Looks(known).like(seen, distance) == slow


@pytest.mark.parametrize("distance", [0, 1, 2])
def test_a_plate_that_is_added_is_found_like_the_others(distance: int) -> None:
    """Also after others were looked for, and with characters that none had before; once, however often it is added."""
    looks = Looks(["12AB345"])
    seen = {0: "98XY765", 1: "98XY764", 2: "98XW764"}[distance]
    assert looks.like(seen, distance) == []
    for _ in range(2):
        looks.add("98XY765")
    looks.add("9BXY765")  # looks like it
    assert looks.like(seen, distance) == ["98XY765", "9BXY765"]
    assert looks.like("12AB345", distance) == ["12AB345"]
    assert looks.like("99XX999", distance) == []
    assert len(looks) == 2


def test_short_plates_must_be_exact_and_long_ones_are_no_plates() -> None:
    """Or a plate of two characters would be like everything, and one of a thousand take for ever."""
    assert [allowed("x" * count, 2) for count in (1, 2, 3, 5, 6, LONGEST, LONGEST + 1)] == [0, 0, 1, 1, 2, 2, 0]
    short = Looks(["A1", "A12"])
    assert (short.like("A1", 1), short.like("A7", 1), short.like("A1", 2)) == (["A1", "A12"], [], ["A1", "A12"])
    long = Looks(["X" * 1000])
    assert (long.like("X" * 1000, 2), long.like("X" * 999, 2)) == (["X" * 1000], [])


# --- in a rule -------------------------------------------------------------------------------------

_LISTS = "lists: {watch: {plates: watch.csv}, words: {values: [a]}}"
_WATCH = """
plate,valid_from,valid_until,days,hours,tags
12AB345,,,,,stolen
34CD567,2027-01-01,,,,
"""


def _fires(match: str, number: str) -> bool:
    text = (
        f"{_LISTS}\nrules: [{{id: r, when: {{kind: plate.read}}, match: {{plate: {match}}}, then: [{{clip: {{}}}}]}}]"
    )
    return bool(Run(rules_of(text, watch=_WATCH.strip())).feed(plate(canonical_plate(number))).orders)


@pytest.mark.parametrize(
    ("match", "number", "fires"),
    [
        ("{like: 12AB345}", "12A8345", True),  # look-alikes are no slip
        ("{like: 12AB345, distance: 0}", "I2А83A5", False),
        ("{like: 12AB345, distance: 0}", "I2А8345", True),  # the third is Cyrillic
        ("{like: 12AB345}", "12AB346", True),
        ("{like: 12AB345}", "12AB366", False),
        ("{like: 12AB345, distance: 2}", "12AB366", True),
        ("{like: [99X999, 12-ab-345]}", "12AB34", True),
        ("{like: 4711}", "4712", True),
        ("{like: {list: watch}}", "12AB346", True),
        ("{like: {list: watch}}", "34CD567", False),  # not valid yet
        ("{like: {list: watch, tag: stolen}, distance: 2}", "12A365", True),
        ("{like: {list: watch}, not_in: watch}", "12AB345", False),  # only what was misread
        ("{like: {list: watch}, not_in: watch}", "12A8345", True),
        ("{not_in: watch, like: {list: watch}}", "12AB345", False),
        ("{like: {list: watch}, distance: 1, not_in: watch}", "12AB345", False),
        ("{distance: 1, like: {list: watch}, not_in: watch}", "12A8345", True),
    ],
)
def test_like_asks_for_what_looks_like_it(match: str, number: str, fires: bool) -> None:
    """A plate, several, or those of a list that count at the time."""
    assert _fires(match, number) == fires


@pytest.mark.parametrize("match", ["12AB345", "{in: [12AB345]}", "{in: watch}", "{glob: '12AB*'}"])
@pytest.mark.parametrize("number", ["12АB345", "12ΑB345", "I2AB345", "12A8345"])
def test_everything_else_takes_no_look_alike(match: str, number: str) -> None:
    """Exact comparison folds width, case and separators; a Cyrillic А is not a Latin A."""
    assert not _fires(match, number)
    assert _fires(match, "１２-ab・345".replace("・", "·"))


def test_the_trace_says_what_it_should_have_been_like() -> None:
    """With the distance."""
    rule = "{id: r, when: {kind: plate.read}, match: {plate: {like: {list: watch}}}, then: [{clip: {}}]}"
    text = f"{_LISTS}\nrules: [{rule}]"
    [trace] = Run(rules_of(text, watch=_WATCH.strip())).feed(plate("99XX999")).traces
    assert (trace.condition, trace.wanted, trace.seen) == ("match.plate", "like one of watch within 1", "99XX999")


@pytest.mark.parametrize(
    ("match", "why"),
    [
        ("{like: watch, distance: 3}", "`distance` is 0 to 2 slips of a reader, got 3"),
        ("{like: A1, distance: true}", "`distance` is 0 to 2 slips of a reader, got true"),
        ("{distance: 1}", "rule r: `plate`: `distance` belongs beside `like`: {like: 12AB345, distance: 1}"),
        ("{like: []}", "`like` must not be empty"),
        ("{like: '-'}", "an empty plate is like nothing"),
        ("{like: {list: nobody}}", "unknown list 'nobody'"),
        ("{like: {list: watch, tag: gone}}", "unknown tag of list 'watch' 'gone'"),
        ("{like: {list: words}}", "list 'words' holds texts; `like` compares plates"),
        ("{like: true}", "`like` takes a plate, several, or {list: name, tag: text}, got true"),
        ("{like: {plate: A}}", "takes the name of a list, {list: name, tag: text}"),
    ],
)
def test_what_cannot_be_meant_is_said(match: str, why: str) -> None:
    """At check time."""
    text = (
        f"{_LISTS}\nrules: [{{id: r, when: {{kind: plate.read}}, match: {{plate: {match}}}, then: [{{clip: {{}}}}]}}]"
    )
    problems = problems_of(text, watch=_WATCH.strip())
    assert any(why in problem for problem in problems), problems


def test_a_distance_of_two_is_for_lists_that_can_be_looked_through() -> None:
    """The message says what to do."""
    table = "plate\n" + "\n".join(f"A{number:06}" for number in range(FAR_ENTRIES + 1))
    text = "{id: r, when: {kind: plate.read}, match: {plate: {like: {list: watch}, distance: %d}}, then: [{clip: {}}]}"
    lists = "lists: {watch: {plates: watch.csv}}\nrules: ["
    assert rules_of(f"{lists}{text % 1}]", watch=table).rules
    [problem] = problems_of(f"{lists}{text % 2}]", watch=table)
    assert "list 'watch' holds 10001 plates; a distance of 2 is for 10000 at most" in problem


def test_a_suggestion_can_be_tried_in_a_test() -> None:
    """The gate stays shut, and somebody is told."""
    text = """
    lists: {residents: {plates: [12AB345]}}
    rules:
      - {id: gate, when: {kind: plate.read}, match: {plate: {in: residents}}, then: [{open: main-gate}]}
      - id: misread
        when: {kind: plate.read}
        match: {plate: {like: {list: residents}, not_in: residents}}
        then: [{mqtt: {topic: gate/misread, payload: "{{ event.data.plate }}"}}]
    tests:
      - name: misread
        given: [{kind: plate.read, data: {plate: 12A8345}}]
        expect: [{mqtt: {topic: gate/misread, payload: 12A8345}}]
      - name: read well
        given: [{kind: plate.read, data: {plate: 12AB345}}]
        expect: [{open: main-gate}]
    """
    assert [str(result) for result in run_trials(rules_of(text), ACTIONS) if not result.passed] == []
