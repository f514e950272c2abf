"""Say what a pydantic model refuses in a YAML file: `file:line:column`, in words for the person who wrote it.

Values are not repeated in messages, they may be secrets; the place is enough to find them. Only a word that was
to be one of a few is compared with those, to name the nearest.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bridge.errors import Problem
from bridge.registry import unknown
from bridge.yamlfile import YamlFile, YamlPath, dotted

_WANTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "string_sub_type": "text",
    "dict_type": "keys and values",
    "mapping_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "path_type": "a path",
}
_BOUNDS = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
}


def problems_from_validation(
    error: ValidationError,
    yaml: YamlFile,
    model: type[BaseModel],
    *,
    at: YamlPath = (),
    where: Callable[[YamlPath], str] = dotted,
    patterns: Mapping[str, str] | None = None,
) -> list[Problem]:
    """Return what pydantic found as problems in the file.

    `at` is where the validated part stands in the file, `where` names a path in messages, and `patterns`
    says in words what a regular expression of the model wants.
    """
    said: dict[tuple[YamlPath, bool], list[str]] = {}
    for detail in error.errors(include_url=False):
        path, is_key = _place(detail, yaml.value, at)
        messages = said.setdefault((path, is_key), [])
        message = _message(detail, path[len(at) : -1], model, patterns or {})
        if message not in messages:
            messages.append(message)
    return [
        yaml.problem(path, " or ".join(messages), where=where(path[:-1] if is_key else path), key=is_key)
        for (path, is_key), messages in said.items()
    ]


def path_of(detail: ErrorDetails, value: Any) -> YamlPath:
    """Return the path in plain data that a pydantic error means; of what is missing, where it would be."""
    return _place(detail, value, ())[0]


def _place(detail: ErrorDetails, value: Any, at: YamlPath) -> tuple[YamlPath, bool]:
    """Return the path in the file that pydantic's location means, and whether its key is meant.

    Locations also name the branches of unions and the like; what is not in the file is skipped, but a
    missing key's own name is kept.
    """
    for part in at:
        value = value[part]
    path, loc = list(at), list(detail["loc"])
    for index, part in enumerate(loc):
        present: Any = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
        if part in present:
            value = value[part]
        elif not (detail["type"] == "missing" and index == len(loc) - 1):
            continue
        path.append(part)
    return tuple(path), detail["type"] == "extra_forbidden" or loc[-1:] == ["[key]"]


def _message(detail: ErrorDetails, parent: YamlPath, model: type[BaseModel], patterns: Mapping[str, str]) -> str:
    kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return unknown("key", str(detail["loc"][-1]), frozenset(keys_of(model, parent)))
    if kind in _WANTED:
        return f"must be {_WANTED[kind]}, not {_found(value)}"
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**{key: _number(bound) for key, bound in context.items()})
    if kind == "value_error":
        return str(context["error"])
    if kind in ("literal_error", "enum"):
        return f"must be {context['expected']}{_near(value, context['expected'])}"
    if kind == "string_pattern_mismatch":
        return patterns.get(context["pattern"], f"must match {context['pattern']}")
    return detail["msg"].replace("Input should", "must").replace("must be a valid", "must be a")


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _near(value: Any, expected: str) -> str:
    known = re.findall(r"'([^']*)'", expected)
    near = difflib.get_close_matches(value, known, n=1) if isinstance(value, str) and len(known) > 1 else []
    return f"; did you mean {near[0]!r}?" if near else ""


def _found(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    names = {str: "text", int: "a number", float: "a number", list: "a list", dict: "keys and values"}
    return names.get(type(value), "something else")


def keys_of(model: type[BaseModel], path: YamlPath) -> set[str]:
    """Return the keys that may stand at a path under a model."""
    types: list[Any] = [model]
    for part in path:
        types = [below for annotation in types for below in types_below(annotation, part)]
    return {info.alias or name for kind in types for m in models_in(kind) for name, info in m.model_fields.items()}


def types_below(annotation: Any, part: str | int) -> list[Any]:
    """Return the types that may stand under one key or index of a value of this type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and origin is None:
        fields = annotation.model_fields if issubclass(annotation, BaseModel) else {}
        return [info.annotation for name, info in fields.items() if part == (info.alias or name)]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return [arguments[1]]
    if isinstance(origin, type) and issubclass(origin, (list, tuple, Sequence)):
        return [a for a in arguments if a is not Ellipsis] if isinstance(part, int) else []
    return [below for argument in arguments for below in types_below(argument, part)]


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that a value of this type may be: itself, or one of a union."""
    origin = get_origin(annotation)
    if isinstance(annotation, type) and origin is None:
        return [annotation] if issubclass(annotation, BaseModel) else []
    if isinstance(origin, type) and issubclass(origin, (Mapping, list, tuple)):
        return []
    return [model for argument in get_args(annotation) for model in models_in(argument)]
