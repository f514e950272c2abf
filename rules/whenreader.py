"""The `when` of a rule: from what the user wrote to a pattern, and the triggers that feed it, each in a role."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from bridge.sdk import format_duration, kinds, payload_model, unknown
from rules.keys import NUMBER_OF_PARTS, never_together
from rules.matching import Unlike
from rules.patterns import OneEvent, Pattern
from rules.patterns.absent import AFTER, FOLLOWS, Absent
from rules.patterns.clock import Cron, Daily, Rings, Times
from rules.patterns.held import BEGIN, END, Held
from rules.patterns.placing import LATENESS
from rules.patterns.sequence import InOrder, Stage
from rules.patterns.silent import ABOUT_SOURCES, Silent
from rules.patterns.threshold import Threshold
from rules.patterns.windows import Count, Distinct, Measure, OneOfEach, Sum, Window
from rules.report import Spot
from rules.schedules import need_holidays
from rules.selectors import PER_PLACE, Names, Selectors, Wanted, kind_known
from rules.whenmodel import MOST_EVENTS, SHAPES, Not, When

_ENDS = {
    "motion.started": "motion.ended",
    "call.started": "call.ended",
    "stream.started": "stream.ended",
    "source.lost": "source.connected",
    "source.connected": "source.lost",
}
"""What ends that which a kind begins."""
_STATES: Mapping[str, frozenset[str]] = {
    "channel.status": frozenset(),
    "recording.status": frozenset(),
    "parking.count": frozenset({"lot", "name", "lot_type", "capacity", "members"}),
    "parking.spot": frozenset({"spot", "name", "channel", "spot_type", "category"}),
    "mode.changed": frozenset(),
}
"""Kinds that tell a state again and again: one that does not match ends what began. And their fields that say of
what, not how it is."""
_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_KEYS = frozenset(info.alias or name for name, info in When.model_fields.items())
_TICK = "bridge.tick"
_NO_CHANNEL = kinds.FROM_BRIDGE | kinds.LINKS
_UNHEARD_HINT = "the bridge tells it, not the source; a source that is away is {kind: source.lost, for: 5m}"
_ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)


MakePattern = Callable[[str], Pattern]
"""From the name of a rule to its pattern."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a rule waits for. `data`: the payload model of the event that decides, where it is always the same."""

    wanted: tuple[Wanted, ...]
    pattern: MakePattern
    data: Any = None
    kind: str | None = None
    """Its kind, where that is always the same."""
    decides: tuple[Wanted, ...] = ()
    """The events of which each may be the one that decides."""
    own: str | None = None
    """A kind that the bridge tells of itself, without which the rule never fires."""

    @property
    def sourced(self) -> bool:
        """The event that decides may come from a source, not from the bridge itself alone."""
        if self.kind == _TICK:
            return any(one.sources for one in self.wanted)
        return not self.decides or any(one.kind not in kinds.FROM_BRIDGE for one in self.decides)

    @property
    def places(self) -> frozenset[tuple[str, str]] | None:
        """Source and channel of the event that decides, where no others are possible; empty if it has no channel."""
        if self.kind == _TICK or (self.decides and all(one.kind in _NO_CHANNEL for one in self.decides)):
            return frozenset()
        found: set[tuple[str, str]] = set()
        for one in self.decides:
            if one.kind not in kinds.BY_CHANNEL or one.sources is None or one.channels is None:
                return None
            found |= {(source.partition("/")[2], channel) for source in one.sources for channel in one.channels}
        return frozenset(found) or None


def read_when(names: Names, when: When, match: Mapping[str, Any], per: Sequence[str] | None, rule: Spot) -> Waiting:
    """Return what a rule waits for; reports what is wrong. `match` and `per` are the rule's."""
    return _Reading(names, when, match, per, rule).run()


