"""The action `open`: let somebody in through a door. Whether it opens is the door keeper's decision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from pydantic import Field, JsonValue

from bridge.contracts import ActionContext, ActionParams, ActionSpec, Known
from bridge.registry import unknown
from bridge.safety.doors import MAX_AGE, DoorKeeper
from bridge.safety.gate import Gate
from bridge.schema.orders import ActionClass, Order


class OpenParams(ActionParams):
    """Open a door that is configured under `doors`. The door's own limits and mode decide."""

    door: str = Field(description="Name of the door.")


async def run(params: OpenParams, context: ActionContext) -> Mapping[str, JsonValue]:
    """Ask the door once. Raises ActionRejectedError with the door's reason, or another ActionError."""
    gate = context.services.get(Gate)

    def permit() -> None:
        gate.demand(context.order, SPEC, params)

    return await context.services.get(DoorKeeper).open(params.door, context.order, permit)


def _check(params: OpenParams, known: Known) -> Iterable[str]:
    if known.doors is not None and params.door not in known.doors:
        yield unknown("door", params.door, known.doors)


def _age_here(params: OpenParams, known: Known) -> timedelta | None:
    return known.door_ages.get(params.door, known.door_age)


def _target(params: OpenParams, _order: Order) -> str:
    return f"door:{params.door}"


SPEC = ActionSpec(
    name="open",
    summary="Open a door.",
    params=OpenParams,
    action_class=ActionClass.ACTUATING,
    run=run,
    example="open: main-gate",
    shorthand="door",
    max_age=MAX_AGE,  # the longest any door may have; each door's own is asked by its keeper
    age_here=_age_here,
    check=_check,
    target=_target,
)
