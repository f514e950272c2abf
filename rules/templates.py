"""Text with `{{ CEL }}` in it. Only where a parameter's type names a place; every value is escaped for that place.

A JSON text that is one expression and nothing else keeps the expression's type. What the user wrote
around an expression is taken as it is.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, JsonValue

from bridge.sdk import Place, YamlKey, escape_for, place_of
from rules.celscan import Scope, template_end
from rules.expressions import Expression

OPEN = "{{"
PLACEHOLDER = "x"
"""What stands for a text not known yet when parameters are checked at load."""

MAX_EXPRESSIONS = 50
"""In one text."""
MAX_CHARACTERS = 65_536
"""Of one text in a step: an order must fit into a message."""

Evaluate = Callable[[Expression], JsonValue]


@dataclass(frozen=True, slots=True)
class Template:
    """A text in parts: what stays, and what is worked out."""

    place: Place
    parts: tuple[str | Expression, ...]

    def render(self, evaluate: Evaluate) -> JsonValue:
        """Return the finished text; for a JSON text of one expression its value. Raises ExpressionError."""
        if self.place is Place.JSON and len(self.parts) == 1 and isinstance(self.parts[0], Expression):
            return evaluate(self.parts[0])
        return "".join(part if isinstance(part, str) else escape_for(self.place, evaluate(part)) for part in self.parts)

    @property
    def expressions(self) -> list[Expression]:
        """What it works out."""
        return [part for part in self.parts if isinstance(part, Expression)]


def parse_template(text: str, place: Place, scope: Scope) -> Template:
    """Read a text that holds `{{`. Raises ValueError with a sentence for the user."""
    parts: list[str | Expression] = []
    position = 0
    while (start := text.find(OPEN, position)) >= 0:
        end = template_end(text, start + len(OPEN))
        if end is None:
            raise ValueError("`{{` without `}}`")
        if start > position:
            parts.append(text[position:start])
        if len(parts) > 2 * MAX_EXPRESSIONS:
            raise ValueError(f"more than {MAX_EXPRESSIONS} {{{{ }}}} in one text")
        source = text[start + len(OPEN) : end].strip()
        try:
            parts.append(Expression(source, scope))
        except ValueError as error:
            raise ValueError(f"{{{{ {source[:60]} }}}}: {error}") from error
        position = end + 2
    if position < len(text):
        parts.append(text[position:])
    return Template(place, tuple(parts))


@dataclass(frozen=True, slots=True)
class Params:
    """An action's parameters as the user wrote them, with the templates found in them."""

    raw: dict[str, Any]
    templates: Mapping[tuple[YamlKey, ...], Template] = field(default_factory=dict)

    def filled(self, value_of: Callable[[Template], Any]) -> dict[str, Any]:
        """Return the parameters with something in place of every template."""
        if not self.templates:
            return self.raw
        filled: dict[str, Any] = _fill(self.raw, (), self.templates, value_of)
        return filled


def _fill(value: Any, path: tuple[YamlKey, ...], found: Mapping[tuple[YamlKey, ...], Template], value_of: Any) -> Any:
    if path in found:
        return value_of(found[path])
    if isinstance(value, dict):
        return {key: _fill(item, (*path, key), found, value_of) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, (*path, number), found, value_of) for number, item in enumerate(value)]
    return value


Say = Callable[[tuple[YamlKey, ...], str], None]
"""Report a problem at a path inside the parameters."""


def find_templates(raw: dict[str, Any], model: type[BaseModel], scope: Scope, say: Say) -> Params:
    """Return the parameters with their templates; reports those that are wrong or not allowed where they are."""
    found: dict[tuple[YamlKey, ...], Template] = {}
    for path, text, place in _texts(raw, (), model, None):
        if OPEN not in text and len(text) <= MAX_CHARACTERS:
            continue
        try:
            if len(text) > MAX_CHARACTERS:
                raise ValueError(f"a text of {len(text)} characters; at most {MAX_CHARACTERS}")
            if place is None:
                raise ValueError(f"`{path[0]}` takes no {{{{ }}}}")
            found[path] = parse_template(text, place, scope)
        except ValueError as error:
            say(path, str(error))
            found[path] = Template(Place.TEXT, ())  # so that the other parameters can still be looked at
    return Params(raw, found)


def _texts(
    value: Any, path: tuple[YamlKey, ...], annotation: Any, place: Place | None
) -> list[tuple[tuple[YamlKey, ...], str, Place | None]]:
    """Return every text with the place that its type names."""
    if isinstance(value, str):
        return [(path, value, place)]
    items: Sequence[tuple[YamlKey, Any]] = ()
    if isinstance(value, dict):
        items = tuple(value.items())
    elif isinstance(value, list):
        items = tuple(enumerate(value))
    found: list[tuple[tuple[YamlKey, ...], str, Place | None]] = []
    for key, item in items:
        inner, inner_place = (annotation, place) if place else _below(annotation, key)
        if isinstance(key, str) and OPEN in key:
            found.append(((*path, key), key, None))
        found += _texts(item, (*path, key), inner, inner_place)
    return found


def _below(annotation: Any, key: YamlKey) -> tuple[Any, Place | None]:
    for model in _models(annotation):
        if key in (known := _params(model)):
            return known[key]
    return annotation, None


@lru_cache(maxsize=256)
def _params(model: type[BaseModel]) -> Mapping[YamlKey, tuple[Any, Place | None]]:
    """Return type and place of each parameter, by both of its names."""
    known: dict[YamlKey, tuple[Any, Place | None]] = {}
    for name, info in model.model_fields.items():
        known[info.alias or name] = known[name] = info.annotation, place_of(info.annotation, tuple(info.metadata))
    return known


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, tuple, list, dict) or get_args(annotation):
        return [model for argument in get_args(annotation) for model in _models(argument)]
    return []
