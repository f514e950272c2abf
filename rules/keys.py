"""Events that belong together have the same key; told beforehand where they never can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridge.sdk import kinds, plain
from rules.expressions import Expression
from rules.fields import Field, Type

if TYPE_CHECKING:
    from rules.selectors import Wanted

NUMBER_OF_PARTS = "number of names in `per`"


def never_together(wanted: Sequence[Wanted]) -> str | None:
    """Return what some events never have in common although they are told apart by it; None if they may."""
    makers = [one.per for one in wanted]
    keyed = [maker.parts for maker in makers if maker is not None]
    if not keyed:
        return None
    if len(keyed) < len(makers) or len({len(parts) for parts in keyed}) > 1:
        return NUMBER_OF_PARTS
    for number, part in enumerate(keyed[0]):
        if isinstance(part, str) and _of_bridge_and_camera(part, [one.kind or "" for one in wanted]):
            return part
        known = [values for one in wanted if (values := _values(one, number)) is not None]
        if known and not frozenset.intersection(*known):
            return part.path if isinstance(part, Field) else part.text if isinstance(part, Expression) else part
    return None


def _of_bridge_and_camera(part: str, of: Sequence[str]) -> bool:
    """Tell whether some kinds are the bridge's own and others a camera's: neither source nor channel is the same."""
    own = kinds.FROM_BRIDGE if part == "source" else kinds.FROM_BRIDGE | kinds.LINKS
    return any(kind in own for kind in of) and any(kind in kinds.BY_CHANNEL for kind in of)


def _values(one: Wanted, number: int) -> frozenset[str] | None:
    """Return all that a part of an event's key can be, as text; None if that depends."""
    part = one.per.parts[number] if one.per is not None else None
    if part == "source":
        return None if one.sources is None else frozenset(name.partition("/")[2] for name in one.sources)
    if part == "channel":
        return one.channels
    if not isinstance(part, Field) or part.many or part.type is Type.TIME:
        return None
    asked = [test.values for test in one.tests if test.field is part and test.shape == "equal"]
    if not asked:
        return None
    every = frozenset.intersection(*asked)
    return frozenset(plain(value[1] if part.type is Type.ANY else value) for value in every)
