"""What parts of a rule say, in a form that can be compared: `60s` is `1m`, a bare value the parameter it sets.

Parameters are brought to the form in which the action itself reads them; what depends on an event stays as written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from bridge.sdk import ActionSpec, format_duration, parse_duration
from rules.stepreader import RESERVED
from rules.whenmodel import WaitFor

Actions = Mapping[str, ActionSpec[Any]]
_SETS = frozenset({"in", "not_in"})
_BLOCKS = ("do", "parallel", "on_error")


def steps_meaning(steps: Any, actions: Actions) -> list[Any]:
    """Return steps in their one form."""
    return [_step(step, actions) for step in steps] if isinstance(steps, (list, tuple)) else [steps]


def one_form(value: Any, key: str = "") -> Any:
    """Return what selects events in its one form: values that are all meant alike in one order."""
    if key == "match" and isinstance(value, dict):
        return {path: _asked(asked) for path, asked in sorted(value.items())}
    if key in {"source", "channel", "mode"} and isinstance(value, list):
        return _sorted(value)
    if isinstance(value, dict):
        return {name: one_form(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [one_form(item) for item in value]
    return value


def _asked(value: Any) -> Any:
    if isinstance(value, list):
        value = {"in": value}
    if not isinstance(value, dict):
        return {"equals": value}
    return {name: _sorted(item) if name in _SETS else item for name, item in value.items()}


def _sorted(value: Any) -> Any:
    return sorted(value, key=lambda item: (str(type(item)), str(item))) if isinstance(value, list) else value


def _step(step: Any, actions: Actions) -> Any:
    if isinstance(step, list):  # a branch
        return steps_meaning(step, actions)
    if not isinstance(step, dict):
        return step
    said: dict[str, Any] = {}
    for key, value in step.items():
        if key in actions:
            params, beside = _apart(_long(value, actions[key]))
            said[key] = {name: _param(actions[key], name, one) for name, one in params.items()}
            said |= beside
        elif key in _BLOCKS:
            said[key] = steps_meaning(value, actions)
        elif key in ("wait_for", "stop"):
            params, beside = _apart(value if isinstance(value, dict) else {})
            said[key] = _awaited(params) if key == "wait_for" else params
            said |= beside
        else:
            said[key] = value
    return {key: _reserved(key, value) for key, value in said.items()}


def _apart(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters, and the keys of every step that stand among them."""
    if not isinstance(value, dict):
        return {}, {}
    beside = {key: item for key, item in value.items() if key in RESERVED}
    return {key: item for key, item in value.items() if key not in RESERVED}, beside


def _reserved(key: str, value: Any) -> Any:
    if key == "with" and not isinstance(value, list):
        return [value]
    if key == "wait" and isinstance(value, str):
        return format_duration(parse_duration(value))
    return value


def _long(value: Any, spec: ActionSpec[Any]) -> Any:
    """Return the parameters of an action as a mapping."""
    if isinstance(value, dict):
        return value
    return {spec.shorthand: value} if value is not None and spec.shorthand else {}


def _awaited(value: dict[str, Any]) -> Any:
    try:
        return one_form(WaitFor.model_validate(value).model_dump(mode="json", by_alias=True, exclude_defaults=True))
    except ValidationError:
        return value


def _param(spec: ActionSpec[Any], name: str, value: Any) -> Any:
    """Return one parameter as the action reads it; as it is written where that takes an event."""
    fields: Mapping[str, FieldInfo] = {info.alias or key: info for key, info in spec.params.model_fields.items()}
    info = fields.get(name)
    if info is None:
        return value
    kind: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    try:
        return adapter.dump_python(adapter.validate_python(value), mode="json", by_alias=True, exclude_unset=True)
    except ValidationError:
        return value
