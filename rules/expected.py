"""Orders that a test expects: with as many parameters as matter, compared as the action itself reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from bridge.sdk import ActionSpec, Order


@dataclass(frozen=True, slots=True)
class Expected:
    """An order that a test expects; parameters that are left out may be anything."""

    action: str
    params: dict[str, Any]
    rule: str | None = None
    """Whose it must be; None: anybody's."""

    def matches(self, order: Order, actions: Mapping[str, ActionSpec[Any]]) -> bool:
        """Tell whether an order is of this kind. Both are compared as the action itself reads them."""
        if order.action != self.action or (self.rule is not None and order.rule != self.rule):
            return False
        return self.fits(order.params, actions)

    def fits(self, params: Mapping[str, Any], actions: Mapping[str, ActionSpec[Any]]) -> bool:
        """Tell whether the parameters of an order are as expected."""
        model = actions[self.action].params
        try:
            wanted = model.model_validate(over(dict(params), self.params))
        except ValidationError:
            return False
        return whole(wanted) == whole(model.model_validate(params))

    def __str__(self) -> str:
        whose = f" by rule {self.rule}" if self.rule is not None else ""
        return f"{self.action} {json.dumps(self.params, ensure_ascii=False, default=str)}{whose}"


def whole(model: BaseModel) -> dict[str, Any]:
    """Return all parameters of an order, those too that were not written."""
    return model.model_dump(mode="json", by_alias=True)


def over(base: Any, parts: Any) -> Any:
    """Return parameters with some of them replaced, however deep."""
    if isinstance(base, dict) and isinstance(parts, dict):
        return {**base, **{key: over(base.get(key), value) for key, value in parts.items()}}
    return parts
