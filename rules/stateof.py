"""What `state(entity, attribute)` can be asked: the attributes that events tell, of sources and channels that exist."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bridge.sdk import ATTRIBUTES, BRIDGE, LINK, MODE, OF_CHANNEL, RULES, Known, unknown
from rules.expressions import Expression
from rules.report import Spot, shown
from rules.steps import Act
from rules.templates import OPEN

SET_STATE = "set_state"
"""The action by which rules remember something."""


def unanswerable(expression: Expression, known: Known) -> Iterator[str]:
    """Yield what can never come of an expression at this site."""
    yield from expression.notes
    for entity, attribute in sorted(expression.asked, key=str):
        said = f"state({shown(entity)}, {shown(attribute) if attribute is not None else '...'})"
        for why in _wrong(entity, attribute, known):
            yield f"{said}: {why}"


def _wrong(entity: str, attribute: str | None, known: Known) -> Iterator[str]:
    """Yield why nothing will ever be known of that. `attribute`: None where it is worked out."""
    source, inside, rest = entity.partition("/")
    if source == RULES:
        return
    if source == BRIDGE:
        if attribute not in {None, MODE}:
            yield unknown(f"attribute of {BRIDGE}", str(attribute), [MODE])
        return
    if known.sources is None or source not in known.sources:
        if known.sources is not None:
            yield unknown("source", source, known.sources)
        return
    if attribute is None:
        return
    if attribute not in ATTRIBUTES:
        yield unknown("attribute", attribute, ATTRIBUTES)
    elif attribute == LINK and inside:
        yield f"`{LINK}` is one of the source as a whole: state({source!r}, {attribute!r})"
    elif attribute in OF_CHANNEL:
        channels = (known.channels or {}).get(source)
        if inside and channels is not None and rest not in channels:
            yield unknown(f"channel of {source}", rest, channels)


def untold(entity: str, attribute: str, value: Any, modes: Collection[str] | None) -> str | None:
    """Return why nobody ever tells that an attribute is so; None if somebody may."""
    source = entity.partition("/")[0]
    if source == RULES or value is None:
        return None
    if source == BRIDGE:
        if attribute != MODE:
            return unknown(f"attribute of {BRIDGE}", attribute, [MODE])
        return unknown("mode", str(value), modes) if modes is not None and value not in modes else None
    if attribute not in ATTRIBUTES:
        return unknown("attribute", attribute, ATTRIBUTES)
    return None if _fits(attribute, value) else f"`{attribute}` is never {shown(value)}"


def _fits(attribute: str, value: Any) -> bool:
    try:
        TypeAdapter(ATTRIBUTES[attribute]).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def unset(acts: Iterable[Act], remembered: Iterable[tuple[str, str, Spot]]) -> Iterator[tuple[Spot, str]]:
    """Yield what is asked of what rules remember (entity, attribute, and where) and no rule of these acts sets."""
    names: dict[str, set[str]] = {}
    for act in acts:
        if act.spec.name == SET_STATE:
            entity, attribute = act.params.raw.get("entity"), act.params.raw.get("attribute")
            names.setdefault(f"{RULES}/{entity}", set()).add(str(attribute))
    anywhere = {attribute for entity, found in names.items() if OPEN in entity for attribute in found}
    for entity, attribute, spot in remembered:
        if attribute in anywhere | names.get(entity, set()):
            continue
        known = names.get(entity)
        why = unknown("entity", entity, names) if known is None else unknown("attribute", attribute, known)
        yield spot, f"state({shown(entity)}, {shown(attribute)}): no rule sets that; {why}"
