"""Say a Python type in the words of somebody who reads YAML or JSON; for the pages that are made from models."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

_NAMES: Mapping[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    type(None): "none",
}


def type_words(annotation: Any, names: Mapping[Any, str], other: Callable[[Any], str]) -> str:
    """Return a type in words. `names` are the page's own; `other` is asked for mappings, models and the rest."""

    def words(part: Any) -> str:
        if part in names or part in _NAMES:
            return names.get(part) or _NAMES[part]
        origin, arguments = get_origin(part), get_args(part)
        if origin is Annotated:
            return words(arguments[0])
        if origin is Literal:
            return " \\| ".join(f"`{value}`" for value in arguments)
        if origin in (Union, types.UnionType):
            return " or ".join(words(a) for a in arguments if a is not type(None))
        if origin in (tuple, list, frozenset, set):
            return f"list of {words(arguments[0])}"
        return other(part)

    return words(annotation)
