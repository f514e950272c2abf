"""The action `clip`: cut the footage around an event out of what its system recorded.

Waits until the end can have been recorded, then finds, fetches and cuts, one clip for each channel.
Ids follow from the order and the channel, so a retry goes on where it stopped and nothing is made,
or told, twice. How footage is cut and kept is `bridge.media`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Self

from pydantic import Field, JsonValue, model_validator

from bridge.actions.where import ChannelNames, channel_of, check_place, source_of
from bridge.contracts import ActionContext, ActionParams, ActionSpec, Emit, HasRecordings, Known
from bridge.errors import (
    ActionError,
    ActionRejectedError,
    ActionUnavailableError,
    ConnectorError,
    StoreUnavailableError,
)
from bridge.media.job import Accuracy, Window
from bridge.media.manifest import About
from bridge.media.recorded import ClipMaker, ClipRequest
from bridge.media.store import StoredClip
from bridge.schema.base import stable_id
from bridge.schema.event import VmsEvent, own_event
from bridge.schema.kinds import ClipFailed, ClipReady, Payload
from bridge.schema.orders import ActionClass, Order, Result
from bridge.schema.units import Duration

MAX_SIDE = timedelta(minutes=30)
"""Longest time before and after the event."""
MARGIN = timedelta(seconds=2)
"""So long after the end of the window a recorder has had no chance to show it yet."""
PARTIAL_AFTER = timedelta(minutes=10)
"""So long after the end of the window whatever there is will do."""


class ClipParams(ActionParams):
    """Save the footage around the event, from the source's own recordings: one clip for each channel."""

    channels: ChannelNames = Field((), description="Channels to take footage of; default: the event's.")
    source: str | None = Field(None, description="The system that has the recordings; default: the event's source.")
    before: Duration = Field(
        timedelta(seconds=5), description="How much from before the event; at most 30m.", le=MAX_SIDE
    )
    after: Duration = Field(timedelta(seconds=15), description="How much from after it; at most 30m.", le=MAX_SIDE)
    accuracy: Accuracy = Field(
        Accuracy.KEYFRAME,
        description="`keyframe`: as recorded, from the picture it can begin at, never shorter than asked. "
        "`edit_list`: players show exactly the window. `exact`: encoded again, exactly the window.",
    )

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if min(self.before, self.after) < timedelta(0) or self.before + self.after <= timedelta(0):
            raise ValueError("a clip lasts more than 0s: write `before`, `after` or both")
        return self


async def run(params: ClipParams, context: ActionContext) -> Mapping[str, JsonValue]:
    """Make what is not made yet. Raises ActionError when a channel's clip is still missing."""
    order, window = context.order, _window(params, context.order)
    wait = window.end + MARGIN - context.clock.now()
    if wait > timedelta(0):
        raise ActionUnavailableError("the end of the clip is not recorded yet", wait)
    made: list[StoredClip] = []
    missing: list[ActionError] = []
    for channel in _asked(params, order):
        try:
            made.append(await _one(params, context, window, channel))
        except ActionError as exc:
            missing.append(exc)
    _raise_what_matters(missing, made)
    clips = [_describe(stored) for stored in made]
    output: dict[str, JsonValue] = {"clips": [*clips], "path": made[0].path}
    return output | ({"missing": [str(exc) for exc in missing]} if missing else {})


async def failed(params: ClipParams, result: Result, context: ActionContext) -> None:
    """Tell, as an event, that there is no clip. Raises StoreUnavailableError."""
    order = context.order
    payload = ClipFailed(
        order=order.id,
        rule=order.rule,
        reason=result.reason or result.outcome,
        message=result.message or result.outcome,
        causes=order.causes,
    )
    channels = params.channels or (order.trigger.subject,)
    channel = channels[0] if len(channels) == 1 else None
    source = source_of(params.source, order)
    await _tell(context, _event("clip.failed", payload, order.id, order, source, channel, result.ended))


def _window(params: ClipParams, order: Order) -> Window:
    return Window.around(order.trigger.time, params.before, params.after)