class _Reading(Selectors):
    """The reading of one `when`."""

    def run(self) -> Waiting:
        """Read it."""
        written = self._spot.value
        if self._when.kind == "" or not isinstance(written, dict):
            return Waiting((), _one)  # there is no `when` that could be read, which is reported
        shape = next((name for name in SHAPES if name in written), None)
        if shape is None:
            if not written.keys() - _KEYS:  # otherwise it is misspelt, and that is told
                self._spot.problem("`kind` is missing in `when`")
            return Waiting((), _one)
        self._belongs(shape, written)
        if "kind" not in SHAPES[shape].needs and self._match:
            (self._rule / "match").problem(f"`match` belongs into the events of `{shape}`", key=True)
        reads: dict[str, Callable[[], Waiting]] = {
            "sequence": self._sequence,
            "all": self._all,
            "any": self._any,
            "absent": self._absent,
            "silent": self._silent,
            "every": self._every,
            "at": self._at,
            "for": self._held,
            "rises_above": self._threshold,
            "falls_below": self._threshold,
            "kind": self._single,
        }
        return reads.get(shape, self._window)()

    def _belongs(self, shape: str, written: Mapping[str, Any]) -> None:
        """Check that the keys of a shape are there, and no others."""
        needs, may, example = SHAPES[shape]
        misspelt = shape == "kind" and written.keys() - _KEYS
        for name in () if misspelt else sorted((written.keys() & _KEYS) - needs - may - {shape}):
            (self._spot / name).problem(f"`{name}` does not go with `{shape}`; write {example}", key=True)
        for name in sorted(needs - written.keys()):
            self._spot.problem(f"`{name}` is missing beside `{shape}`; write {example}")
        unsure = shape in ("absent", "silent")
        if "inconclusive" in self._when.include and not unsure:
            (self._spot / "include").problem("only `absent` and `silent` can be inconclusive")
        if "resync" in self._when.include and unsure:
            (self._spot / "include").problem(f"`include: resync` belongs into the events of `{shape}`")

    @property
    def _late(self) -> timedelta:
        return self._when.lateness if self._when.lateness is not None else LATENESS

    # --- the shapes ----------------------------------------------------------------------------------

    def _single(self) -> Waiting:
        wanted = self._own()
        return _decided([wanted], _one)

    def _any(self) -> Waiting:
        parts = self._when.any_ or ()
        wanted = [self._wanted(part, self._spot / "any" / n, str(n)) for n, part in enumerate(parts)]
        return replace(_decided(wanted, _one), own=_own_kind(wanted, every=True))

    def _all(self) -> Waiting:
        parts = self._when.all_ or ()
        wanted = [self._wanted(part, self._spot / "all" / n, str(n)) for n, part in enumerate(parts)]
        self._belong_together(wanted)
        return self._windowed(wanted, OneOfEach(tuple(one.role for one in wanted)))

    def _window(self) -> Waiting:
        wanted = self._own()
        return self._windowed([wanted], self._measure(wanted.kind or None))

    def _windowed(self, wanted: Sequence[Wanted], measure: Measure) -> Waiting:
        pattern = Window(measure, self._when.within or _UNITS["m"], self._late)
        return _decided(wanted, lambda name: pattern)

    def _measure(self, kind: str | None) -> Measure:
        when = self._when
        if when.sum_ is not None:
            field = self._field(kind, when.sum_.field, self._spot / "sum" / "field", number=True)
            return Sum(field, when.sum_.at_least) if field else Count(2)
        if when.distinct is not None:
            field = self._field(kind, when.distinct.field, self._spot / "distinct" / "field", number=False)
            if field is not None and field.path in (self._per or ()):
                message = f"`distinct`: of one `{field.path}` there is only one; take it out of `per`"
                (self._spot / "distinct" / "field").pointless(message)
            return Distinct(field, when.distinct.at_least) if field else Count(2)
        if when.rate is not None and when.within is not None:
            number, _, unit = when.rate.partition("/")
            wanted = math.ceil(float(number) * (when.within / _UNITS[unit]) - 1e-9)
            if not 2 <= wanted <= MOST_EVENTS:
                message = f"{when.rate} within this span is {wanted} events; from 2 to {MOST_EVENTS} can be counted"
                (self._spot / "rate").problem(f"`rate`: {message}")
            return Count(wanted)
        return Count(when.count or 2)

    def _sequence(self) -> Waiting:
        stages: list[Stage] = []
        wanted: list[Wanted] = []
        parts, before = self._when.sequence or (), self._spot.problems
        for number, part in enumerate(parts):
            spot = self._spot / "sequence" / number
            if not isinstance(part, Not):
                wanted.append(self._wanted(part, spot, str(number)))
                stages.append(Stage(str(number)))
                continue
            if not stages or number == len(parts) - 1:
                message = "`not` stands between two events; for what does not follow write `absent`"
                spot.problem(f"`sequence`: {message}")
                continue
            wanted.append(self._wanted(part.event, spot / "not", str(number), ends=True))
            stages[-1] = Stage(stages[-1].role, stages[-1].not_after | {str(number)})
        if len(stages) < 2 and parts and self._spot.problems == before:
            (self._spot / "sequence").problem("`sequence` needs at least two events besides `not`")
        pattern = InOrder(tuple(stages), self._when.within or _UNITS["m"], self._late)
        roles = {stage.role for stage in stages}
        self._belong_together([one for one in wanted if one.role in roles])
        for one in wanted:
            if one.role not in roles and len(wanted) > 1:
                self._belong_together([wanted[0], one])
        return _decided([one for one in wanted if one.role in roles], lambda name: pattern, wanted, last=True)

    def _absent(self) -> Waiting:
        when = self._when
        follows = self._wanted(when.absent, self._spot / "absent", FOLLOWS, ends=True) if when.absent else None
        after = self._wanted(when.after, self._spot / "after", AFTER) if when.after else None
        pattern = Absent(
            when.within or _UNITS["m"],
            self._late,
            _answering(after, follows),
            "inconclusive" in when.include,
        )
        wanted = tuple(one for one in (after, follows) if one is not None)
        if after is not None and follows is not None:
            self._heard_while_lost(after, follows)
            self._belong_together(wanted)
        return _decided([after] if after else [], lambda name: pattern, wanted)

    def _heard_while_lost(self, after: Wanted, follows: Wanted) -> None:
        """Refuse to wait for what a lost source does not say: whether it came is never known of one not heard."""
        of_it = follows.sources is None or (after.sources is not None and after.sources <= follows.sources)
        if after.kind != "source.lost" or not of_it or "inconclusive" in self._when.include:
            return
        name = next(iter((self._when.after and self._when.after.source) or ()), "<source>")
        span = format_duration(self._when.within or _UNITS["m"])
        (self._spot / "absent").pointless(
            "`absent`: of a source that is lost nobody can know what did not come, so this never fires; write "
            f"`when: {{kind: source.lost, for: {span}}}`, or `when: {{silent: {name}, for: {span}}}`"
        )

    def _held(self) -> Waiting:
        begin = self._own(BEGIN, PER_PLACE)
        end = self._end(begin)
        if end is not None:
            self._belong_together([begin, end])
        pattern = Held(self._when.for_ or _UNITS["m"], self._late)
        return _decided([begin], lambda name: pattern, (begin, end) if end else (begin,))

    def _end(self, begin: Wanted) -> Wanted | None:
        """Return what ends that which began: what the rule says, the kind's counterpart, or another state."""
        kind, when = begin.kind, self._when
        if when.until is not None:
            return self._wanted(when.until, self._spot / "until", END, ends=True, per=PER_PLACE)
        if not kind:
            return None
        if kind in _STATES:
            if not begin.tests:
                (self._spot / "for").problem(f"`for`: say with `match` what of {kind} must stay true", key=True)
                return None
            self._same_key(kind, begin)
            return Wanted(kind, begin.sources, begin.channels, (Unlike(begin.tests),), True, END, begin.per)
        if kind not in _ENDS:
            example = "until: {kind: ..., match: ...}"
            (self._spot / "for").problem(f"`for`: nothing is known that ends {kind}; write {example}", key=True)
            return None
        key = self._rule_key(_ENDS[kind], PER_PLACE)
        return Wanted(_ENDS[kind], begin.sources, begin.channels, (), True, END, key)

    def _same_key(self, kind: str, begin: Wanted) -> None:
        """Refuse to tell firings apart by what changes when one ends: the end would have another key."""
        for name in begin.per.fields if begin.per is not None else ():
            if name not in _STATES[kind]:
                message = f"`{name}` is what changes when it ends, and what has another value would end nothing"
                (self._rule / "per").pointless(f"`per`: {message}; take it out, or write a rule for each value")

    def _threshold(self) -> Waiting:
        when, wanted = self._when, self._own(per=PER_PLACE)
        field = self._field(wanted.kind or None, when.field, self._spot / "field", number=True) if when.field else None
        rises = when.rises_above is not None
        bound, rearm = (when.rises_above, when.rearm_below) if rises else (when.falls_below, when.rearm_above)
        if bound is None or field is None:
            return _decided([wanted], _one)
        if rearm is not None and (rearm > bound if rises else rearm < bound):
            name = "rearm_below" if rises else "rearm_above"
            (self._spot / name).problem(f"`{name}` must not be beyond the bound of {bound:g}")
        pattern = Threshold(field, rises, bound, rearm, self._late)
        return _decided([wanted], lambda name: pattern)

    def _belong_together(self, wanted: Sequence[Wanted]) -> None:
        """Refuse events that are told apart by what they never have in common: they would never meet."""
        apart = never_together(wanted)
        if apart is None:
            return
        spot = self._rule / "per" if self._per else self._spot
        cure = "take it out of `per`"
        if not self._per:
            cure = "say `per` with what they have in common, like `per: source`, or `per: '\"all\"'` if it is nothing"
        if apart == NUMBER_OF_PARTS:
            cure = "give each of them as much, or none of them any"
        spot.pointless(f"`per`: the events of `when` never have the same {apart}, so they never meet; {cure}")

    # --- the clock -----------------------------------------------------------------------------------

    def _silent(self) -> Waiting:
        part, spot = self._when.silent, self._spot / "silent"
        if part is None:
            return Waiting((), _one)
        kind = kind_known(part.kind, spot / "kind") if part.kind else None
        if part.kind in ABOUT_SOURCES:
            (spot / "kind").pointless(f"`silent` never hears {part.kind}: {_UNHEARD_HINT}")
        self._names.place_known(part, spot)
        if part.match and not part.kind:
            (spot / "match").problem("`match` needs the `kind` whose fields it names", key=True)
        tests = self._names.tests(kind, part.match, spot / "match")
        default = ("source",) if part.source else None
        channels = None if part.channel is None else frozenset(part.channel)
        sources = self._names.full(part.source)
        key = self._rule_key(kind, default)
        wanted = Wanted(part.kind, sources, channels, tests, False, "heard", key)
        parts = key.parts if key is not None else ()
        place = (parts.index("source"), len(parts)) if "source" in parts else None
        keys: tuple[str, ...] = ()
        if self._per is None or tuple(self._per) == default:
            keys = tuple(part.source) if part.source else ("",)
        span, inconclusive = self._when.for_ or _UNITS["m"], "inconclusive" in self._when.include
        site = self._names.site
        return Waiting(
            (wanted,),
            lambda name: Silent(span, name, site, sources or frozenset(), keys, inconclusive, bool(part.kind), place),
            payload_model(_TICK),
            _TICK,
        )

    def _every(self) -> Waiting:
        zone = self._zone()
        expression = self._when.every or ""
        try:
            cron = Cron(expression, zone)
            if CronSim(expression, _ANY_TIME) and cron.after(_ANY_TIME) is None:
                (self._spot / "every").problem(f"`every`: {expression!r} never comes")
        except CronSimError as error:
            example = 'write minute, hour, day, month and weekday: "0 6 * * mon-fri"'
            (self._spot / "every").problem(f"`every`: {expression!r} is no cron expression ({error}); {example}")
        return self._rings(Cron(expression, zone))

    def _zone(self) -> ZoneInfo:
        name = self._when.zone
        if name is None:
            return self._names.place.zone
        if name not in available_timezones():
            (self._spot / "zone").problem(unknown("zone", name, sorted(available_timezones())))
            return self._names.place.zone
        return ZoneInfo(name)

    def _at(self) -> Waiting:
        points = self._when.at or ()
        place, days = self._names.place, self._when.days
        lacking = place.lacks(sun=any(point.sun is not None for point in points), holidays=need_holidays(days))
        if lacking is not None:
            (self._spot / "at").problem(f"`at`: {lacking}")
        return self._rings(Daily(points, place, days))

    def _rings(self, times: Times) -> Waiting:
        if self._per:
            (self._rule / "per").problem("`per`: the clock has nothing to be told apart by", key=True)
        site = self._names.site
        return Waiting((), lambda name: Rings(times, name, site), payload_model(_TICK), _TICK)


