"""The action `vms_trigger`: have the VMS itself keep the footage of an event.

Every call makes another backup over there, so the order is claimed first and an interrupted one
is never repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from pydantic import Field, JsonValue

from bridge.actions.where import ChannelNames, channel_of, check_place, source_of
from bridge.contracts import ActionContext, ActionParams, ActionSpec, BacksUpEvents, Known
from bridge.schema.orders import ActionClass, Order
from bridge.schema.text import JsonTemplate, Text
from bridge.schema.units import Duration


class VmsTriggerParams(ActionParams):
    """Have the VMS back up the footage around the event, on its own disks."""

    source: str | None = Field(None, description="The VMS; default: the event's source.")
    channel: str | None = Field(
        None, description="The channel the event belongs to; default: the event's.", coerce_numbers_to_str=True
    )
    channels: ChannelNames = Field((), description="Channels to keep too.")
    before: Duration = Field(timedelta(seconds=5), description="Footage to keep from before the event.")
    after: Duration = Field(timedelta(seconds=15), description="Footage to keep from after it.")
    title: Text | None = Field(None, description="What operators see; default: the event's kind.")
    comment: JsonTemplate = Field(None, description="Anything more, kept with it.")
    preset: Text | None = Field(None, description="A preset the VMS turns the camera to, where it can.")


async def run(params: VmsTriggerParams, context: ActionContext) -> Mapping[str, JsonValue]:
    """Ask for the backup once. Raises ActionError."""
    order = context.order
    source, channel = source_of(params.source, order), channel_of(params.channel, order)
    receipt = await context.services.source(source, BacksUpEvents).back_up(
        channel,
        order.occurred,
        params.before,
        params.after,
        channels=tuple(dict.fromkeys((channel, *params.channels))),
        title=params.title or order.trigger.type,
        comment=params.comment,
        preset=params.preset,
    )
    return {
        "source": source,
        "event": receipt.event_id,
        "paths": list(receipt.paths),
        "ready_at": receipt.ready_at.isoformat(),
    }


def _check(params: VmsTriggerParams, known: Known) -> Iterable[str]:
    channels = [*params.channels, *([] if params.channel is None else [params.channel])]
    yield from check_place(known, params.source, channels, camera=params.channel is not None)


def _target(params: VmsTriggerParams, order: Order) -> str:
    return f"vms:{source_of(params.source, order)}"


SPEC = ActionSpec(
    name="vms_trigger",
    summary="Have the VMS keep the footage of an event.",
    params=VmsTriggerParams,
    action_class=ActionClass.VENDOR_START,
    run=run,
    example="vms_trigger: {before: 5s, after: 15s, title: 'Plate {{ event.data.plate }}'}",
    timeout=timedelta(seconds=30),
    give_up_after=timedelta(hours=1),
    check=_check,
    target=_target,
)
