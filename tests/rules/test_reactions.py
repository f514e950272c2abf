"""What each pattern says, remembers and waits for, one reaction at a time: its memory is written down as it is here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bridge.sdk import Logged, Origin, VmsEvent, stable_id
from rules.fields import field_of
from rules.moment import Moment
from rules.patterns import Now, OneEvent, Pattern, Reaction
from rules.patterns.absent import Absent
from rules.patterns.clock import Cron, Daily, Rings
from rules.patterns.held import Held
from rules.patterns.placing import LATENESS, from_micros, micros, span
from rules.patterns.sequence import InOrder, Stage
from rules.patterns.silent import Silent
from rules.patterns.threshold import Threshold
from rules.patterns.windows import Count, Distinct, Measure, OneOfEach, Sum, Window
from rules.ruleset import SiteSettings
from rules.schedules import Point, Sun
from tests.rules.support import START, event, rules_of

PLACE = rules_of("rules: []", site=SiteSettings("UTC", 0.0, 0.0)).place


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def _us(seconds: float) -> int:
    return micros(_at(seconds))


def _heard(sources: Iterable[str], since: datetime) -> None:
    """Every source was heard all the while."""


class Key:
    """One key of a rule: its pattern, and the memory as it is written down between two reactions."""

    def __init__(self, pattern: Pattern, memory: Mapping[str, Any] | None = None) -> None:
        self.pattern = pattern
        self.memory: Any = dict(memory or {})
        self.seq = 0

    def see(self, one: VmsEvent, *roles: str, at: datetime | None = None) -> Reaction:
        """Let it see an event, logged at its time."""
        self.seq += 1
        logged = Logged(self.seq, at or one.time, one)
        return self._keep(self.pattern.seen(roles or ("event",), Moment(logged, PLACE), self.memory))

    def ring(
        self, at: float, now: float, timer: str = "", deaf: Callable[..., str | None] = _heard, key: str = ""
    ) -> Reaction:
        """Let a timer come."""
        return self._keep(self.pattern.due(timer, _at(at), self.memory, Now(_at(now), key, deaf)))

    def _keep(self, reaction: Reaction) -> Reaction:
        self.memory = json.loads(json.dumps(reaction.memory))
        assert self.memory == reaction.memory
        return reaction


def _x(seconds: float, value: Any = None, *, name: str | None = None, **more: Any) -> VmsEvent:
    return event("custom.x", {"v": value}, time=_at(seconds), event_id=name or f"e{seconds:g}", **more)


def test_times_are_written_as_whole_microseconds() -> None:
    """Numbers that every reader of JSON reads alike."""
    assert json.dumps([micros(START), span(LATENESS)]) == "[1767614400000000, 10000000]"
    assert from_micros(micros(_at(0.000001))) == _at(0.000001)


def test_one_event_is_enough_and_leaves_nothing() -> None:
    """It is cause and trigger, and nothing is ever due."""
    key = Key(OneEvent())
    one = _x(0)
    fire = key.see(one).fire
    assert fire is not None
    assert (fire.causes, fire.trigger, fire.origin, fire.waited) == ((one.id,), one, None, timedelta())
    assert (key.memory, key.ring(1, 1)) == ({}, Reaction())


class TestSilent:
    def _silent(self, **more: Any) -> Silent:
        settings: dict[str, Any] = {"span": timedelta(minutes=1), "name": "r 1", "site": "site"}
        return Silent(**{**settings, "sources": frozenset({"site/nvr1"}), "keys": ("", "k"), **more})

    def test_it_waits_for_each_key_from_the_beginning(self) -> None:
        """By the stamp at which its rule came into force."""
        found = self._silent().begin(_at(3))
        assert dict(found) == dict.fromkeys(("", "k"), Reaction({"heard": _us(3)}, {"silent": _at(63)}))
        assert self._silent().waits({"heard": 1})
        assert not self._silent().waits({})

    def test_what_the_source_did_not_say_now_is_not_heard(self) -> None:
        """Old news, and what the bridge tells about the source; it begins no waiting either."""
        for one in (
            _x(50, origin=Origin.BACKFILL),
            event("source.connected", time=_at(50)),
            event("source.connected", time=_at(50), origin=Origin.BRIDGE),
        ):
            assert Key(self._silent()).see(one) == Reaction()
            key = Key(self._silent(), {"heard": _us(0)})
            assert key.see(one) == Reaction({"heard": _us(0)}, {"silent": _at(60)})

    def test_what_is_heard_often_is_written_down_once_a_second(self) -> None:
        """The end of that second is when it waits from."""
        key = Key(self._silent())
        assert key.see(_x(10)) == Reaction({"heard": _us(10)}, {"silent": _at(70)})
        assert key.see(_x(10, name="too")) == Reaction({"heard": _us(10)}, {"silent": _at(70)})
        later = Reaction({"heard": _us(10), "until": _us(11)}, {"silent": _at(71)})
        assert [key.see(_x(10.2)), key.see(_x(10.999))] == [later, later]
        assert key.see(_x(11, origin=Origin.COMMAND)) == Reaction({"heard": _us(11)}, {"silent": _at(71)})
        assert key.see(_x(12)) == Reaction({"heard": _us(12)}, {"silent": _at(72)})

    def test_a_span_below_a_second_is_kept(self) -> None:
        """No silence is told later than by its own length."""
        key = Key(self._silent(span=timedelta(seconds=0.5)), {"heard": _us(0)})
        assert key.see(_x(0.25)).timers == {"silent": _at(1)}
        assert key.see(_x(0.5)).memory == {"heard": _us(0.5)}

    def test_it_is_told_once(self) -> None:
        """The event that stands for it comes from the one source; what is heard then begins anew."""
        key = Key(self._silent(), {"heard": _us(0), "until": _us(1)})
        told = key.ring(61, 61, key="k")
        assert (told.memory, told.timers, told.unmet) == ({"heard": _us(0), "told": True}, {}, None)
        assert not told.inconclusive
        assert told.fire is not None
        trigger = told.fire.trigger
        assert (trigger.source, trigger.type, trigger.time) == ("site/nvr1", "bridge.tick", _at(61))
        assert (trigger.received, trigger.origin, trigger.via) == (_at(61), Origin.TIMER, "bridge")
        assert trigger.id == stable_id("clock", "r 1", "k", _at(61).isoformat())
        assert told.fire.causes == (trigger.id,)
        assert key.see(_x(70, origin=Origin.RESYNC)) == Reaction(key.memory, {})
        assert key.see(_x(71)) == Reaction({"heard": _us(71)}, {"silent": _at(131)})

    @pytest.mark.parametrize(
        ("sources", "key", "source"),
        [
            ({"site/nvr1"}, "", "site/nvr1"),
            ({"site/nvr1", "site/nvr2"}, "nvr2", "site/nvr2"),
            ({"site/nvr1", "site/nvr2"}, "7", "site/bridge"),
            (set(), "nvr1", "site/bridge"),
        ],
    )
    def test_who_was_silent(self, sources: set[str], key: str, source: str) -> None:
        """The one source, or that of the key; of anything at all the bridge speaks."""
        told = Key(self._silent(sources=frozenset(sources)), {"heard": _us(0)}).ring(60, 60, key=key)
        assert told.fire is not None
        assert told.fire.trigger.source == source

    def test_a_timer_that_comes_too_late_waits_for_news(self) -> None:
        """Then it tells of the time at which it was due; what is heard in between begins anew."""
        key = Key(self._silent(), {"heard": _us(0)})
        memory = {"heard": _us(0), "settling": _us(71)}
        assert key.ring(60, 66) == Reaction(memory, {"silent": _at(71)})
        again = Key(self._silent(), memory)
        told = key.ring(71, 80)
        assert told.fire is not None
        assert told.fire.trigger.time == _at(60)
        assert key.memory == {"heard": _us(0), "told": True}
        assert again.see(_x(67)) == Reaction({"heard": _us(67)}, {"silent": _at(127)})

    @pytest.mark.parametrize("more", [{"told": True}, {"settling": _us(80)}])
    def test_a_log_whose_clock_went_back(self, more: dict[str, Any]) -> None:
        """What is heard after it was told begins anew, whatever the stamps say."""
        key = Key(self._silent(), {"heard": _us(10), **more})
        assert key.see(_x(10.5)) == Reaction({"heard": _us(10.5)}, {"silent": _at(70.5)})

    def test_a_source_that_was_away_may_have_been_silent(self) -> None:
        """The answer says why nobody knows, and it waits anew; it fires if the rule wants that."""
        asked = []

        def deaf(sources: Iterable[str], since: datetime) -> str:
            asked.append((set(sources), since))
            return "it was away"

        key = Key(self._silent(), {"heard": _us(0)})
        found = key.ring(60, 62, deaf=deaf)
        assert asked == [({"site/nvr1"}, _at(0))]
        assert (found.memory, found.timers) == ({"heard": _us(62)}, {"silent": _at(122)})
        assert (found.fire, found.unmet, found.inconclusive) == (None, "it was away", True)
        assert found.about is not None
        assert found.about.time == _at(60)
        found = Key(self._silent(tells_inconclusive=True), {"heard": _us(0)}).ring(60, 62, deaf=deaf)
        assert found.fire is not None
        assert (found.fire.trigger, found.inconclusive) == (found.about, True)


class TestThreshold:
    def _above(self, bound: float = 10, rearm: float | None = 5, *, rises: bool = True) -> Key:
        return Key(Threshold(field_of("custom.x", "v"), rises, bound, rearm))

    def test_its_words(self) -> None:
        """What is missing: the bound itself, or that it has not been back."""
        key = self._above()
        assert key.see(_x(0, 10)).unmet == "not above 10"
        fired = key.see(_x(1, 10.5))
        assert (fired.fire is not None, fired.unmet) == (True, None)
        assert key.see(_x(2, 20)).unmet == "it was told, and has not been back far enough since"
        assert key.see(_x(3, 5)).unmet == "it was told, and has not been back far enough since"
        assert key.see(_x(4, 4.9)).unmet == "not above 10"
        assert self._above(rises=False).see(_x(0, 10)).unmet == "not below 10"

    def test_falling_and_back(self) -> None:
        """Back is above the other bound, not at it."""
        key = self._above(5, 10, rises=False)
        fires = [key.see(_x(number, value)).fire is not None for number, value in enumerate([4, 10, 4, 4, 11, 5, 4])]
        assert fires == [True, False, False, False, False, False, True]

    def test_it_is_forgotten_only_while_it_may_fire(self) -> None:
        """That it was told must not be forgotten; nothing is due."""
        key = self._above()
        assert (key.see(_x(0, 1)).forget, key.see(_x(1, 11)).forget) == (_at(10), None)
        assert key.see(_x(2, 12)).forget is None
        assert key.see(_x(3, 1)).forget == _at(13)
        assert self._above().see(_x(4, 9)).forget == _at(14)
        assert key.ring(1, 1) == Reaction()

    def test_a_late_change_that_is_over_already(self) -> None:
        """It is told, and the next one may be at once."""
        key = self._above()
        key.see(_x(0, 1))
        key.see(_x(5, 2))
        late = key.see(_x(3, 11), at=_at(6))
        assert (late.fire is not None, late.forget) == (True, _at(16))
        assert key.see(_x(7, 11)).fire is not None

    def test_what_is_no_number_changes_nothing(self) -> None:
        """Nor what is remembered."""
        key = self._above()
        key.see(_x(0, 11))
        before = key.memory
        assert key.see(_x(1, "12")) == Reaction(before, unmet="`v` is no number here")

    def test_what_came_too_late_is_counted_and_what_came_twice_is_not(self) -> None:
        """Neither changes what is known, and the words say which it was."""
        key = self._above()
        key.see(_x(20, 11))
        before = key.memory
        found = key.see(_x(20, 11), at=_at(21))
        assert (found.memory, found.unmet, found.forget) == (before, "an event that was counted already", None)
        found = key.see(_x(9.9, 1), at=_at(21))
        assert (found.memory, found.forget) == ({**before, "late": 1}, None)
        assert found.unmet == "one that came 10s100ms behind newer ones; at most 10s is placed"
        assert key.see(_x(10, 1), at=_at(21)).memory["events"][0][:3] == [_us(10), 4, "e10"]

    def test_readings_that_nothing_can_come_before_are_folded(self) -> None:
        """What they lead to stays; a reading at the bound of lateness is kept."""
        key = self._above()
        key.see(_x(0, 11))
        assert key.memory == {"events": [[_us(0), 1, "e0", "live", 11]], "newest": _us(0), "armed": True}
        key.see(_x(10, 9))
        assert [one[2] for one in key.memory["events"]] == ["e0", "e10"]
        key.see(_x(10.5, 8))
        assert ([one[2] for one in key.memory["events"]], key.memory["armed"]) == (["e10", "e10.5"], False)
        assert key.see(_x(11, 12)).fire is None
        assert key.see(_x(11.5, 1)).forget == _at(21.5)

    def test_so_many_readings_are_kept(self) -> None:
        """Of more in so short a time the first are folded."""
        key = self._above()
        for number in range(103):
            key.see(_x(number / 100, 11 if number == 1 else 9))
        assert (len(key.memory["events"]), key.memory["events"][0][2]) == (100, "e0.03")
        assert key.memory["armed"] is False


class TestHeld:
    def _key(self, seconds: float = 30) -> Key:
        return Key(Held(timedelta(seconds=seconds)))

    def test_from_the_beginning_to_the_end(self) -> None:
        """It says how far it is; what it waits for is forgotten only when nothing lasts."""
        key = self._key()
        assert key.see(_x(0), "end") == Reaction(
            {"events": [[_us(0), 1, "e0", "live", [False, _us(0)]]], "newest": _us(0)}, forget=_at(10)
        )
        one = _x(1, 5, channel=None).model_copy(update={"raw": '{"secret": 1}'})
        found = key.see(one, "begin", at=_at(2))
        assert (found.unmet, found.timers, found.forget) == ("it lasts; 30s are not over", {"held": _at(32)}, None)
        assert key.memory["events"][1:] == [[_us(1), 2, "e1", "live", [True, _us(2)]]]
        assert key.memory["begun"].keys() == {"2"}
        assert not key.memory["begun"]["2"].keys() & {"raw", "subject"}
        fired = key.ring(32, 33)
        assert fired.fire is not None
        assert fired.fire.trigger == one.model_copy(update={"raw": None})
        assert (fired.fire.causes, fired.fire.origin, fired.fire.waited) == (("e1",), None, timedelta(seconds=30))
        assert (fired.timers, fired.forget, fired.unmet, key.memory["told"]) == ({}, None, None, 2)
        again = key.see(_x(40), "begin")
        assert (again.unmet, again.timers) == ("it was told already", {})
        ended = key.see(_x(41), "end")
        assert (ended.unmet, ended.timers, ended.forget) == ("it ended", {}, _at(51))
        assert "begun" not in key.see(_x(60), "end").memory

    def test_what_is_not_placed_changes_nothing(self) -> None:
        """It is counted if it came too late; what was told stays told."""
        key = self._key(3)
        key.see(_x(20), "begin")
        key.ring(23, 23)
        before = key.memory
        twice = key.see(_x(20), "begin", at=_at(24))
        assert (twice.memory, twice.unmet, twice.timers) == (before, "an event that was counted already", {})
        late = key.see(_x(9), "end", at=_at(24))
        assert late.memory == {**before, "late": 1}
        assert late.unmet == "one that came 11s behind newer ones; at most 10s is placed"
        assert key.see(_x(24), "begin").unmet == "it was told already"

    def test_a_beginning_that_turns_out_to_be_earlier(self) -> None:
        """It is the same run, told already, also when both are folded."""
        key = self._key()
        key.see(_x(20), "begin")
        assert key.ring(50, 50).fire is not None
        found = key.see(_x(15), "begin", at=_at(51))
        assert (found.unmet, found.timers) == ("it was told already", {})
        found = key.see(_x(40), "begin", at=_at(52))
        assert (found.unmet, found.timers) == ("it was told already", {})
        assert (key.memory["base"], [one[2] for one in key.memory["events"]]) == ([2, "e15", _us(20), True], ["e40"])

    def test_an_edge_is_kept_while_one_may_come_before_it(self) -> None:
        """Just so long as an event may be late; then it is folded."""
        key = self._key()
        key.see(_x(0), "begin")
        key.see(_x(10), "begin")
        assert [one[2] for one in key.memory["events"]] == ["e0", "e10"]
        key.see(_x(10.001), "begin")
        assert [one[2] for one in key.memory["events"]] == ["e10", "e10.001"]
        assert key.memory["base"] == [1, "e0", _us(0), False]

    def test_a_timer_for_what_does_not_last_does_nothing(self) -> None:
        """Nothing began, it is too early, or it was told."""
        key = self._key()
        assert key.ring(5, 5) == Reaction({"newest": None}, forget=_at(15))
        key.see(_x(10), "begin")
        before = key.memory
        assert key.ring(39, 39) == Reaction(before, {"held": _at(40)})
        key.ring(40, 40)
        before = key.memory
        assert key.ring(41, 41) == Reaction(before)


class TestAbsent:
    def _key(self, **more: Any) -> Key:
        return Key(Absent(timedelta(seconds=60), **more))

    def test_a_beginning_is_waited_for(self) -> None:
        """With the event itself, without what it came as; that is all there is to remember."""
        key = self._key()
        one = _x(1, 5, channel=None).model_copy(update={"raw": '{"secret": 1}'})
        found = key.see(one, "after", at=_at(2))
        assert (found.unmet, found.timers, found.forget) == ("1m are not over", {"1": _at(62)}, None)
        assert not key.memory["events"]["1"].keys() & {"raw", "subject"}
        assert {name: item for name, item in key.memory.items() if name != "events"} == {
            "newest": _us(1),
            "pending": [[_us(1), 1, "e1", _us(2), _us(62), False]],
            "begun": ["e1"],
        }
        asked = []

        def deaf(sources: Iterable[str], since: datetime) -> None:
            asked.append((tuple(sources), since))

        fired = key.ring(62, 62, "1", deaf)
        assert asked == [(("site/nvr1",), _at(2))]
        assert fired.fire is not None
        assert fired.fire.trigger == one.model_copy(update={"raw": None})
        assert (fired.fire.causes, fired.fire.waited) == (("e1",), timedelta(seconds=60))
        assert (fired.timers, fired.forget, fired.unmet, fired.inconclusive) == ({}, _at(72), None, False)
        assert key.memory == {"newest": _us(1), "begun": ["e1"]}

    def test_what_follows_takes_it_back(self) -> None:
        """Only what comes after it, and not too long after; without a beginning there is nothing to say."""
        key = self._key()
        assert key.see(_x(0), "absent") == Reaction(
            {"newest": _us(0), "answers": [[_us(0), 1]]}, unmet=None, forget=_at(10)
        )
        key.see(_x(0, name="b"), "after")
        assert len(key.memory["pending"]) == 1
        assert key.see(_x(60.001), "absent").unmet is None
        found = key.see(_x(60), "absent", at=_at(61))
        assert (found.unmet, found.timers, found.forget) == ("it was followed in time", {}, _at(71))

    def test_what_followed_may_be_known_already(self) -> None:
        """Then nothing is waited for."""
        key = self._key()
        key.see(_x(5), "absent")
        found = key.see(_x(4), "after", at=_at(6))
        assert (found.unmet, found.timers, found.forget) == ("it was followed in time", {}, _at(16))
        found = key.see(_x(4), "after", at=_at(7))
        assert (found.unmet, found.timers) == ("a beginning that was seen already", {})

    def test_nothing_follows_itself(self) -> None:
        """An event that is both begins; the next one answers it and begins anew."""
        key = self._key()
        assert key.see(_x(0), "after", "absent").timers == {"1": _at(60)}
        assert key.see(_x(1), "after", "absent").timers == {"2": _at(61)}
        assert key.see(_x(2), "other").unmet is None

    def test_a_beginning_that_comes_too_late_is_counted(self) -> None:
        """The words say how late one may be."""
        key = self._key()
        key.see(_x(20), "absent")
        found = key.see(_x(9.9), "after", at=_at(21))
        assert found.unmet == "a beginning that came too late; at most 10s is placed"
        assert key.memory == {"newest": _us(20), "answers": [[_us(20), 1]], "late": 1}

    def test_answers_are_kept_while_a_beginning_may_come_before_them(self) -> None:
        """Just so long, and so many; the ids of so many beginnings."""
        key = self._key()
        for second in (0, 10):
            key.see(_x(second), "absent")
        assert [seq for _, seq in key.memory["answers"]] == [1, 2]
        key.see(_x(10.5), "absent")
        assert [seq for _, seq in key.memory["answers"]] == [2, 3]
        for number in range(20):
            key.see(_x(11 + number / 100), "absent")
        assert [seq for _, seq in key.memory["answers"]] == list(range(8, 24))
        for number in range(40):
            key.see(_x(12 + number / 100), "after")
        assert (len(key.memory["pending"]), key.memory["full"], len(key.memory["begun"])) == (16, 24, 32)

    def test_a_timer_that_is_not_known_does_nothing(self) -> None:
        """Nor is anything forgotten that is waited for."""
        key = self._key()
        assert key.ring(5, 5, "1") == Reaction({"newest": None}, forget=_at(15))
        key.see(_x(10), "after")
        assert key.ring(11, 11, "7") == Reaction(key.memory, {"1": _at(70)})

    def test_a_timer_that_comes_too_late_waits_for_news(self) -> None:
        """Five seconds, once; the others are waited for beside it."""
        key = self._key()
        key.see(_x(0), "after")
        key.see(_x(1), "after")
        assert key.ring(60, 65.001, "1") == Reaction(key.memory, {"2": _at(61), "1": _at(70.001)})
        assert key.memory["pending"][1] == [_us(0), 1, "e0", _us(0), _us(70.001), True]
        assert key.ring(70.001, 80, "1").fire is not None
        prompt = self._key()
        prompt.see(_x(0), "after")
        assert prompt.ring(60, 65, "1").fire is not None

    def test_where_it_comes_from_may_have_been_away(self) -> None:
        """Then nobody can know, and the words say why; it fires if the rule wants that."""
        for tells in (False, True):
            key = self._key(sources=frozenset({"site/nvr2"}), tells_inconclusive=tells)
            one = _x(0, 5)
            key.see(one, "after")
            found = key.ring(60, 60, "1", lambda sources, _: f"{set(sources)} away")
            assert (found.unmet, found.inconclusive, found.about) == ("{'site/nvr2'} away", True, one)
            assert ((found.fire is not None), found.timers, found.forget) == (tells, {}, _at(70))


class TestWindow:
    def _key(self, measure: Measure) -> Key:
        return Key(Window(measure, timedelta(seconds=10)))

    def test_it_is_forgotten_when_nothing_can_need_it(self) -> None:
        """The span and the lateness after the last stamp, whatever came of the event; nothing is due."""
        key = self._key(Count(2))
        assert key.see(_x(0), at=_at(1)).forget == _at(21)
        assert key.see(_x(0), at=_at(2)).forget == _at(22)
        assert key.see(_x(3)).forget == _at(23)
        assert key.ring(1, 1) == Reaction()

    def test_what_says_nothing_about_it_changes_nothing(self) -> None:
        """The words say why."""
        field = field_of("custom.x", "v")
        for measure, values, why in (
            (Sum(field, 10), (None, True, "1", float("inf")), "`v` is no number here"),
            (Distinct(field, 3), (None,), "`v` is absent here"),
        ):
            key = self._key(measure)
            key.see(_x(0, 1))
            before = key.memory
            for number, value in enumerate(values):
                reaction = key.see(_x(1 + number, value))
                assert reaction == Reaction(before, unmet=why, forget=_at(21 + number))

    def test_a_time_is_told_apart_as_it_is_written(self) -> None:
        """It is remembered as text."""
        key = self._key(Distinct(field_of("source.lost", "since"), 2))
        key.see(event("source.lost", {"reason": "x", "message": "x", "since": _at(0)}))
        assert key.memory["events"][0][4] == _at(0).isoformat()

    def test_a_late_one_completes_the_window_that_ends_with_another(self) -> None:
        """As long as the span itself, and no longer."""
        for late, fires in ((0, True), (0.5, True), (-0.001, False)):
            key = Key(Window(Count(2), timedelta(seconds=10), timedelta(seconds=20)))
            key.see(_x(10, name="a"))
            found = key.see(_x(late, name="b"), at=_at(11))
            assert (found.fire is not None, found.unmet) == (fires, None if fires else "1 of 2 within 10s")

    def test_each_part_that_is_missing_is_named(self) -> None:
        """In the order of the rule."""
        key = self._key(OneOfEach(("0", "1", "2")))
        assert key.see(_x(0), "1").unmet == "all[0], all[2] not yet within 10s"

    def test_what_had_its_firing_at_one_time_is_known_again(self) -> None:
        """All events of that very time, by however many firings; those of an earlier time are known by their place."""
        key = self._key(Count(2))
        assert [key.see(_x(5, name=name)).fire is not None for name in "abcd"] == [False, True, False, True]
        assert key.memory == {"newest": _us(5), "over": [_us(5), 4], "spent": ["a", "b", "c", "d"]}
        assert key.see(_x(5, name="a")).unmet == "an event that was counted already"
        key.see(_x(6, name="e"))
        assert key.see(_x(7, name="f")).fire is not None
        assert key.memory == {"newest": _us(7), "over": [_us(7), 7], "spent": ["f"]}
        assert key.see(_x(6, name="e"), at=_at(8)).unmet == "one from before the last firing"

    def test_what_is_remembered_of_events(self) -> None:
        """Their places, ids and origins, back to where none can come before them; the newest time stays."""
        key = self._key(Count(9))
        key.see(_x(0, origin=Origin.BACKFILL))
        key.see(_x(20))
        key.see(_x(15), at=_at(21))
        events = [[_us(0), 1, "e0", "backfill"], [_us(15), 3, "e15", "live"], [_us(20), 2, "e20", "live"]]
        assert key.memory == {"events": events, "newest": _us(20)}
        key.see(_x(20.001))
        assert [one[2] for one in key.memory["events"]] == ["e15", "e20", "e20.001"]
        assert "full" not in key.memory

    def test_each_that_came_too_late_is_counted(self) -> None:
        """So is none that came just in time."""
        key = self._key(Count(9))
        for seconds in (20, 10, 9.9, 9.8):
            found = key.see(_x(seconds), at=_at(21))
        assert found.unmet == "one that came 10s200ms behind newer ones; at most 10s is placed"
        assert (key.memory["late"], len(key.memory["events"])) == (2, 2)

    def test_a_clock_that_is_ahead_does_not_make_one_event_two(self) -> None:
        """It is placed at the log's time; when it comes again it is known by its id, as the last sixteen are."""
        key = self._key(Count(99))
        key.see(_x(100, name="a"), at=_at(0))
        assert key.memory == {"events": [[_us(0), 1, "a", "live"]], "newest": _us(0), "ahead": ["a"]}
        key.see(_x(100, name="b"), at=_at(50))
        assert [one[2] for one in key.memory["events"]] == ["b"]
        assert key.see(_x(100, name="a"), at=_at(51)).unmet == "an event that was counted already"
        for number in range(15):
            key.see(_x(100, name=f"c{number}"), at=_at(52))
        assert key.memory["ahead"] == ["b", *(f"c{number}" for number in range(15))]
        assert key.see(_x(53, name="now"), at=_at(53)).memory["ahead"] == key.memory["ahead"]

    def test_an_old_one_that_comes_twice_is_not_counted_as_late(self) -> None:
        """It was in time."""
        key = self._key(Count(9))
        for one in (_x(0), _x(10), _x(0)):
            found = key.see(one, at=_at(10))
        assert found.unmet == "an event that was counted already"
        assert "late" not in key.memory


