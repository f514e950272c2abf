"""The events that a `when` names: from what the user wrote to triggers whose rule does not exist yet.

Kinds, sources, channels, fields and keys are checked here, the same wherever in a `when` they stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.sdk import BRIDGE, PAYLOADS, RULES, Known, kinds, nearest, payload_model, unknown
from rules.celscan import Scope
from rules.celtypes import MODE_FIELDS, About
from rules.conditions import Test
from rules.expressions import Expression
from rules.fields import ENVELOPE, Field, Type, field_of, paths_of
from rules.matching import Conditions
from rules.report import Spot
from rules.rule import KeyMaker
from rules.schedules import Place
from rules.stateof import unanswerable
from rules.whenmodel import Heard, Selector, WaitFor, When

PER_PLACE = ("source", "channel")
"""What is told apart without `per` where something lasts, rises or falls."""
_LIST_FIELD = ("list.changed", "list")
_REMEMBERED = ("state.changed", "entity")
_UNFIT = frozenset({"bridge.tick"})
"""Kinds that no rule can wait for: the engine's own time."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A trigger whose rule does not exist yet."""

    kind: str | None
    sources: frozenset[str] | None
    channels: frozenset[str] | None
    tests: tuple[Test, ...] = ()
    resync: bool = False
    role: str = "event"
    per: KeyMaker | None = None


class Names:
    """Knows every source and channel of the site, and the lists that tests may name."""

    def __init__(self, conditions: Conditions, known: Known, site: str, place: Place) -> None:
        self._conditions, self._known, self._site, self._place = conditions, known, site, place

    def place_known(self, part: When | Selector | Heard, spot: Spot) -> None:
        """Check the names of sources and channels, and whether such a kind comes from there at all."""
        own = part.kind in kinds.FROM_BRIDGE
        for number, name in enumerate(part.source or ()):
            here = spot / "source" / number
            if name == BRIDGE and (own or kinds.is_custom(part.kind or "")):
                continue
            if self._known.sources is not None and name not in self._known.sources:
                here.problem(unknown("source", name, self._known.sources))
            elif own:
                here.pointless(f"{part.kind} never comes from {name}: the bridge itself tells it; leave `source` out")
        if part.channel is not None and (own or part.kind in kinds.LINKS):
            (spot / "channel").pointless(f"{part.kind} is about no channel; leave `channel` out")
        if self._known.channels is None or part.channel is None or part.kind not in kinds.BY_CHANNEL:
            return
        sources = part.source or tuple(self._known.sources or self._known.channels)
        channels = [self._known.channels.get(name) for name in sources]
        if any(found is None for found in channels):
            return  # of at least one of them nobody knows what it has
        every = frozenset(channel for found in channels if found is not None for channel in found)
        # A reader of plates without a camera has its code for a channel, and no system lists those.
        codes = part.kind == "plate.read" and all(map(str.isdecimal, every))
        for number, channel in enumerate(part.channel):
            if channel not in every and not (codes and not channel.isdecimal()):
                (spot / "channel" / number).problem(f"{unknown('channel', channel, every)} (of {', '.join(sources)})")

    def full(self, names: Iterable[str] | None) -> frozenset[str] | None:
        """Return sources as events name them."""
        return None if names is None else frozenset(f"{self._site}/{name}" for name in names)

    def tests(self, kind: str | None, match: Mapping[str, Any], spot: Spot) -> tuple[Test, ...]:
        """Return the tests of a `match`."""
        tests: list[Test] = []
        for path, value in match.items():
            try:
                field = field_of(kind, path) if kind else None
            except LookupError as error:
                (spot / path).problem(str(error), key=True)
                continue
            if field is not None:
                tests += self._conditions.read(field, value, spot / path)
                self._named(field, value, spot / path)
        return tuple(dict.fromkeys(tests))

    def _named(self, field: Field, value: Any, spot: Spot) -> None:
        """Check the names of what exists at the site: what is called otherwise never comes."""
        place = (field.kind, field.path)
        for name in _asked_for(value) if place == _REMEMBERED else ():
            if not name.startswith(f"{RULES}/"):
                spot.pointless(f"`{field.path}` is never {name!r}: what rules remember is {f'{RULES}/{name}'!r}")
        known = self._known.modes if place in MODE_FIELDS else self._known.lists if place == _LIST_FIELD else None
        for name in _asked_for(value) if known is not None else ():
            if known is not None and name not in known:
                spot.pointless(f"`{field.path}`: {unknown(field.path.replace('previous', 'mode'), name, known)}")

    @property
    def known(self) -> Known:
        """What there is at the site."""
        return self._known

    @property
    def site(self) -> str:
        """The site's name."""
        return self._site

    @property
    def place(self) -> Place:
        """Where the site is."""
        return self._place


def _asked_for(value: Any) -> list[str]:
    """Return the texts that a `match` names for a field."""
    if isinstance(value, dict):
        named = [value.get("equals"), *(one for key in ("in", "not_in") if isinstance(one := value.get(key), list))]
        return [name for one in named for name in _asked_for(one)]
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def kind_known(kind: str, spot: Spot) -> str | None:
    """Return a kind if there is one of that name and rules can wait for it."""
    if not kind:
        return None
    if kind == "rule.fired":
        spot.problem("no event tells that a rule fired: wait for what it does, its `emit`, or for `action.ended`")
        return None
    if payload_model(kind) is None:
        spot.problem(unknown("kind", kind, sorted(PAYLOADS.keys() - _UNFIT)))
        return None
    if kind in _UNFIT:
        spot.problem(f"{kind} is the engine's own; no rule can wait for it")
    return kind


