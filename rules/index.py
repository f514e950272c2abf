"""From an event to the rules it may concern, at a cost that depends on those and not on how many rules exist.

Rules are filed by kind, then by place (source and channel, each possibly "any"), then by their most
selective test: an equality by the value it wants, a list membership under one question for all that
ask it, a bound in a sorted row. Only what is left of a rule's tests is asked afterwards, and every
answer is shared. The index never decides: a rule it does not reach has a test that does not hold.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from rules.conditions import Test, token
from rules.fields import Field
from rules.moment import Moment
from rules.rule import Trigger

Where = tuple[str | None, str | None]


class Entry:
    """A trigger, and its tests that are still open when the index has led to it."""

    __slots__ = ("order", "rule", "tests", "trigger")

    def __init__(self, trigger: Trigger, anchor: Test | None) -> None:
        self.trigger, self.rule = trigger, trigger.rule
        self.order = trigger.rule.order
        self.tests = tuple(test for test in trigger.tests if test is not anchor)


class _Equalities:
    """Triggers that want one field to have a certain value."""

    __slots__ = ("_by_value", "_field", "_free")

    def __init__(self, field: Field, filed: Iterable[tuple[Trigger, Test]]) -> None:
        self._field, self._free = field, field.type.name == "ANY"
        by_value: defaultdict[Any, list[Entry]] = defaultdict(list)
        for trigger, test in filed:
            entry = Entry(trigger, test)
            for value in test.values:
                by_value[value].append(entry)
        self._by_value = {value: tuple(entries) for value, entries in by_value.items()}

    def collect(self, moment: Moment, found: list[Entry]) -> None:
        value = moment.value(self._field)
        if value is None:
            return
        if not self._field.many:
            entries = self._by_value.get(token(self._field, value) if self._free else value)
            if entries is not None:
                found.extend(entries)
            return
        several = [entry for one in value for entry in self._by_value.get(token(self._field, one), ())]
        found.extend(dict.fromkeys(several))


class _Bounds:
    """Triggers that want one field at least, or at most, so high; a sorted row of bounds."""

    __slots__ = ("_bounds", "_entries", "_field", "_lower", "_test")

    def __init__(self, field: Field, lower: bool, filed: Iterable[tuple[Trigger, Test]]) -> None:
        ordered = sorted(filed, key=lambda pair: (pair[1].bound, pair[0].rule.order))
        self._field, self._lower = field, lower
        self._bounds = [test.bound for _, test in ordered]
        self._entries = [Entry(trigger, test) for trigger, test in ordered]
        self._test = ordered[0][1] if lower else ordered[-1][1]

    def collect(self, moment: Moment, found: list[Entry], missed: list[tuple[Trigger, Test]]) -> None:
        value = moment.value(self._field)
        if value is not None:
            if self._lower:
                found.extend(self._entries[: bisect_right(self._bounds, value)])
            else:
                found.extend(self._entries[bisect_left(self._bounds, value) :])
        if missed is not _UNWANTED and not moment.holds(self._test):
            edge = self._entries[0] if self._lower else self._entries[-1]
            missed.append((edge.trigger, self._test))


_UNWANTED: list[tuple[Trigger, Test]] = []
"""Stands for "do not note what was missed"; compared by identity, never filled."""


class _Bucket:
    """The triggers of one kind and place."""

    __slots__ = ("_bounds", "_equalities", "_members", "_rest")

    def __init__(self, triggers: Sequence[Trigger]) -> None:
        popularity: Counter[tuple[Field, Any]] = Counter(
            (test.field, value)
            for trigger in triggers
            for test in trigger.tests
            if test.shape == "equal"
            for value in test.values
        )
        equal: defaultdict[Field, list[tuple[Trigger, Test]]] = defaultdict(list)
        member: defaultdict[Test, list[Trigger]] = defaultdict(list)
        bounds: defaultdict[tuple[Field, bool], list[tuple[Trigger, Test]]] = defaultdict(list)
        rest: list[Trigger] = []
        for trigger in triggers:
            anchor = _anchor(trigger, popularity)
            if anchor is None:
                rest.append(trigger)
            elif anchor.shape == "equal":
                equal[anchor.field].append((trigger, anchor))
            elif anchor.shape == "member":
                member[anchor].append(trigger)
            else:
                bounds[anchor.field, anchor.shape == "lower"].append((trigger, anchor))
        self._equalities = [_Equalities(field, filed) for field, filed in equal.items()]
        self._members = [(test, tuple(Entry(trigger, test) for trigger in filed)) for test, filed in member.items()]
        self._bounds = [_Bounds(field, lower, filed) for (field, lower), filed in bounds.items()]
        self._rest = tuple(Entry(trigger, None) for trigger in rest)

    def collect(self, moment: Moment, found: list[Entry], missed: list[tuple[Trigger, Test]]) -> None:
        for equality in self._equalities:
            equality.collect(moment, found)
        for test, entries in self._members:
            if moment.holds(test):
                found.extend(entries)
            elif missed is not _UNWANTED:
                missed.append((entries[0].trigger, test))
        for bound in self._bounds:
            bound.collect(moment, found, missed)
        found.extend(self._rest)


def _anchor(trigger: Trigger, popularity: Counter[tuple[Field, Any]]) -> Test | None:
    """Return the test by which a trigger is filed: the one that the fewest events will pass, as far as one can tell."""
    equal = [test for test in trigger.tests if test.shape == "equal"]
    if equal:
        return min(equal, key=lambda test: sum(popularity[test.field, value] for value in test.values))
    for shape in ("member", "lower", "upper"):
        for test in trigger.tests:
            # A bound on a field with several values has no single place in a row.
            if test.shape == shape and (shape == "member" or not (test.field.many or test.field.type.name == "ANY")):
                return test
    return None


class Index:
    """All triggers of a rule set."""

    def __init__(self, triggers: Iterable[Trigger]) -> None:
        filed: defaultdict[str | None, defaultdict[Where, list[Trigger]]] = defaultdict(lambda: defaultdict(list))
        for trigger in triggers:
            for source in sorted(trigger.sources) if trigger.sources is not None else (None,):
                for channel in sorted(trigger.channels) if trigger.channels is not None else (None,):
                    filed[trigger.kind][source, channel].append(trigger)
        self._kinds = {
            kind: {where: _Bucket(bucket) for where, bucket in places.items()} for kind, places in filed.items()
        }
        self._any_kind = self._kinds.pop(None, None)

    def reached(self, moment: Moment) -> list[Entry]:
        """Return the triggers whose kind, place and main test fit, in the order of their rules."""
        return self._collect(moment, _UNWANTED)

    def reached_and_missed(self, moment: Moment) -> tuple[list[Entry], list[tuple[Trigger, Test]]]:
        """Return those, and for each list or bound that kept rules away the first of them: why not, for traces.

        Rules that want another value of a field are not among the missed: they are not about this event.
        """
        missed: list[tuple[Trigger, Test]] = []
        return self._collect(moment, missed), missed

    def _collect(self, moment: Moment, missed: list[tuple[Trigger, Test]]) -> list[Entry]:
        event = moment.event
        found: list[Entry] = []
        places = self._kinds.get(event.type)
        if places is not None:
            self._look(places, moment, found, missed)
        if self._any_kind is not None:
            self._look(self._any_kind, moment, found, missed)
        found.sort(key=_ORDER)
        return found

    @staticmethod
    def _look(
        places: Mapping[Where, _Bucket], moment: Moment, found: list[Entry], missed: list[tuple[Trigger, Test]]
    ) -> None:
        source, channel = moment.event.source, moment.event.subject
        wheres: tuple[Where, ...] = ((source, channel), (source, None), (None, channel), (None, None))
        # An event without a channel has only two places; asking twice would find its rules twice.
        for where in wheres if channel is not None else ((source, None), (None, None)):
            bucket = places.get(where)
            if bucket is not None:
                bucket.collect(moment, found, missed)


_ORDER = attrgetter("order")
