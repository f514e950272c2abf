"""Nothing was heard for so long: the dead man's switch.

By the log's clock alone. It waits from the moment the rule is in force, even if nothing is ever heard.
If the source was not connected all that while the answer is *inconclusive*, and it waits anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from bridge.sdk import Origin, VmsEvent, kinds, stable_id
from rules.moment import Moment
from rules.patterns.absent import PROMPT
from rules.patterns.base import Fire, Memory, Now, Reaction
from rules.patterns.placing import from_micros, micros, span

QUANTUM = timedelta(seconds=1)
"""What is heard often is written down so often at most; the timer is later by no more than this."""
_TIMER = "silent"
_SAID = frozenset({Origin.LIVE, Origin.COMMAND})
_HAPPENED = _SAID | {Origin.BRIDGE}
"""Where a kind is named, it may be one that the bridge itself writes."""
ABOUT_SOURCES = frozenset({"source.connected", "source.lost", "source.gap"})
"""Told by the bridge about a source; the source itself has said nothing."""


@dataclass(frozen=True, slots=True)
class Silent:
    """Nothing for a span."""

    span: timedelta
    name: str
    """Of the rule, not of its version: in a back-test the same firing of both is one."""
    site: str
    sources: frozenset[str]
    """`<site>/<source>`; none: any."""
    keys: tuple[str, ...]
    """Keys that are waited for from the beginning."""
    tells_inconclusive: bool = False
    names_kind: bool = False
    """Whether it waits for events of one kind, not for a sign of life of anybody."""
    source_in_key: tuple[int, int] | None = None
    """Which part of a key is the source, and of how many; None: keys tell of none."""

    def begin(self, stamp: datetime) -> Mapping[str, Reaction]:
        """Wait from here on."""
        return {key: self._waits({"heard": micros(stamp)}) for key in self.keys}

    def waits(self, memory: Memory) -> bool:
        """Tell whether it waits already."""
        return bool(memory)

    def seen(self, roles: tuple[str, ...], moment: Moment, memory: Memory) -> Reaction:
        """Begin to wait anew."""
        event = moment.event
        if event.type in ABOUT_SOURCES:
            return self._not_heard(memory, "the bridge tells it about the source")
        if event.origin not in (_HAPPENED if self.names_kind else _SAID):
            return self._not_heard(memory, f"its origin is {event.origin}")
        return replace(self._heard(moment, memory), words="it is heard, and the wait begins anew")

    def _not_heard(self, memory: Memory, why: str) -> Reaction:
        return replace(self._waits(memory) if memory else Reaction(), words=f"it does not count as heard: {why}")

    def _heard(self, moment: Moment, memory: Memory) -> Reaction:
        stamp, quantum = micros(moment.stamp), span(min(QUANTUM, self.span))
        if not memory or "told" in memory or "settling" in memory:
            return self._waits({"heard": stamp})
        heard = memory["heard"]
        if stamp >= heard + quantum:
            return self._waits({"heard": stamp})
        return self._waits({"heard": heard, "until": heard + quantum} if stamp > heard else memory)

    def due(self, timer: str, at: datetime, memory: Memory, now: Now) -> Reaction:
        """Fire, if the source was connected all the while."""
        if (now.stamp - at > PROMPT or now.news_may_follow) and "settling" not in memory:
            return self._waits({**memory, "settling": micros(now.stamp + PROMPT)})
        due = self._due({name: item for name, item in memory.items() if name != "settling"})
        trigger = self._tick(due, now)
        deaf = now.deaf(self._of(now.key), from_micros(memory["heard"]))
        fire = Fire((trigger.id,), trigger) if deaf is None or self.tells_inconclusive else None
        if deaf is None:
            return Reaction({"heard": memory["heard"], "told": True}, fire=fire)
        again = self._waits({"heard": micros(now.stamp)})
        return replace(again, fire=fire, unmet=deaf, inconclusive=True, about=trigger)

    def _of(self, key: str) -> frozenset[str]:
        """Return the sources that must have been heard for this key: its own, or where it tells of none, all."""
        if self.source_in_key is None:
            return self.sources
        number, parts = self.source_in_key
        return frozenset({f"{self.site}/{key if parts == 1 else json.loads(key)[number]}"})

    def _due(self, memory: Memory) -> datetime:
        if "settling" in memory:
            return from_micros(memory["settling"])
        return from_micros(memory.get("until", memory["heard"])) + self.span

    def _waits(self, memory: Memory) -> Reaction:
        return Reaction(memory, {} if "told" in memory else {_TIMER: self._due(memory)})

    def _tick(self, due: datetime, now: Now) -> VmsEvent:
        source = next(iter(self.sources)) if len(self.sources) == 1 else f"{self.site}/{now.key}"
        named = source if source in self.sources else f"{self.site}/bridge"
        return tick(self.name, now.key, due, named)


def tick(name: str, key: str, due: datetime, source: str) -> VmsEvent:
    """Return the event that stands for the time at which a rule of the clock is due."""
    data: Any = kinds.BridgeTick(due=due)
    return VmsEvent(
        id=stable_id("clock", name, key, due.isoformat()),
        type="bridge.tick",
        source=source,
        time=due,
        timequality="received",
        received=due,
        origin=Origin.TIMER,
        via="bridge",
        data=data,
    )