class Selectors:
    """Reads the events of one `when`, each with its key."""

    def __init__(
        self, names: Names, when: When, match: Mapping[str, Any], per: Sequence[str] | None, rule: Spot
    ) -> None:
        self._names, self._when, self._match, self._per = names, when, match, per
        self._rule, self._spot = rule, rule / "when"
        self._per_told: set[tuple[str, str]] = set()

    # --- events --------------------------------------------------------------------------------------

    def _wanted(
        self, part: Selector, spot: Spot, role: str, *, ends: bool = False, per: Sequence[str] | None = None
    ) -> Wanted:
        """Return the trigger of an event in the `when`. What ends something may come from any origin."""
        kind = kind_known(part.kind, spot / "kind")
        self._names.place_known(part, spot)
        tests = self._names.tests(kind, part.match, spot / "match")
        key = self._key(part.per, kind, spot / "per") if part.per else self._rule_key(kind, per)
        return self._made(part, kind, tests, role, key, resync=ends or "resync" in part.include)

    def answer(self, part: WaitFor, spot: Spot, role: str) -> Wanted:
        """Return the trigger of an event that a step waits for. Without a key it may be anybody's."""
        kind = kind_known(part.kind, spot / "kind")
        self._names.place_known(part, spot)
        tests = self._names.tests(kind, part.match, spot / "match")
        texts = part.per if part.per is not None else self._per or _told_apart(self._when)
        key = self._key(texts, kind, spot / "per" if part.per else spot) if texts else None
        return self._made(part, kind, tests, role, key, resync="resync" in part.include)

    def _made(
        self,
        part: When | Selector,
        kind: str | None,
        tests: tuple[Test, ...],
        role: str,
        key: KeyMaker | None,
        *,
        resync: bool,
    ) -> Wanted:
        channels = None if part.channel is None else frozenset(part.channel)
        return Wanted(kind or "", self._names.full(part.source), channels, tests, resync, role, key)

    def _own(self, role: str = "event", per: Sequence[str] | None = None) -> Wanted:
        """Return the trigger that `when` itself and the rule's `match` are."""
        when = self._when
        kind = kind_known(when.kind or "", self._spot / "kind")
        self._names.place_known(when, self._spot)
        tests = self._names.tests(kind, self._match, self._rule / "match")
        return self._made(when, kind, tests, role, self._rule_key(kind, per), resync="resync" in when.include)

    # --- keys ----------------------------------------------------------------------------------------

    def _rule_key(self, kind: str | None, default: Sequence[str] | None) -> KeyMaker | None:
        if self._per is None:
            return KeyMaker(tuple(default)) if default else None
        return self._key(self._per, kind, self._rule / "per")

    def _key(self, texts: Sequence[str], kind: str | None, spot: Spot) -> KeyMaker | None:
        parts: list[Field | Expression | str] = []
        for number, text in enumerate(texts):
            here = spot / number if isinstance(spot.value, list) else spot
            try:
                data = payload_model(kind) if kind else None
                scope = Scope(frozenset({"event"}), data, about=About(kind, self._names.known.modes))
                parts.append(made := _key_part(text, kind, scope))
                for note in unanswerable(made, self._names.known) if isinstance(made, Expression) else ():
                    here.pointless(f"`per`: {note}")
            except (LookupError, ValueError) as error:
                if (text, str(error)) not in self._per_told:
                    here.problem(f"`per`: {error}")
                self._per_told.add((text, str(error)))
        return KeyMaker(parts) if parts else None

    def _field(self, kind: str | None, path: str, spot: Spot, *, number: bool) -> Field | None:
        try:
            field = field_of(kind, path) if kind else None
        except LookupError as error:
            spot.problem(str(error))
            return None
        if field is None:
            return None
        if field.many:
            spot.problem(f"`{path}` may have several values at once")
        elif number and field.type not in {Type.NUMBER, Type.ANY}:
            spot.problem(f"`{path}` is {field.type.value}, and must be a number")
        return field


def _told_apart(when: When) -> tuple[str, ...] | None:
    """Return what the firings of a rule without `per` are told apart by."""
    if when.silent is not None:
        return ("source",) if when.silent.source else None
    edge = when.for_ is not None or when.rises_above is not None or when.falls_below is not None
    return PER_PLACE if edge else None


def _key_part(text: str, kind: str | None, scope: Scope) -> Field | Expression | str:
    """Return a field where the text is the name of one, a part of the envelope, or an expression."""
    if not all(part.isidentifier() for part in text.split(".")) or text.startswith("event."):
        return Expression(text, scope)
    if text in ENVELOPE and (kind is None or text not in paths_of(kind)):
        return text
    if kind is None:
        return "source"  # the kind is unknown and reported; nothing can be said about its fields
    try:
        field = field_of(kind, text)
    except LookupError:
        field = None
    if field is None or field.type is Type.ANY:  # the look for names that are near costs as much as half a rule
        near = nearest(text, [*ENVELOPE, *paths_of(kind)])
        if near in ENVELOPE:
            raise LookupError(f"{text!r} is no field of {kind}; did you mean {near!r}?")
    return field or field_of(kind, text)
