"""What an order comes to, or why this version cannot read it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel, model_validator

from bridge.actions.plan import Plan, Unusable, plan
from bridge.contracts import ActionParams, ActionSpec
from bridge.safety.reasons import Reason
from bridge.schema.orders import ActionClass
from tests.bridge.actions.support import InfoParams, info_spec, make_order
from tests.clock import VirtualClock


class Inner(BaseModel):
    """A part of the parameters."""

    port: int


class ManyParams(ActionParams):
    """Parameters with much that can be wrong."""

    inner: Inner | None = None
    a: int = 0
    b: int = 0
    c: int = 0
    d: int = 0
    e: int = 0
    f: int = 0

    @model_validator(mode="after")
    def _small(self) -> ManyParams:
        if self.a > 9:
            raise ValueError("too much")
        return self


async def _run(params: Any, context: Any) -> dict[str, Any]:
    return {}


def _many(**more: Any) -> ActionSpec[Any]:
    return ActionSpec("many", "Test.", ManyParams, ActionClass.INFORMATION, _run, "many:", **more)


def test_an_order_is_read_by_its_action() -> None:
    """The action, its parameters, the class they make, and the target the action names."""
    spec = replace(info_spec(_run), target=lambda params, order: f"{order.rule}:{params.to}")
    order = make_order(VirtualClock(), "info", {"to": "office"})
    assert plan(order, {"info": spec}) == Plan(spec, InfoParams(to="office"), ActionClass.INFORMATION, "a-rule:office")


def test_an_action_without_targets_is_its_own() -> None:
    """All its orders are for the same."""
    spec = _many()
    order = make_order(VirtualClock(), "many", {"a": 1})
    assert plan(order, {"many": spec}) == Plan(spec, ManyParams(a=1), ActionClass.INFORMATION, "many")


def test_an_action_that_is_not_there_is_named() -> None:
    """Of an older or newer version, or a plug-in that is not installed."""
    order = make_order(VirtualClock(), "info", {})
    assert plan(order, {"many": _many()}) == Unusable(Reason.UNKNOWN_ACTION, "info")


def test_a_class_that_changed_is_told_with_both_names() -> None:
    """How an order may fail was decided when it was made; an action that fails otherwise by now must not do it."""
    spec = _many(classify=lambda params: ActionClass.RELEASING if params.a else ActionClass.INFORMATION)
    order = make_order(VirtualClock(), "many", {"a": 1})
    assert plan(order, {"many": spec}) == Unusable(Reason.CLASS_MISMATCH, "information is not releasing")


SECRET = "hunter2"
INT = "Input should be a valid integer, unable to parse string as an integer"


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"a": SECRET, "inner": {"port": SECRET}}, f"inner.port: {INT}; a: {INT}"),
        (dict.fromkeys("abcdef", SECRET), "; ".join(f"{name}: {INT}" for name in "abcde")),
        ({"a": 10}, "params: Value error, too much"),
    ],
)
def test_parameters_that_do_not_fit_are_named_without_their_values(params: dict[str, Any], said: str) -> None:
    """Where and what, five at most: the values may be secrets."""
    assert plan(make_order(VirtualClock(), "many", params), {"many": _many()}) == Unusable(Reason.BAD_PARAMS, said)
