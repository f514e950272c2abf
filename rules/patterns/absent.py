"""Something happened and what should follow did not, within a span.

Each beginning is waited for by itself, so long after the log had it. What follows is placed by its
own time. If a source was not heard all that while, nobody can know: that is *inconclusive*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from bridge.sdk import VmsEvent, format_duration
from rules.moment import Moment
from rules.patterns.base import Fire, Memory, Now, Reaction
from rules.patterns.placing import LATENESS, Placed, from_micros, micros, placed, span

AFTER, FOLLOWS = "after", "absent"
MOST = 16
"""Beginnings of one key that are waited for at the same time; and answers and firings remembered."""
PROMPT = timedelta(seconds=5)
"""A timer later than this may mean that nobody listened: before it is believed, so long is waited for such news."""


class _Pending(NamedTuple):
    """A beginning that is waited for."""

    time: int
    seq: int
    id: str
    began: int
    """The log's time of it."""
    due: int
    settling: bool = False


@dataclass(frozen=True, slots=True)
class _State:
    newest: int | None = None
    pending: tuple[_Pending, ...] = ()
    answers: tuple[tuple[int, int], ...] = ()
    """Places of what followed, as far back as a beginning may still come late."""
    begun: tuple[str, ...] = ()
    """Ids of the last beginnings, whatever came of them."""
    events: Mapping[str, Any] = ()  # type: ignore[assignment]
    late: int = 0
    full: int = 0

    @classmethod
    def read(cls, memory: Memory) -> _State:
        if not memory:
            return cls(events={})
        return cls(
            memory["newest"],
            tuple(_Pending(*one) for one in memory.get("pending", ())),
            tuple((time, seq) for time, seq in memory.get("answers", ())),
            tuple(memory.get("begun", ())),
            memory.get("events", {}),
            memory.get("late", 0),
            memory.get("full", 0),
        )

    def as_json(self) -> dict[str, Any]:
        seqs = {str(one.seq) for one in self.pending}
        whole = {
            "newest": self.newest,
            "pending": [list(one) for one in self.pending],
            "answers": [list(place) for place in self.answers],
            "begun": list(self.begun),
            "events": {seq: event for seq, event in self.events.items() if seq in seqs},
            "late": self.late,
            "full": self.full,
        }
        return {name: value for name, value in whole.items() if value or name == "newest"}


@dataclass(frozen=True, slots=True)
class Absent:
    """A beginning that nothing follows."""

    within: timedelta
    lateness: timedelta = LATENESS
    sources: frozenset[str] | None = None
    """Where what should follow comes from; None: from where the beginning came."""
    tells_inconclusive: bool = False
    """Fire also when nobody can know."""

    def seen(self, roles: tuple[str, ...], moment: Moment, memory: Memory) -> Reaction:
        """Take back what is followed; wait for a new beginning."""
        state, one = _State.read(memory), placed(moment)
        words = None
        if FOLLOWS in roles:
            state, words = self._answered(state, one)
        if AFTER in roles:
            state, words = self._begun(state, one, moment)
        newest = max(one.time, state.newest if state.newest is not None else one.time)
        oldest = newest - span(self.lateness)
        answers = tuple(place for place in state.answers if place[0] >= oldest)[-MOST:]
        return self._reaction(replace(state, newest=newest, answers=answers), moment.stamp, words)

    def due(self, timer: str, at: datetime, memory: Memory, now: Now) -> Reaction:
        """Nothing followed: fire if everybody was heard all the while."""
        state = _State.read(memory)
        one = next((one for one in state.pending if str(one.seq) == timer), None)
        if one is None:
            return self._reaction(state, now.stamp, None)
        others = tuple(other for other in state.pending if other.seq != one.seq)
        if (now.stamp - at > PROMPT or now.news_may_follow) and not one.settling:
            settled = one._replace(due=micros(now.stamp + PROMPT), settling=True)
            return self._reaction(replace(state, pending=(*others, settled)), now.stamp, None)
        trigger = VmsEvent.model_validate(state.events[timer])
        deaf = now.deaf(self.sources or (trigger.source,), from_micros(one.began))
        left = replace(state, pending=others)
        reaction = self._reaction(left, now.stamp, deaf)
        reaction = replace(reaction, about=trigger, inconclusive=deaf is not None)
        if deaf is None or self.tells_inconclusive:
            return replace(reaction, fire=Fire((one.id,), trigger, waited=self.within))
        return reaction

    def _answered(self, state: _State, one: Placed) -> tuple[_State, str | None]:
        """Return the state without the beginnings that this follows."""
        left = tuple(begun for begun in state.pending if not self._follows(begun[:2], one[:2]))
        words = "it was followed in time" if len(left) < len(state.pending) else None
        answers = tuple(sorted((*state.answers, one[:2])))
        return replace(state, pending=left, answers=answers), words

    def _begun(self, state: _State, one: Placed, moment: Moment) -> tuple[_State, str]:
        if one.id in state.begun:
            return state, "a beginning that was seen already"
        if state.newest is not None and one.time < state.newest - span(self.lateness):
            at_most = format_duration(self.lateness)
            return replace(state, late=state.late + 1), f"a beginning that came too late; at most {at_most} is placed"
        state = replace(state, begun=(*state.begun, one.id)[-2 * MOST :])
        if any(self._follows(one[:2], place) for place in state.answers):
            return state, "it was followed in time"
        if len(state.pending) >= MOST:
            return replace(state, full=state.full + 1), f"{MOST} beginnings are waited for already"
        began = micros(moment.stamp)
        begun = _Pending(one.time, one.seq, one.id, began, began + span(self.within))
        event = moment.event.model_dump(mode="json", exclude_none=True, exclude={"raw"})
        events = {**state.events, str(one.seq): event}
        state = replace(state, pending=(*state.pending, begun), events=events)
        return state, f"{format_duration(self.within)} are not over"

    def _follows(self, begun: tuple[int, ...], place: tuple[int, ...]) -> bool:
        return begun < place and place[0] - begun[0] <= span(self.within)

    def _reaction(self, state: _State, stamp: datetime, words: str | None) -> Reaction:
        timers = {str(one.seq): from_micros(one.due) for one in state.pending}
        forget = None if timers else stamp + self.lateness
        return Reaction(state.as_json(), timers, unmet=words, forget=forget)
