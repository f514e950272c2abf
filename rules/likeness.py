"""Nothing opens for a likeness: neither in the rule that says `like`, nor by what it leaves for other rules.

Whoever wants in chooses his plate. A list that a door opens for may therefore not be changed by a rule with `like`,
not even over several lists: that is refused. What else such a rule leaves behind (a state, a mode, an event) may be
about something else than the plate: that is only told, over several rules too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from bridge.sdk import AT_MOST_ONCE, BRIDGE, MODE, RULES
from rules.conditions import inverse
from rules.patterns.absent import FOLLOWS
from rules.patterns.held import END
from rules.report import Spot
from rules.selectors import Wanted
from rules.stateof import SET_STATE
from rules.steps import Act, Step
from rules.templates import OPEN

if TYPE_CHECKING:
    from rules.reader import Draft

_CHANGES = {"add_to_list": True, "remove_from_list": False}
"""Actions that change a list, and whether their value is in it then."""
_PASSES = "lets pass what only looks like it"

Asks = frozenset[tuple[str, bool]]


def exact_where_it_moves(wanted: Sequence[Wanted], steps: Sequence[Step], spot: Spot) -> None:
    """Refuse to move something for a plate that is only like one: whoever wants in chooses his plate."""
    if _exact(wanted):
        return
    for step, act in _moving(steps):
        message = f"`{act.spec.name}` moves or starts something, and `like` {_PASSES}; match exactly for this"
        spot.below(step.path).problem(message)


def roundabout(drafts: Sequence[Draft]) -> None:
    """Refuse to change by `like` a list that something moves for; tell of other ways from a likeness to a move."""
    alike = [draft for draft in drafts if not _exact(draft.events)]
    if not alike:
        return
    moving = [draft for draft in drafts if any(_moving(draft.steps))]
    deciding = _deciding(drafts, moving)
    for draft, begun in _led(alike, drafts):
        for step in draft.steps:
            if isinstance(step.does, Act):
                _told(step.does, draft, begun, deciding, moving, draft.spot.below(step.path))


def _told(
    act: Act,
    draft: Draft,
    begun: Draft,
    deciding: Mapping[tuple[str, bool], str],
    moving: Sequence[Draft],
    here: Spot,
) -> None:
    """Report what an action leaves for rules that move something. `begun`: the rule whose `like` leads here."""
    name, change = act.spec.name, _change(act)
    by = "`like`" if draft is begun else f"`like` of rule {begun.id}, which leads here,"
    why = f"and {by} {_PASSES}"
    if change is not None and change in deciding:
        (here.pointless if draft is begun else here.warning)(
            f"`{name}` changes list {change[0]!r}, which decides whether rule {deciding[change]} moves or starts "
            f"something, {why}; match exactly for this, or take a list that moves nothing"
        )
        return
    for other in moving:
        if what := _leaves(act, other):
            here.warning(
                f"`{name}`: rule {other.id} moves or starts something and asks for {what}, {why}; "
                "let nothing open for what this rule leaves"
            )


def _led(alike: Sequence[Draft], drafts: Sequence[Draft]) -> Iterator[tuple[Draft, Draft]]:
    """Yield the rules with `like`, and those that what they write leads to; each with the one where it begins."""
    found = {id(draft) for draft in alike}
    hears = [(draft, {one.kind for one in draft.events}, _asks(draft)) for draft in drafts]
    queue = [(draft, draft) for draft in alike]
    for draft, begun in queue:
        yield draft, begun
        for act, kind in _written(draft.steps):
            for other, kinds, asks in hears:
                if id(other) not in found and (kind in kinds or _change(act) in asks or _leaves(act, other)):
                    found.add(id(other))
                    queue.append((other, begun))


def _written(steps: Sequence[Step]) -> Iterator[tuple[Act, str]]:
    """Yield the actions that write an event into the log, and of which kind."""
    for step in steps:
        if isinstance(act := step.does, Act) and act.spec.writes is not None:
            written = act.spec.writes(act.params.raw, False)
            if written is not None:
                yield act, written.kind


def _exact(wanted: Sequence[Wanted]) -> bool:
    return all(test.exact for one in wanted for test in one.tests)


def _moving(steps: Sequence[Step]) -> Iterator[tuple[Step, Act]]:
    for step in steps:
        if isinstance(act := step.does, Act) and act.action_class in AT_MOST_ONCE:
            yield step, act


# --- lists -----------------------------------------------------------------------------------------------


def _deciding(drafts: Sequence[Draft], moving: Sequence[Draft]) -> dict[tuple[str, bool], str]:
    """Return the lists that decide what moves, and for which rule: also those that decide what another list holds."""
    found: dict[tuple[str, bool], str] = {}
    for draft in moving:
        found |= dict.fromkeys(_asks(draft) - found.keys(), draft.id)
    changing = [(change, _asks(draft)) for draft in drafts for change in _changes(draft.steps)]
    grown = True
    while grown:
        before = len(found)
        for change, asks in changing:
            if change in found:
                found |= dict.fromkeys(asks - found.keys(), found[change])
        grown = len(found) > before
    return found


def _asks(draft: Draft) -> Asks:
    """Return the lists that decide whether a rule fires, and whether what is in them lets it."""
    found: set[tuple[str, bool]] = set()
    for one in draft.events:
        asks: Asks = frozenset().union(*(test.asks for test in one.tests))
        found |= inverse(asks) if one.role in (FOLLOWS, END) else asks
    return frozenset(found)


def _changes(steps: Sequence[Step]) -> Iterator[tuple[str, bool]]:
    for step in steps:
        if isinstance(step.does, Act) and (change := _change(step.does)) is not None:
            yield change


def _change(act: Act) -> tuple[str, bool] | None:
    """Return the list that an action changes, and whether its value is in it then."""
    put = _CHANGES.get(act.spec.name)
    return None if put is None else (str(act.params.raw.get("list")), put)


# --- states, modes, events -------------------------------------------------------------------------------


def _leaves(act: Act, other: Draft) -> str | None:
    """Return what an action leaves that a rule asks for, in words."""
    raw, name = act.params.raw, act.spec.name
    if name == SET_STATE:
        return _state(str(raw.get("entity")), str(raw.get("attribute")), other)
    if name == "set_mode":
        mode = str(raw.get("mode"))
        acts = other.modes is not None and other.modes.hold(mode)
        return "the mode" if acts or (BRIDGE, MODE) in other.asked or (BRIDGE, None) in other.asked else None
    if name == "emit" and any(one.kind == raw.get("kind") for one in other.events):
        return str(raw.get("kind"))
    return None


def _state(entity: str, attribute: str, other: Draft) -> str | None:
    for asked, part in sorted(other.asked, key=str):
        same = asked.startswith(f"{RULES}/") and (OPEN in entity or asked == f"{RULES}/{entity}")
        if same and part in (None, attribute):
            return f"state({asked!r}, {part!r})" if part is not None else f"state({asked!r}, ...)"
    return None
