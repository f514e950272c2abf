"""The book of values: what is found again in them, what ends by itself, and how keys are filed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic_core import to_json

from bridge.sdk import Fact, StateKey, stable_id
from rules.state import ENTITIES, LISTS, MOST_KNOWN, Book, Timer, key_of, make_value, state_key
from rules.waiting import firing_key, place_of
from tests.rules.support import START

K = StateKey("r", "k")


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def _iso(seconds: float) -> str:
    return _at(seconds).isoformat()


def _timers(**seconds: float) -> dict[str, Any]:
    return {"version": "1", "timers": {name: _iso(second) for name, second in seconds.items()}}


def _ends(**seconds: float) -> dict[str, Any]:
    return {"version": "1", **{name: _iso(second) for name, second in seconds.items()}}


class TestKeys:
    @pytest.mark.parametrize("key", ["1", "x" * 64, "ä" * 32, "a$", "\ud800" * 64])
    def test_a_key_is_filed_as_it_is(self, key: str) -> None:
        """As long as its bytes are few enough."""
        assert state_key("r", key) == StateKey("r", key)
        assert make_value("1", key, state_key("r", key), a=1) == {"version": "1", "a": 1}
        assert key_of(StateKey("r", key), {}) == key

    @pytest.mark.parametrize("key", ["x" * 65, "ä" * 33, "$", "$x"])
    def test_a_long_or_strange_key_is_filed_under_its_hash(self, key: str) -> None:
        """And is kept in the value."""
        filed = state_key("r", key)
        assert filed == StateKey("r", f"${stable_id(key)}")
        value = make_value("1", key, filed, a=1)
        assert value == {"version": "1", "key": key, "a": 1}
        assert key_of(filed, value) == key

    def test_no_key(self) -> None:
        """It has a name on the bus all the same."""
        filed = state_key("r", "")
        assert filed == StateKey("r", "$")
        assert make_value("1", "", filed, a=1) == {"version": "1", "a": 1}
        assert key_of(filed, {}) == ""

    def test_a_value_that_remembers_nothing_is_none(self) -> None:
        """What is empty is left out; what is false or nought is not empty."""
        assert make_value("1", "$x", state_key("r", "$x"), a={}, b=None) is None
        assert make_value("1", "k", K, a={}, b=None, c=0, d=False) == {"version": "1", "c": 0, "d": False}


class TestValues:
    def test_what_changed_is_told_once(self) -> None:
        """What a book begins with has not changed; a part that is set to nothing goes, and with the last the value."""
        book = Book({K: _ends(rest=5)})
        assert book.take_changed() == {}
        book.update("2", "k", K, memory={"a": 1})
        assert book.get(K) == {"version": "2", "rest": _iso(5), "memory": {"a": 1}}
        book.update("2", "k", K, rest=None)
        assert book.values() == {K: {"version": "2", "memory": {"a": 1}}}
        assert book.take_changed() == {K: {"version": "2", "memory": {"a": 1}}}
        assert book.take_changed() == {}
        book.update("2", "k", K, memory=None)
        assert (book.get(K), book.values(), book.take_changed()) == (None, {}, {K: None})

    def test_a_key_that_is_kept_in_the_value_stays(self) -> None:
        """However often it is written."""
        book, filed = Book({}), state_key("r", "$x")
        book.update("1", "$x", filed, a=1)
        book.update("1", "$x", filed, b=2)
        assert book.get(filed) == {"version": "1", "key": "$x", "a": 1, "b": 2}

    def test_the_values_of_rules_in_order(self) -> None:
        """Without entities, lists and what else is no rule."""
        others = [StateKey(ENTITIES, "nvr1"), StateKey("$list/a", "X")]
        book = Book({key: {"version": "1"} for key in (StateKey("b", "1"), *others, StateKey("a", "2"), K)})
        assert [key for key, _ in book.rules()] == [StateKey("a", "2"), StateKey("b", "1"), K]


class TestTimers:
    def test_they_come_by_time_and_then_by_name(self) -> None:
        """Not before they are due; once each."""
        other = StateKey("q", "z")
        book = Book({K: _timers(b=5, a=5, c=1), other: _timers(d=5)})
        assert (book.next_due(), book.pop_due(_at(0.9))) == (_at(1), None)
        assert book.pop_due(_at(1)) == Timer(_at(1), "r\0k\0c", K, "c")
        assert [book.pop_due(_at(9)) for _ in range(4)] == [
            Timer(_at(5), "q\0z\0d", other, "d"),
            Timer(_at(5), "r\0k\0a", K, "a"),
            Timer(_at(5), "r\0k\0b", K, "b"),
            None,
        ]
        assert book.next_due() is None

    def test_one_that_is_set_anew_or_cancelled(self) -> None:
        """Only what the value says now counts."""
        book = Book({K: _timers(a=1, b=2)})
        book.put(K, _timers(a=3, b=2))
        assert book.next_due() == _at(2)
        book.put(K, _timers(a=3))
        assert book.next_due() == _at(3)
        book.put(K, None)
        assert (book.next_due(), book.pop_due(_at(9))) == (None, None)

    def test_one_that_is_written_again_is_not_there_twice(self) -> None:
        """The same time is the same timer."""
        book = Book({K: _timers(a=1)})
        book.put(K, {**_timers(a=1), "rest": _iso(9)})
        assert book.pop_due(_at(1)) is not None
        assert book.pop_due(_at(1)) is None

    def test_cancelled_ones_are_cleared_away(self) -> None:
        """Those that count are never so few that it pays to keep the others."""
        book = Book({K: _timers(a=1)})
        for number in range(67):
            book.put(K, _timers(a=2 + number))
        assert len(book._timers) == 68
        book.put(K, _timers(a=1000))
        assert book._timers == [Timer(_at(1000), "r\0k\0a", K, "a")]
        keys = [StateKey("r", f"{number}") for number in range(20)]
        for key in keys:
            book.put(key, _timers(a=5))
        for key in keys:
            book.put(key, None)
        for number in range(60):
            book.put(K, _timers(a=2000 + number))
        assert len(book._timers) < 70
        assert book.next_due() == _at(2059)


class TestWhatEnds:
    def test_what_is_over_goes_with_what_belongs_to_it(self) -> None:
        """The rest of the value stays until its own time."""
        value = {**_ends(rest=5, quiet=6, spent=7, forget=8), "fired": [_iso(1)], "memory": {"a": 1}, "timers": {}}
        book = Book({K: value})
        book.sweep(_at(4.9))
        assert book.take_changed() == {}
        left = []
        for second in (5, 6, 7, 8):
            book.sweep(_at(second))
            left.append(sorted(book.get(K) or ()))
        assert left == [
            ["fired", "forget", "memory", "quiet", "spent", "version"],
            ["fired", "forget", "memory", "spent", "version"],
            ["forget", "memory", "version"],
            [],
        ]
        assert book.take_changed() == {K: None}

    def test_a_changed_list_ends_too(self) -> None:
        """Only what ends: one without an end stays."""
        a, b = StateKey(f"{LISTS}x", "A"), StateKey(f"{LISTS}x", "B")
        listed = {"version": "1", "listed": True, "from": _iso(0), "tags": ["t"]}
        book = Book({a: {**listed, "ends": _iso(5)}, b: listed})
        assert book.listed == {"$list/x": 2}
        book.put(b, {**listed, "listed": False})
        assert book.listed == {"$list/x": 2}
        book.sweep(_at(5))
        assert (book.get(a), book.get(b), book.listed) == (None, {**listed, "listed": False}, {"$list/x": 1})
        book.put(b, None)
        assert book.listed == {"$list/x": 0}

    def test_so_many_in_one_step(self) -> None:
        """Eight; the next step goes on, the first that ended first."""
        book = Book({StateKey("r", f"{number:02}"): _ends(rest=number) for number in range(20)})
        left = []
        for _ in range(3):
            book.sweep(_at(99))
            left.append(len(book.values()))
            assert {key.key for key in book.values()} == {f"{number:02}" for number in range(20 - left[-1], 20)}
        assert left == [12, 4, 0]

    def test_a_time_that_moves_is_looked_at_again(self) -> None:
        """Later or earlier; one that moved on costs nothing of what a step may sweep."""
        keys = [StateKey("r", f"{number}") for number in range(10)]
        book = Book({key: _ends(rest=5) for key in keys})
        for key in keys[1:]:
            book.put(key, _ends(rest=9))
        book.take_changed()
        book.sweep(_at(5))
        assert book.take_changed() == {keys[0]: None}
        book.put(keys[1], _ends(rest=6))
        book.put(keys[2], _ends(rest=7, quiet=6.5))
        book.sweep(_at(6.5))
        assert book.take_changed() == {
            keys[1]: None,
            keys[2]: {"version": "1", "rest": _iso(7)},
        }
        book.sweep(_at(8))
        assert book.take_changed() == {keys[2]: None}
        book.sweep(_at(9))
        assert len(book.take_changed()) == 7

    def test_a_time_that_keeps_moving_is_noted_once(self) -> None:
        """What must be gone through when it is over does not grow with it."""
        book = Book({})
        for second in range(100):
            book.put(K, _ends(rest=10 + second // 2))
        assert book._ends == [(_at(10), K)]


class TestFirings:
    A, B = StateKey("r", "a"), StateKey("r", "b/c")

    def _firing(
        self, number: int, *orders: str, due: float | None = None, hears: bool = False, size: int = 10
    ) -> dict[str, Any]:
        return {
            "version": "1",
            "key": "a",
            "number": number,
            "size": size,
            "event": {"id": "e", "received": _iso(0)},
            "waiting": {} if due is None else {"3": _iso(due)},
            **({"orders": list(orders)} if orders else {}),
            **({"hears": {}} if hears else {}),
        }

    def test_a_firing_has_a_value_of_its_own(self) -> None:
        """Beside its rule and key, whatever the key looks like."""
        filed = firing_key(self.B, "f")
        assert filed == StateKey("$firing/r", "b/c/f")
        assert place_of(filed) == self.B
        book = Book({filed: self._firing(7, due=5), self.B: _timers(a=5), self.A: _timers(a=5)})
        assert [key for key, _ in book.rules()] == [self.A, self.B]
        turns = [timer.id for timer in (book.pop_due(_at(5)) for _ in range(3)) if timer]
        assert turns == ["r\0a\0a", "r\0b/c\0a", "r\0b/c\0wait:000000007:003"]

    def test_those_of_a_key_come_in_the_order_in_which_they_began(self) -> None:
        """Those that wait and those in line, however they were written down; a look-up finds all."""
        filed = {name: firing_key(self.A, name) for name in "zyxw"}
        other = firing_key(self.B, "z")
        book = Book(
            {
                filed["x"]: self._firing(12),
                filed["y"]: self._firing(11, "o", due=6, hears=True),
                filed["z"]: self._firing(2, "o", "p", due=5, hears=True),
                other: self._firing(0, due=1, hears=True, size=5),
            }
        )
        waiting = book.waiting
        assert waiting.begun(self.A) == (filed["z"], filed["y"])
        assert (waiting.is_begun(self.A), waiting.is_begun(StateKey("r", "c"))) == (True, False)
        assert (waiting.first_in_line(self.A), waiting.first_in_line(self.B)) == (filed["x"], None)
        assert [waiting.next_number(place) for place in (self.A, self.B, StateKey("q", "a"))] == [13, 1, 0]
        assert (waiting.of_rule("r"), waiting.of_rule("q")) == ((4, 35), (0, 0))
        assert (waiting.for_order("o"), waiting.for_order("p")) == ((filed["z"], filed["y"]), (filed["z"],))
        assert (waiting.hears, waiting.is_hearing("r"), waiting.is_hearing("q")) == (True, True, False)
        assert waiting.hearing("r") == [filed["z"], filed["y"], other]
        assert waiting.hearing("r", self.B) == [other]
        assert (waiting.hearing("r", StateKey("r", "c")), waiting.hearing("q")) == ([], [])
        assert [key for key, _ in book.firings()] == [filed["z"], filed["y"], filed["x"], other]

    def test_what_leads_to_a_firing_goes_with_it(self) -> None:
        """Piece by piece as it goes on, and altogether at last."""
        one, two = firing_key(self.A, "1"), firing_key(self.A, "2")
        book = Book({one: self._firing(0, "o", due=5, hears=True), two: self._firing(1, "o", due=6)})
        book.put(one, self._firing(0, "p", due=7, size=30))
        waiting = book.waiting
        assert (waiting.for_order("o"), waiting.for_order("p"), waiting.hears) == ((two,), (one,), False)
        assert (waiting.begun(self.A), waiting.of_rule("r")) == ((one, two), (2, 40))
        assert [timer.name for timer in (book.pop_due(_at(6)), book.pop_due(_at(7))) if timer] == ["3", "3"]
        book.put(one, self._firing(0))
        assert (waiting.begun(self.A), waiting.first_in_line(self.A)) == ((two,), one)
        book.put(one, self._firing(9, due=8))
        assert (waiting.begun(self.A), waiting.first_in_line(self.A)) == ((two, one), None)
        book.put(two, None)
        assert (waiting.begun(self.A), waiting.of_rule("r"), waiting.for_order("o")) == ((one,), (1, 10), ())
        book.put(one, None)
        assert (waiting.begun(self.A), waiting.of_rule("r"), waiting.next_number(self.A)) == ((), (0, 0), 0)
        tables = (waiting._begun, waiting._line, waiting._orders, waiting._hearing, waiting._of_rule)
        assert tables == ({}, {}, {}, {}, {})

    @pytest.mark.parametrize(
        "spoilt",
        [
            {"number": None},
            {"number": "x"},
            {"size": None},
            {"waiting": {"x": _iso(1)}},
            {"waiting": {"1": "soon"}},
            {"waiting": None},
            {"event": {"id": "e"}},
            {"event": {"id": 5, "received": _iso(0)}},
            {"event": {"id": "e", "received": 5}},
            {"version": 1},
            {"key": None},
            {"orders": 5},
        ],
    )
    def test_one_that_makes_no_sense_is_put_aside(self, spoilt: dict[str, Any]) -> None:
        """The others are there; somebody can tell of it."""
        filed, other = firing_key(self.A, "1"), firing_key(self.A, "2")
        value = {**self._firing(0, due=1), **spoilt}
        book = Book({filed: value, other: self._firing(1, due=2)})
        assert (book.senseless, book.waiting.begun(self.A), book.get(filed)) == ({filed: value}, (other,), None)

    def test_a_value_of_another_form_is_put_aside(self) -> None:
        """One without a version, one with what no value has, one with a time that is none; not an entity."""
        spoilt: dict[StateKey, Any] = {
            StateKey("r", "1"): {"rest": _iso(0)},
            StateKey("r", "2"): {"version": "1", "waits": {}},
            StateKey("r", "3"): {"version": "1", "rest": "soon"},
            StateKey("r", "4"): {"version": "1", "timers": {"a": "soon"}},
            StateKey("r", "5"): None,
            StateKey("r", "6"): {"version": "1", "listed": True},
            StateKey("$firing/r", "k/1"): [],
        }
        whole = {**_ends(rest=1, quiet=2, spent=3, forget=4), "key": "k", "memory": {}, "fired": []}
        fine = {StateKey(ENTITIES, "x"): {"a": {"value": 1, "since": _iso(0)}}, K: {**whole, **_timers(a=1)}}
        book = Book({**spoilt, **fine})
        assert (book.senseless, book.values()) == (spoilt, fine)


class TestFacts:
    def test_the_later_one_counts(self) -> None:
        """What is known is not written again; of two at the same time the second counts."""
        book = Book({})
        filed = StateKey(ENTITIES, "door")
        book.remember(Fact("door", "open", True), _at(5))
        assert book.take_changed() == {filed: {"open": {"value": True, "since": _iso(5)}}}
        book.remember(Fact("door", "open", True), _at(6))
        book.remember(Fact("door", "open", False), _at(4.9))
        assert book.take_changed() == {}
        book.remember(Fact("door", "open", False), _at(5))
        book.remember(Fact("door", "locked", 1), _at(1))
        assert book.noted("door", "open") == (False, _at(5))
        assert (book.fact("door", "open"), book.fact("door", "locked"), book.fact("gate", "x")) == (False, 1, None)
        assert (book.noted("door", "x"), book.noted("gate", "open")) == (None, None)

    def test_what_there_is_no_room_for_is_not_known(self) -> None:
        """Nor what it would have replaced; the other attributes stay, and each value can be written down."""
        book = Book({})
        book.remember(Fact("rules/a", "other", 1), START)
        for number in range(9):
            book.remember(Fact("rules/a", f"n{number}", "x" * 90_000), START)
        assert [book.fact("rules/a", f"n{number}") is None for number in range(9)] == [False] * 4 + [True] * 5
        book.remember(Fact("rules/a", "n0", ["y" * 90_000] * 2), START)
        assert (book.fact("rules/a", "n0"), book.fact("rules/a", "other")) == (None, 1)
        book.remember(Fact("rules/b", "n" * 500_000, True), START)
        assert book.fact("rules/b", "n" * 500_000) is None
        for number in range(250):
            book.remember(Fact("rules/c", f"n{number}", "x" * 2_000), START)
        assert book.fact("rules/c", "n100") is not book.fact("rules/c", "n249")
        assert max(len(to_json(value)) for value in book.values().values()) <= MOST_KNOWN

    def test_an_entity_may_fill_what_room_there_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """To the byte; what is large or one of many is measured."""
        large, many = "x" * 1001, {f"n{number}": number for number in range(101)}
        for attributes in ({"a": large}, {"a": 5, "b" * 1001: 7}, many):
            whole = Book({})
            for name, value in attributes.items():
                whole.remember(Fact("rules/a", name, value), START)
            [written] = whole.values().values()
            for less in (0, 1):
                book = Book({})
                with monkeypatch.context() as patch:
                    patch.setattr("rules.state.MOST_KNOWN", len(to_json(written)) - less)
                    for name, value in attributes.items():
                        book.remember(Fact("rules/a", name, value), START)
                assert book.fact("rules/a", name) == (None if less else value)

    def test_so_many_entities_are_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a further one nothing is, until another is forgotten; after a crash it is the same."""
        monkeypatch.setattr("rules.state.MOST_ENTITIES", 2)
        book = Book({})
        for name in ("nvr/1", "rules/a", "rules/b"):
            book.remember(Fact(name, "x", 1), START)
        assert [book.fact(name, "x") for name in ("nvr/1", "rules/a", "rules/b")] == [1, 1, None]
        book = Book(book.values())
        book.remember(Fact("nvr/1", "x", 2), START)
        book.remember(Fact("rules/b", "x", 1), START)
        assert (book.fact("nvr/1", "x"), book.fact("rules/b", "x")) == (2, None)
        book.remember(Fact("rules/a", "x", None), START)
        book.remember(Fact("rules/b", "x", 1), START)
        assert (book.fact("rules/a", "x"), book.fact("rules/b", "x")) == (None, 1)

    def test_what_rules_forget_is_gone(self) -> None:
        """Nothing is left of it; what a source does not know any more stays, with its time."""
        book = Book({})
        for entity in ("rules/a", "nvr/1"):
            book.remember(Fact(entity, "x", 1), START)
            book.remember(Fact(entity, "x", None), START + timedelta(seconds=1))
            book.remember(Fact(entity, "y", None), START)
        assert list(book.values()) == [state_key(ENTITIES, "nvr/1")]

    def test_what_is_noted_is_noted_again(self) -> None:
        """Since when is the point of it; other attributes stay."""
        book = Book({})
        book.note("nvr1", "a", 1, _at(1))
        book.note("nvr1", "b", 2, _at(2))
        book.note("nvr1", "a", 1, _at(3))
        assert (book.noted("nvr1", "a"), book.noted("nvr1", "b")) == ((1, _at(3)), (2, _at(2)))

    def test_the_sources_that_told_of_their_link(self) -> None:
        """In order, also from what was written down."""
        book = Book({StateKey(ENTITIES, "nvr2"): {"listening": {"value": True, "since": _iso(0)}}})
        book.note("nvr1", "listening", False, _at(1))
        book.note("nvr3", "mode", "x", _at(1))
        assert book.listening == ["nvr1", "nvr2"]

    def test_what_was_noted_can_be_forgotten(self) -> None:
        """Alone; an entity of which nothing else is known is gone, and a source that nothing is noted of is none."""
        book = Book({})
        book.note("nvr1", "listening", True, _at(1))
        book.note("nvr1", "link", "up", _at(1))
        book.note("nvr2", "listening", True, _at(1))
        for name in ("nvr1", "nvr2", "nvr3"):
            book.forget(name, "listening")
        assert (book.listening, list(book.values())) == ([], [state_key(ENTITIES, "nvr1")])
        assert book.noted("nvr1", "link") == ("up", _at(1))