def _one(name: str) -> Pattern:
    return OneEvent()


def _answering(after: Wanted | None, follows: Wanted | None) -> frozenset[str] | None:
    """Return the sources whose answer counts; None: the one that the beginning came from."""
    if after is None or follows is None:
        return None
    keyed = zip(after.per.parts if after.per else (), follows.per.parts if follows.per else (), strict=False)
    return None if ("source", "source") in keyed else follows.sources


def _decided(
    needs: Sequence[Wanted], pattern: MakePattern, wanted: Sequence[Wanted] | None = None, *, last: bool = False
) -> Waiting:
    """Return what waits for some events. `wanted`: all that matter to it; `last`: the last that it needs decides."""
    decides = tuple(needs[-1:] if last else needs)
    every = tuple(needs if wanted is None else wanted)
    kind = _kind(needs)
    data = payload_model(kind) if kind else None
    return Waiting(every, pattern, data, kind, decides, _own_kind(needs, every=False))


def _own_kind(wanted: Sequence[Wanted], *, every: bool) -> str | None:
    """Return a kind of the bridge's own among some; with `every` only if there is no other."""
    own = [one.kind for one in wanted if one.kind in kinds.OWN]
    return own[0] if own and (not every or len(own) == len(wanted)) else None


def _kind(wanted: Sequence[Wanted]) -> str | None:
    """Return the kind of some events, if they have the same."""
    found = {one.kind for one in wanted}
    return found.pop() or None if len(found) == 1 else None
