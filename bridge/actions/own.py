"""The actions that change what the bridge itself knows: an event into its own log, and nothing else.

Carrying such an order out is publishing one event. Its id follows from the order's and its content from
the order alone, so an order that is repeated after a crash gives the same event, which the log has once.
What it changes (the mode, a list, a state) whoever reads the log learns from there, the engine first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from pydantic import Field, JsonValue, ValidationError, model_validator

from bridge.contracts import ActionContext, ActionParams, ActionSpec, Emit, Known, Written
from bridge.errors import ActionRejectedError, ActionUnavailableError, StoreUnavailableError
from bridge.registry import unknown
from bridge.schema.base import stable_id
from bridge.schema.event import Origin, VmsEvent, own_event
from bridge.schema.kinds import CUSTOM, Custom, ListChanged, ModeChanged, Payload, StateChanged, payload_model
from bridge.schema.orders import ActionClass, Order
from bridge.schema.state import RULES
from bridge.schema.text import JsonTemplate, Text
from bridge.schema.units import Duration

_NO_NEWS = frozenset({Origin.REPLAY, Origin.TEST, Origin.BACKFILL})
"""What follows from what is replayed, made up or history is no news either; the event says so."""


def event_of(order: Order, kind: str, data: Payload, subject: str | None = None) -> VmsEvent:
    """Return the event of an order; the same for the same order."""
    event = own_event(
        order.trigger.site,
        kind,
        data,
        order.created,
        id=stable_id("own", order.id),
        subject=subject,
        correlation=order.trigger.id,
        origin=order.origin if order.origin in _NO_NEWS else Origin.BRIDGE,
        hops=order.hops,
    )
    said = {"via": "rule", "principal": f"rule {order.rule}"}
    if order.trigger.timequality == "doubtful":  # what follows from what may have been sent again is no surer
        said["timequality"] = "doubtful"
    return event.model_copy(update=said)


# --- emit -----------------------------------------------------------------------------------------------


class EmitParams(ActionParams):
    """Write an event of your own into the log; other rules can wait for it."""

    kind: str = Field(description="`custom.` and a name: `custom.escalated`.")
    data: dict[str, JsonTemplate] = Field(default_factory=dict, description="What it says.")
    channel: Text | None = Field(
        None, min_length=1, coerce_numbers_to_str=True, description="Its channel; default: none."
    )


def _emitted(params: EmitParams, order: Order) -> VmsEvent:
    model = payload_model(params.kind)
    if model is None:
        raise ActionRejectedError(f"there is no kind {params.kind!r}", "bad_params")
    try:
        return event_of(order, params.kind, model.model_validate(params.data), params.channel)
    except ValidationError as exc:
        raise ActionRejectedError(f"this is no {params.kind}", "bad_params") from exc


def _check_emit(params: EmitParams, known: Known) -> Iterable[str]:
    if payload_model(params.kind) is not Custom:
        yield f"rules make events of their own kinds: {CUSTOM}; got {params.kind!r}"


def _will_emit(known: Mapping[str, Any], whole: bool) -> Written | None:
    kind, channel = known.get("kind"), known.get("channel")
    if not isinstance(kind, str):
        return None
    return Written(kind, known.get("data") or {}, whole, None if channel is None else str(channel))


# --- mode and state -------------------------------------------------------------------------------------


class SetModeParams(ActionParams):
    """Put the site into another mode."""

    mode: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="The mode: `home`, `away`, `night`.")


def _check_mode(params: SetModeParams, known: Known) -> Iterable[str]:
    if known.modes is not None and params.mode not in known.modes:
        yield unknown("mode", params.mode, known.modes)


def _mode(params: SetModeParams, order: Order) -> VmsEvent:
    return event_of(order, "mode.changed", ModeChanged(mode=params.mode))


class SetStateParams(ActionParams):
    """Remember something, for `state()` in conditions and for what doors require."""

    entity: Text = Field(
        min_length=1, description='What it is about, in your own words: `garage` is `state("rules/garage", …)`.'
    )
    attribute: str = Field(min_length=1, description="What of it.")
    value: JsonTemplate = Field(description="The value; nothing (`null`) for what is not known any more.")


def _state(params: SetStateParams, order: Order) -> VmsEvent:
    # Below a name of its own: what a source says of itself may hold a door shut, and no rule may say it instead.
    entity = f"{RULES}/{params.entity}"
    return event_of(order, "state.changed", StateChanged(entity=entity, attribute=params.attribute, value=params.value))


def _check_state(params: SetStateParams, known: Known) -> Iterable[str]:
    if RULES in (known.sources or ()):
        yield f"a source is called {RULES!r}; what rules know would be mixed up with what it says: rename it"


# --- lists ----------------------------------------------------------------------------------------------


class _ListParams(ActionParams):
    list: str = Field(min_length=1, description="The list.")
    value: Text = Field(min_length=1, max_length=256, coerce_numbers_to_str=True, description="A plate, or a text.")
    for_: Duration | None = Field(None, alias="for", description="Only for so long; then the list is as before.")
    until: datetime | None = Field(None, description="Only until then: 2026-12-24T18:00:00+01:00.")

    @model_validator(mode="after")
    def _ends_once(self) -> Self:
        if self.for_ is not None and self.until is not None:
            raise ValueError("give `for` or `until`, not both")
        if self.for_ is not None and self.for_ <= timedelta():
            raise ValueError("`for` must be longer than nothing")
        if self.until is not None and self.until.tzinfo is None:
            raise ValueError("`until` needs its offset: 2026-12-24T18:00:00+01:00")
        return self

    def ends(self, order: Order) -> datetime | None:
        """Return until when the change counts."""
        if self.until is not None:
            return self.until.astimezone(UTC)
        return None if self.for_ is None else order.created + self.for_


class AddToListParams(_ListParams):
    """Put a value on a list. What a rule's file says of it does not count until then."""

    tags: tuple[str, ...] = Field((), description="How it is tagged.")


