"""The action `relay`: switch a declared output.

`on` takes it away from idle and owes its return, written down before anything is sent; `off` brings
it back and waits for nothing. Cannot switch what is not declared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Literal

from pydantic import Field, JsonValue

from bridge.contracts import ActionContext, ActionParams, ActionSpec, Known
from bridge.registry import unknown
from bridge.safety.gate import Gate
from bridge.safety.outputs import MAX_PULSE, Outputs
from bridge.schema.orders import ActionClass, Order
from bridge.schema.units import Duration, format_duration

PULSE = timedelta(seconds=1)


class RelayParams(ActionParams):
    """Switch an output that is declared under `outputs`."""

    output: str = Field(description="Name of the declared output.")
    state: Literal["on", "off", "pulse"] = Field(
        "pulse",
        description="`on`: away from idle. `off`: back to idle. `pulse`: away and, after a moment, back. An output "
        "that is declared with `idle: on` is switched the other way round.",
    )
    for_: Duration | None = Field(
        None,
        alias="for",
        description="How long `on` or a pulse lasts; default 1s for a pulse and the output's `max_on` for `on`, "
        "which is also the longest.",
    )


async def run(params: RelayParams, context: ActionContext) -> Mapping[str, JsonValue]:
    """Switch once. Raises ActionError."""
    outputs = context.services.get(Outputs)
    if params.state == "off":
        await outputs.idle(params.output, context.order.created)
        return {"output": params.output, "state": "off"}
    gate = context.services.get(Gate)
    hold = outputs.hold(params.output, _asked(params))

    def permit() -> None:
        gate.demand(context.order, SPEC, params)

    await outputs.switch_on(params.output, context.order, hold, permit)
    return {
        "output": params.output,
        "state": params.state,
        "for": None if hold is None else format_duration(hold),
    }


def _asked(params: RelayParams) -> timedelta | None:
    if params.state == "pulse":
        return min(params.for_ or PULSE, MAX_PULSE)
    return params.for_


def _classify(params: RelayParams) -> ActionClass:
    return ActionClass.RELEASING if params.state == "off" else ActionClass.ACTUATING


def _check(params: RelayParams, known: Known) -> Iterable[str]:
    if known.outputs is not None and params.output not in known.outputs:
        yield unknown("output", params.output, known.outputs)
    if params.state == "off" and params.for_ is not None:
        yield "`for` says how long an output is away from idle; `off` has none"
    if params.state == "pulse" and params.for_ is not None and params.for_ > MAX_PULSE:
        yield f"a pulse lasts at most {format_duration(MAX_PULSE)}"


def _target(params: RelayParams, _order: Order) -> str:
    return f"output:{params.output}"


SPEC = ActionSpec(
    name="relay",
    summary="Switch a declared output.",
    params=RelayParams,
    action_class=ActionClass.ACTUATING,
    run=run,
    example="relay: {output: siren, state: pulse, for: 5s}",
    shorthand="output",
    check=_check,
    classify=_classify,
    target=_target,
)