def _asked(params: ClipParams, order: Order) -> Sequence[str]:
    return tuple(dict.fromkeys(params.channels)) or (channel_of(None, order),)


async def _one(params: ClipParams, context: ActionContext, window: Window, channel: str) -> StoredClip:
    """Make, or find, one channel's clip, and tell that it is there."""
    order, source = context.order, source_of(params.source, context.order)
    recorder = context.services.source(source, HasRecordings)
    about = About(
        clip=stable_id("clip", order.id, channel),
        source=f"{order.trigger.site}/{source}",
        channel=channel,
        events=order.causes,
        rule=order.rule,
        order=order.id,
    )
    try:
        pieces = await recorder.recordings(channel, window.begin, window.end)
    except ConnectorError as exc:
        raise ActionUnavailableError(f"{source} does not say what it has recorded: {exc}") from exc
    stored = await context.services.get(ClipMaker).from_recordings(
        ClipRequest(about, window, params.accuracy),
        pieces,
        recorder.http_client(),
        partial=context.clock.now() - window.end > PARTIAL_AFTER,
    )
    event = _event("clip.ready", _ready(stored, order), about.clip, order, source, channel, stored.manifest.created)
    try:
        await _tell(context, event)
    except StoreUnavailableError as exc:
        raise ActionUnavailableError("the clip's event cannot be stored now", exc.retry_after) from exc
    return stored


def _raise_what_matters(missing: Sequence[ActionError], made: Sequence[StoredClip]) -> None:
    """Try again while any channel may still come; a no counts when nothing was made at all."""
    for exc in missing:
        if not isinstance(exc, ActionRejectedError):
            raise exc
    if not made:
        raise missing[0]


def _ready(stored: StoredClip, order: Order) -> ClipReady:
    manifest = stored.manifest
    return ClipReady(
        clip=manifest.about.clip,
        path=stored.path,
        sha256=manifest.main.sha256,
        size=manifest.size,
        duration=manifest.main.duration,
        began=manifest.main.covered.begin,
        ended=manifest.main.covered.end,
        order=order.id,
        rule=order.rule,
        causes=order.causes,
        thumbnail=stored.thumbnail,
        complete=manifest.complete,
    )


def _describe(stored: StoredClip) -> dict[str, JsonValue]:
    manifest = stored.manifest
    return {
        "clip": manifest.about.clip,
        "channel": manifest.about.channel,
        "path": stored.path,
        "paths": list(stored.paths),
        "sha256": manifest.main.sha256,
        "size": manifest.size,
        "duration": manifest.main.duration,
        "began": manifest.main.covered.begin.isoformat(),
        "ended": manifest.main.covered.end.isoformat(),
        "complete": manifest.complete,
        "thumbnail": stored.thumbnail,
    }


def _event(
    kind: str, payload: Payload, of: str, order: Order, source: str, channel: str | None, when: datetime
) -> VmsEvent:
    """Return an event about a clip; its id follows from what it is about, so told twice it is one event."""
    return own_event(
        order.trigger.site,
        kind,
        payload,
        when,
        id=stable_id(kind, of),
        source=source,
        subject=channel,
        correlation=order.trigger.id,
        hops=order.hops or None,
    )


async def _tell(context: ActionContext, event: VmsEvent) -> None:
    await (await context.services.get(Emit)([event]))


def _check(params: ClipParams, known: Known) -> Iterable[str]:
    return check_place(known, params.source, params.channels, camera=bool(params.channels))


def _target(params: ClipParams, order: Order) -> str:
    return f"clip:{source_of(params.source, order)}"


SPEC = ActionSpec(
    name="clip",
    summary="Save the footage around an event.",
    params=ClipParams,
    action_class=ActionClass.INFORMATION,
    run=run,
    failed=failed,
    example="clip: {before: 5s, after: 15s}",
    timeout=timedelta(minutes=15),
    give_up_after=timedelta(days=1),
    check=_check,
    target=_target,
)
