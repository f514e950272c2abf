"""What each pattern says, remembers and waits for, one reaction at a time: its memory is written down as it is here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from bridge.sdk import Logged, Origin, VmsEvent, stable_id
from rules.fields import field_of
from rules.moment import Moment
from rules.patterns import Now, OneEvent, Pattern, Reaction
from rules.patterns.placing import micros
from rules.patterns.silent import Silent
from rules.patterns.threshold import Threshold
from rules.ruleset import SiteSettings
from tests.rules.support import START, event, rules_of

PLACE = rules_of("rules: []", site=SiteSettings("UTC", 0.0, 0.0)).place
LATENESS = timedelta(seconds=10)


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
        fires = [key.see(_x(number, value)).fire is not None for number, value in enumerate([4, 10, 4, 11, 5, 4])]
        assert fires == [True, False, False, False, False, True]

    def test_it_is_forgotten_only_while_it_may_fire(self) -> None:
        """That it was told must not be forgotten; nothing is due."""
        key = self._above()
        assert (key.see(_x(0, 1)).forget, key.see(_x(1, 11)).forget) == (_at(10), None)
        assert key.see(_x(2, 12)).forget is None
        assert key.see(_x(3, 1)).forget == _at(13)
        assert key.ring(1, 1) == Reaction()

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
