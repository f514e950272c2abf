"""What receivers are sent when a rule does not write its own body: the event, as CloudEvents 1.0. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from bridge.schema.orders import Order

CONTENT_TYPE = "application/cloudevents+json"


def envelope(order: Order, steps: Iterable[str] = ()) -> bytes:
    """Return the event that decided, in structured JSON, for whoever is told about it.

    It is the event as it stands in the log, without `raw`, with two extension attributes: `order`
    and `rule`. Results of earlier steps that were asked for are in `data.steps`, by name, each with
    `outcome` and `output`; CloudEvents allows no object outside `data`. A step that has not ended
    is `pending`.
    """
    body: dict[str, Any] = order.trigger.model_dump(mode="json", exclude_none=True, exclude={"raw"})
    body |= {"order": order.id, "rule": order.rule}
    wanted = {name: _step(order, name) for name in steps}
    if wanted:
        body["data"] = body["data"] | {"steps": wanted}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _step(order: Order, name: str) -> dict[str, Any]:
    result = order.steps.get(name)
    return {"outcome": "pending", "output": {}} if result is None else result.model_dump(mode="json")
