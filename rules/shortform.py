"""Events in short form, as tests give them: what is left out gets something sensible."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal, get_args, get_origin

from pydantic import AwareDatetime, BaseModel

from bridge.sdk import BRIDGE, PAYLOADS, Origin, canonical_plate, kinds, parse_moment, payload_model, unknown
from rules.fields import PLATE_FIELDS, Type, field_of, unwrap
from rules.report import Spot
from rules.trialmodel import GivenEvent

_SOURCE = "nvr1"
_TOLD = kinds.OWN | {"state.changed"}
"""Kinds that the bridge alone tells, whoever asked for it."""


def payload_of(given: GivenEvent, start: datetime, spot: Spot) -> kinds.Payload | None:
    """Return the data of an event made whole; reports what is wrong with it."""
    model = payload_model(given.kind)
    if model is None:
        (spot / "kind").problem(unknown("kind", given.kind, sorted(PAYLOADS)))
        return None
    origins = sorted(origin.value for origin in Origin)
    if given.origin is not None and given.origin not in origins:
        (spot / "origin").problem(unknown("origin", given.origin, origins))
    if given.time and given.age:
        (spot / "age").problem("give `time` or `age`, not both", key=True)
    return (spot / "data" if given.data else spot).read(model, value=_filled(given.kind, model, given.data, start))


def source_of(given: GivenEvent) -> str:
    """Return the name of the source that an event of a test comes from."""
    return given.source or (BRIDGE if given.kind in kinds.FROM_BRIDGE else _SOURCE)


def origin_of(given: GivenEvent) -> Origin:
    """Return where an event of a test comes from: what a source says live, or what the bridge alone tells.

    Who has changed a mode or a list nobody knows: a person may have.
    """
    if given.origin is not None:
        return Origin(given.origin)
    told = given.kind in _TOLD or (kinds.is_custom(given.kind) and source_of(given) == BRIDGE)
    return Origin.BRIDGE if told else Origin.LIVE


def _filled(kind: str, model: type[BaseModel], data: Mapping[str, Any], start: datetime) -> dict[str, Any]:
    """Return a payload's fields: those of the test, and something sensible for what it must have besides."""
    filled = {name: _as_text(kind, name, value) for name, value in data.items()}
    if (kind, "plate") in PLATE_FIELDS and isinstance(filled.get("plate"), str):
        filled.setdefault("plate_raw", filled["plate"])
        filled["plate"] = canonical_plate(filled["plate"])
    for name, info in model.model_fields.items():
        if info.is_required() and name not in filled:
            filled[name] = _example(info.annotation, start)
    return filled


def _as_text(kind: str, name: str, value: Any) -> Any:
    """Numbers for fields of text are as good as texts, in tests as in rules."""
    try:
        field = field_of(kind, name)
    except LookupError:
        return value
    if field.type is Type.TIME and isinstance(value, str):
        with suppress(ValueError):  # the model says why it is none
            return parse_moment(value)
    if field.type is not Type.TEXT:
        return value
    if isinstance(value, list):
        return [str(item) if type(item) is int else item for item in value]
    return str(value) if type(value) is int else value


def _example(annotation: Any, start: datetime) -> Any:
    bare, many = unwrap(annotation)
    if many:
        return []
    if get_origin(bare) is Literal:
        return get_args(bare)[0]
    if bare in (datetime, AwareDatetime):
        return start
    return {str: "test", bool: True, int: 0, float: 0.0}.get(bare)
