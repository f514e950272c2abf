"""The fields of each kind's payload, as the rule language sees them: name, type, and how to read one.

Made from the payload models, so a new kind or field needs nothing here. A field inside a list
stands for every element; a field of free JSON has no type of its own.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel

from bridge.sdk import PAYLOADS, payload_model, unknown

PLATE_FIELDS = frozenset({("plate.read", "plate"), ("parking.spot", "plate")})
"""Fields that hold a plate in canonical form; what rules compare them with is brought to it too."""
ENVELOPE = ("channel", "source")
"""What `per` may name besides the payload's fields."""


class Type(Enum):
    """What a field holds."""

    TEXT = "text"
    NUMBER = "a number"
    BOOL = "true or false"
    TIME = "a time"
    ANY = "anything"


Reader = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """A field of a kind's payload. There is one object for each, so identity is equality."""

    kind: str
    path: str
    type: Type
    read: Reader
    """Payload to value; None if absent. For `many`: to a list of what is there."""
    choices: tuple[str, ...] | None = None
    many: bool = False

    @property
    def plate(self) -> bool:
        """It holds a canonical plate."""
        return (self.kind, self.path) in PLATE_FIELDS


@lru_cache(maxsize=4096)
def field_of(kind: str, path: str) -> Field:
    """Return a field by its dotted name. Raises LookupError with a sentence for the user."""
    model = payload_model(kind)
    if model is None:
        raise LookupError(unknown("kind", kind, sorted(PAYLOADS)))
    parts = path.split(".")
    annotation: Any = model
    steps: _Steps = []
    for depth, part in enumerate(parts):
        annotation, many = unwrap(annotation)
        if many:
            steps.append(_EACH)
        if _is_free(annotation):
            steps.extend(_key(name) for name in parts[depth:])
            return Field(kind, path, Type.ANY, _reader(steps, parts), many=_EACH in steps)
        names = model_fields(annotation)
        if part not in names:
            raise LookupError(_unknown_field(kind, parts, depth, names))
        steps.append(_attribute(part))
        annotation = names[part]
    return _leaf(kind, path, parts, annotation, steps)


def has_field(kind: str, path: str) -> bool:
    """Tell whether a kind has a field of that name; below free JSON it has every one."""
    try:
        return bool(field_of(kind, path))
    except LookupError:
        return False


def model_fields(annotation: Any) -> Mapping[str, Any]:
    """Return the fields of a nested model by name; none for anything else."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _fields_of(annotation)
    return {}


@lru_cache(maxsize=256)
def _fields_of(model: type[BaseModel]) -> Mapping[str, Any]:
    return {name: info.annotation for name, info in model.model_fields.items()}


def paths_of(kind: str) -> list[str]:
    """Return every dotted field name of a kind that has a type."""
    return sorted(_walk(payload_model(kind), ""))


def _walk(annotation: Any, prefix: str) -> list[str]:
    found: list[str] = []
    for name, inner in model_fields(annotation).items():
        bare, _ = unwrap(inner)
        below = _walk(bare, f"{prefix}{name}.")
        found.extend(below or [f"{prefix}{name}"])
    return found


def _leaf(kind: str, path: str, parts: list[str], annotation: Any, steps: _Steps) -> Field:
    bare, many = unwrap(annotation)
    if names := model_fields(bare):
        inner = ", ".join(f"{path}.{name}" for name in names)
        raise LookupError(f"`{path}` has fields of its own; name one: {inner}")
    if many:
        steps.append(_EACH)
    choices = get_args(bare) if get_origin(bare) is Literal else None
    return Field(kind, path, type_of(bare), _reader(steps, parts), choices, many or _EACH in steps)


def _unknown_field(kind: str, parts: list[str], depth: int, names: Mapping[str, Any]) -> str:
    inside = ".".join(parts[:depth])
    if not names:
        return f"`{inside}` of {kind} has no fields of its own" if inside else f"{kind} has no fields"
    return unknown(f"field of {kind}{f' {inside}' if inside else ''}", parts[depth], sorted(names))


def unwrap(annotation: Any) -> tuple[Any, bool]:
    """Return what is left without Annotated, `| None` and tuple, and whether there may be several."""
    many = False
    while True:
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            annotation = arguments[0]
        elif origin in (Union, types.UnionType) and len(set(arguments) - {type(None)}) == 1:
            annotation = next(argument for argument in arguments if argument is not type(None))
        elif origin in (tuple, list):
            annotation, many = arguments[0], True
        else:
            return annotation, many


def _is_free(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.model_config.get("extra") == "allow"
    return get_origin(annotation) is dict or type_of(annotation) is Type.ANY


def type_of(annotation: Any) -> Type:
    """Return what a field without parts holds."""
    if get_origin(annotation) is Literal or annotation is str:
        return Type.TEXT
    if annotation is bool:
        return Type.BOOL
    if annotation in (int, float):
        return Type.NUMBER
    if annotation in (datetime, AwareDatetime):
        return Type.TIME
    return Type.ANY


_Step = Callable[[Any], Any]


class _Each:
    """A mark among the steps: what follows is done for every item."""


_EACH = _Each()
_Steps = list[_Step | _Each]


def _attribute(name: str) -> _Step:
    get = attrgetter(name)
    return lambda value: None if value is None else get(value)


def _key(name: str) -> _Step:
    def read(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return (value.__pydantic_extra__ or {}).get(name)
        return value.get(name) if isinstance(value, dict) else None

    return read


def _reader(steps: _Steps, parts: list[str]) -> Reader:
    plain = [step for step in steps if not isinstance(step, _Each)]
    if len(plain) < len(steps):
        return lambda payload: _spread(payload, steps)
    if len(plain) == 1 and plain[0].__qualname__.startswith("_attribute"):
        return attrgetter(parts[0])  # by far the most common, and done in C
    return lambda payload: _follow(payload, plain)


def _follow(value: Any, steps: list[_Step]) -> Any:
    for step in steps:
        value = step(value)
    return value


def _spread(value: Any, steps: _Steps) -> list[Any]:
    values = [value]
    for step in steps:
        if isinstance(step, _Each):
            values = [item for one in values if one is not None for item in one]
        else:
            values = [step(one) for one in values]
    return [one for one in values if one is not None]
