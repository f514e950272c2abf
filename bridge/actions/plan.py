"""Read an order: which action, with which parameters, of which class, for which target. Pure.

What cannot be read by this version is told apart here, before anything is claimed or done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from bridge.contracts import ActionParams, ActionSpec
from bridge.safety.gate import class_of
from bridge.safety.reasons import Reason
from bridge.schema.orders import ActionClass, Order


@dataclass(frozen=True, slots=True)
class Plan:
    """What an order comes to."""

    spec: ActionSpec[Any]
    params: ActionParams
    action_class: ActionClass
    target: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why an order cannot be carried out by this version."""

    reason: Reason
    detail: str


def plan(order: Order, actions: Mapping[str, ActionSpec[Any]]) -> Plan | Unusable:
    """Return what to do for an order, or why it is unusable."""
    spec = actions.get(order.action)
    if spec is None:
        return Unusable(Reason.UNKNOWN_ACTION, order.action)
    try:
        params = spec.params.model_validate(order.params)
    except ValidationError as exc:
        return Unusable(Reason.BAD_PARAMS, _where(exc))
    action_class = class_of(spec, params)
    if action_class is not order.action_class:
        return Unusable(Reason.CLASS_MISMATCH, f"{order.action_class} is not {action_class}")
    return Plan(spec, params, action_class, spec.target(params, order) if spec.target else spec.name)


def _where(error: ValidationError) -> str:
    """Say where and what, without the values: they may be secrets."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'params'}: {each['msg']}" for each in found[:5])