class RemoveFromListParams(_ListParams):
    """Take a value from a list, also if its file has it."""


def _added(params: AddToListParams, order: Order) -> VmsEvent:
    data = ListChanged(list=params.list, added=(params.value,), valid_until=params.ends(order), tags=params.tags)
    return event_of(order, "list.changed", data)


def _removed(params: RemoveFromListParams, order: Order) -> VmsEvent:
    data = ListChanged(list=params.list, removed=(params.value,), valid_until=params.ends(order))
    return event_of(order, "list.changed", data)


def _check_list(params: _ListParams, known: Known) -> Iterable[str]:
    if known.lists is not None and params.list not in known.lists:
        yield unknown("list", params.list, known.lists)


def _will_write(kind: str, names: Sequence[str]) -> Callable[[Mapping[str, Any], bool], Written]:
    return lambda known, whole: Written(kind, {name: known[name] for name in names if name in known})


def _will_remember(known: Mapping[str, Any], whole: bool) -> Written:
    data = {name: known[name] for name in ("attribute", "value") if name in known}
    if "entity" in known:
        data["entity"] = f"{RULES}/{known['entity']}"
    return Written("state.changed", data)


# --- specs ----------------------------------------------------------------------------------------------


def _spec(
    name: str,
    params: type[Any],
    event: Callable[[Any, Order], VmsEvent],
    example: str,
    *,
    check: Callable[[Any, Known], Iterable[str]] = lambda params, known: (),
    shorthand: str | None = None,
    writes: Callable[[Mapping[str, Any], bool], Written | None],
) -> ActionSpec[Any]:
    async def run(given: Any, context: ActionContext) -> Mapping[str, JsonValue]:
        made = event(given, context.order)
        try:
            await (await context.services.get(Emit)([made]))
        except StoreUnavailableError as exc:
            raise ActionUnavailableError("the event cannot be stored now", exc.retry_after) from exc
        return {"event": made.id}

    return ActionSpec(
        name=name,
        summary=(params.__doc__ or "").partition("\n")[0],
        params=params,
        action_class=ActionClass.INFORMATION,
        run=run,
        example=example,
        shorthand=shorthand,
        check=check,
        event=event,
        writes=writes,
    )


SPECS: Sequence[ActionSpec[Any]] = (
    _spec(
        "emit",
        EmitParams,
        _emitted,
        "emit: {kind: custom.escalated, data: {place: '{{ event.data.name }}'}}",
        check=_check_emit,
        shorthand="kind",
        writes=_will_emit,
    ),
    _spec(
        "set_mode",
        SetModeParams,
        _mode,
        "set_mode: night",
        check=_check_mode,
        shorthand="mode",
        writes=_will_write("mode.changed", ["mode"]),
    ),
    _spec(
        "set_state",
        SetStateParams,
        _state,
        "set_state: {entity: garage, attribute: guest, value: '{{ event.data.plate }}'}",
        check=_check_state,
        writes=_will_remember,
    ),
    _spec(
        "add_to_list",
        AddToListParams,
        _added,
        "add_to_list: {list: visitors, value: '{{ event.data.plate }}', for: 2h}",
        check=_check_list,
        writes=_will_write("list.changed", ["list"]),
    ),
    _spec(
        "remove_from_list",
        RemoveFromListParams,
        _removed,
        "remove_from_list: {list: visitors, value: '{{ event.data.plate }}'}",
        check=_check_list,
        writes=_will_write("list.changed", ["list"]),
    ),
)
EMIT, SET_MODE, SET_STATE, ADD_TO_LIST, REMOVE_FROM_LIST = SPECS
