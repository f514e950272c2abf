"""The action `ptz`: turn a camera.

A preset is transient: repeated while it is worth something. It may be held for a time, or while the
event lasts, and then the camera goes home. A move starts motion, so it is actuating, never longer
than 30 s, and its stop is written down before it is sent. Who has the camera is not decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from bridge.actions.where import channel_of, check_place, check_preset, source_of
from bridge.contracts import ActionContext, ActionParams, ActionSpec, ControlsPtz, Known
from bridge.safety.cameras import Camera, Cameras
from bridge.safety.gate import Gate
from bridge.safety.releases import ReleaseJournal, Target
from bridge.schema.base import Record
from bridge.schema.orders import ActionClass, Order
from bridge.schema.text import Text
from bridge.schema.units import Duration, format_duration

MAX_MOVE = timedelta(seconds=30)
_Speed = Annotated[float, Field(ge=-1, le=1)]


class Move(Record):
    """Which way, and how fast: -1 to 1 of the camera's full speed."""

    pan: _Speed = Field(0, description="Right is positive.")
    tilt: _Speed = Field(0, description="Up is positive.")
    zoom: _Speed = Field(0, description="In is positive.")

    @model_validator(mode="after")
    def _moves(self) -> Self:
        if not (self.pan or self.tilt or self.zoom):
            raise ValueError("a move needs a speed that is not 0 in pan, tilt or zoom")
        return self


class PtzParams(ActionParams):
    """Turn a camera: to a preset, or for a while in one direction."""

    preset: Text | None = Field(None, description="Go to this preset, by token or name.")
    move: Move | None = Field(None, description="Move, and stop after `for`.")
    stop: bool = Field(False, description="Stop moving.")
    for_: Duration = Field(timedelta(seconds=1), alias="for", description="How long a move lasts; at most 30s.")
    hold: Literal["event"] | Duration | None = Field(
        None, description="Stay at the preset for so long, or `event`: while the event lasts; then go `home`."
    )
    home: Text | None = Field(None, description="The preset to go to when `hold` is over.")
    at_most: Duration = Field(timedelta(minutes=10), description="The longest that `hold: event` lasts.")
    source: str | None = Field(None, description="The camera's source; default: the event's.")
    channel: str | None = Field(
        None, description="The camera's channel; default: the event's.", coerce_numbers_to_str=True
    )

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.preset is not None) + (self.move is not None) + self.stop != 1:
            raise ValueError("write exactly one of preset, move and stop")
        if (self.hold is None) != (self.home is None):
            raise ValueError("`hold` and `home` belong together: where to stay how long, and where to go then")
        if self.hold is not None and self.preset is None:
            raise ValueError("only a preset can be held")
        if self.for_ > MAX_MOVE:
            raise ValueError(f"a move lasts at most {format_duration(MAX_MOVE)}")
        return self


async def run(params: PtzParams, context: ActionContext) -> Mapping[str, JsonValue]:
    """Turn once. Raises ActionError."""
    source, channel = source_of(params.source, context.order), channel_of(params.channel, context.order)
    camera = context.services.source(source, ControlsPtz)
    journal = context.services.get(ReleaseJournal)
    target = Target("ptz", source, channel)
    output: dict[str, JsonValue] = {"source": source, "channel": channel}
    if params.move is not None:
        context.services.get(Cameras).ask(Camera(source, channel), context.order)
        await _move(params, params.move, context, journal, target, camera)
        return output | {"move": params.move.model_dump(mode="json"), "for": format_duration(params.for_)}
    if params.stop:
        await journal.idle(target)
        return output | {"stop": True}
    assert params.preset is not None  # noqa: S101 - the model says: exactly one of three
    held = await _have(params, context, Camera(source, channel))
    if target in journal.owed():
        await journal.idle(target)  # or the stop it owes would end the way to the preset
    await camera.ptz_goto(channel, params.preset)
    return output | {"preset": params.preset} | held


async def _have(params: PtzParams, context: ActionContext, camera: Camera) -> dict[str, JsonValue]:
    """Have the camera, for as long as the rule says. Raises ActionRejectedError if somebody else has it."""
    cameras = context.services.get(Cameras)
    if params.hold is None or params.home is None:
        await cameras.take_over(camera, context.order)
        return {}
    lasts = params.hold == "event"
    longest = params.at_most if isinstance(params.hold, str) else params.hold
    await cameras.hold(camera, context.order, params.home, longest, while_it_lasts=lasts)
    return {"home": params.home, "hold": "event" if lasts else format_duration(longest)}


async def _move(
    params: PtzParams, move: Move, context: ActionContext, journal: ReleaseJournal, target: Target, camera: ControlsPtz
) -> None:
    gate = context.services.get(Gate)

    def permit() -> None:
        gate.demand(context.order, SPEC, params)

    async def send() -> None:
        await camera.ptz_move(target.channel, move.pan, move.tilt, move.zoom)

    await journal.away(target, context.order.id, params.for_, permit, send)


def _classify(params: PtzParams) -> ActionClass:
    if params.stop:
        return ActionClass.RELEASING
    return ActionClass.TRANSIENT if params.preset is not None else ActionClass.ACTUATING


def _check(params: PtzParams, known: Known) -> Iterable[str]:
    channels = [] if params.channel is None else [params.channel]
    yield from check_place(known, params.source, channels, camera=params.channel is not None)
    for preset in dict.fromkeys((params.preset, params.home)):
        if preset is not None:
            yield from check_preset(known, params.source, params.channel, preset)


def _target(params: PtzParams, order: Order) -> str:
    source, channel = source_of(params.source, order), params.channel or order.trigger.subject
    return f"ptz:{source}/{channel}"


SPEC = ActionSpec(
    name="ptz",
    summary="Turn a camera.",
    params=PtzParams,
    action_class=ActionClass.TRANSIENT,
    run=run,
    example="ptz: {preset: entrance}",
    shorthand="preset",
    check=_check,
    classify=_classify,
    target=_target,
)