class TestInOrder:
    def test_it_is_forgotten_when_nothing_can_need_it(self) -> None:
        """The span and the lateness after the last stamp, whatever came of the event; nothing is due."""
        key = Key(InOrder((Stage("a"), Stage("b")), timedelta(seconds=10)))
        for seconds, role, forget in ((0, "a", 20), (0, "a", 21), (2, "b", 22)):
            found = key.see(_x(seconds), role, at=_at(forget - 20))
            assert found.forget == _at(forget)
        assert found.fire is not None
        assert found.fire.causes == ("e0", "e2")
        assert key.ring(1, 1) == Reaction()


@dataclass(frozen=True)
class Every:
    """Rings at every step from the start on, up to an end."""

    step: timedelta
    end: datetime = datetime(9999, 1, 1, tzinfo=UTC)

    def after(self, moment: datetime) -> datetime | None:
        found = START + max(0, (moment - START) // self.step + 1) * self.step
        return found if found <= self.end else None

    @property
    def memory(self) -> dict[str, Any]:
        return {"waits": True}


class TestRings:
    def test_the_event_that_stands_for_the_time(self) -> None:
        """Its id comes from the rule, the key and the time; events of others change nothing."""
        key = Key(Rings(Every(timedelta(minutes=1)), "r 1", "site"))
        assert Rings(Every(timedelta(minutes=1)), "r 1", "site").begin(_at(1)) == {
            "": Reaction({"waits": True}, {"next": _at(60)})
        }
        found = key.ring(60, 61, key="k")
        assert (found.memory, found.timers) == ({"waits": True}, {"next": _at(120)})
        assert found.fire is not None
        trigger = found.fire.trigger
        assert (found.fire.causes, trigger.source, trigger.time) == ((trigger.id,), "site/bridge", _at(60))
        assert trigger.id == stable_id("clock", "r 1", "k", _at(60).isoformat())
        assert key.see(_x(62)) == Reaction({"waits": True})

    def test_where_there_is_no_next_time(self) -> None:
        """Nothing is waited for."""
        rings = Rings(Every(timedelta(minutes=1), _at(60)), "r", "site")
        assert rings.begin(_at(60)) == {"": Reaction({"waits": True}, {})}
        assert Key(rings).ring(0, 0).timers == {"next": _at(60)}
        assert Key(rings).ring(60, 60).timers == {}
        assert Key(rings).ring(0, 100).timers == {}

    @pytest.mark.parametrize("missed", [10_000, 10_001, 10_002, 54_321])
    def test_however_much_was_missed_the_last_of_it_is_made_up_for(self, missed: int) -> None:
        """Not one in the middle."""
        for now in (missed, missed + 0.5):
            found = Key(Rings(Every(timedelta(seconds=1)), "r", "site")).ring(0, now)
            assert found.fire is not None
            assert found.fire.trigger.time == _at(missed)
            assert found.timers == {"next": _at(missed + 1)}

    def test_the_last_of_very_many_may_be_long_ago(self) -> None:
        """It is found all the same, and nothing is waited for where nothing comes."""
        found = Key(Rings(Every(timedelta(seconds=1), _at(20_000)), "r", "site")).ring(0, 90_000)
        assert found.fire is not None
        assert (found.fire.trigger.time, found.timers) == (_at(20_000), {})

    def test_times_that_never_come(self) -> None:
        """A day of no week; those that come are told in UTC."""
        found = Cron("0 13 * * *", ZoneInfo("Europe/Berlin")).after(_at(0))
        assert (found, found and found.tzinfo) == (datetime(2026, 1, 6, 12, tzinfo=UTC), UTC)
        noon = Point(timedelta(hours=12))
        assert Daily((noon,), PLACE, frozenset()).after(START) is None
        assert Daily((noon,), PLACE).after(START) == START + timedelta(days=1)

    def test_a_point_of_yesterday_may_come_today(self) -> None:
        """Twelve hours after a sunset it is another day."""
        place = rules_of("rules: []", site=SiteSettings("UTC", 47.0, 8.0)).place
        sunset = place.moment_of(date(2026, 6, 1), Point(timedelta(), Sun.SET))
        assert sunset is not None
        late = Daily((Point(timedelta(hours=12), Sun.SET),), place)
        assert late.after(datetime(2026, 6, 2, tzinfo=UTC)) == sunset + timedelta(hours=12)

    def test_the_zone_of_the_host_does_not_matter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Days are those of the site, and times are told in UTC, on whichever machine the bridge runs."""
        place = rules_of("rules: []", site=SiteSettings("Pacific/Honolulu", 21.3, -157.9)).place
        sunset = place.moment_of(date(2026, 6, 1), Point(timedelta(), Sun.SET))
        assert sunset is not None
        try:
            monkeypatch.setenv("TZ", "Pacific/Auckland")
            time.tzset()
            late = Daily((Point(timedelta(hours=12), Sun.SET),), place)
            assert late.after(datetime(2026, 6, 2, 12, tzinfo=UTC)) == sunset + timedelta(hours=12)
            found = Cron("0 13 * * *", ZoneInfo("Europe/Berlin")).after(_at(0))
            assert (found, found and found.tzinfo) == (datetime(2026, 1, 6, 12, tzinfo=UTC), UTC)
        finally:
            monkeypatch.undo()
            time.tzset()
