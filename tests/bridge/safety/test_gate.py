"""The gate: who may act on what, and how late."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ActionRejectedError
from bridge.safety.gate import Gate
from bridge.safety.killswitch import KillSwitch
from bridge.safety.reasons import WORDS, Reason
from bridge.schema.event import Origin
from bridge.schema.orders import ActionClass, Order
from tests.bridge.actions.support import InfoParams, info_spec, make_gate, make_order, plate_event
from tests.clock import VirtualClock

S = timedelta(seconds=1)


async def _nothing(params: Any, context: Any) -> dict[str, Any]:
    return {}


def _check(gate: Gate, order: Order, action_class: ActionClass) -> str:
    verdict = gate.check(order, info_spec(_nothing, action_class=action_class), InfoParams())
    assert (verdict.reason is None) == verdict.go
    return verdict.reason.value if verdict.reason else "go"


def _order(clock: VirtualClock, action_class: ActionClass, **more: Any) -> Order:
    return make_order(clock, "info", {}, action_class=action_class, **more)


@pytest.mark.parametrize(
    ("action_class", "age", "says"),
    [
        (ActionClass.ACTUATING, 10, "go"),
        (ActionClass.ACTUATING, 10.001, "too_old"),
        (ActionClass.TRANSIENT, 30, "go"),
        (ActionClass.TRANSIENT, 30.001, "too_old"),
        (ActionClass.RELEASING, 1e7, "go"),
        (ActionClass.INFORMATION, 1e7, "go"),
        (ActionClass.VENDOR_START, 1e7, "go"),
    ],
)
@pytest.mark.parametrize("which", ["received", "occurred"])
def test_age_is_the_larger_of_both_clocks(
    tmp_path: Path, action_class: ActionClass, age: float, says: str, which: str
) -> None:
    """Old by receipt or old by source time: either is too old."""
    clock = VirtualClock()
    order = _order(clock, action_class, **{which: clock.now() - age * S})
    assert _check(make_gate(tmp_path, clock), order, action_class) == says


@pytest.mark.parametrize("origin", list(Origin))
def test_provenance(tmp_path: Path, origin: Origin) -> None:
    """Only what is live or commanded actuates; what is replayed or made up touches no device at all."""
    clock = VirtualClock()
    gate = make_gate(tmp_path, clock)
    says = {c: _check(gate, _order(clock, c, origin=origin), c) for c in ActionClass}
    made_up = origin in (Origin.REPLAY, Origin.TEST)
    assert says[ActionClass.INFORMATION] == "go"
    assert says[ActionClass.ACTUATING] == ("go" if origin in (Origin.LIVE, Origin.COMMAND) else "not_live")
    for other in (ActionClass.RELEASING, ActionClass.TRANSIENT, ActionClass.VENDOR_START):
        assert says[other] == ("not_live" if made_up else "go")


def test_a_source_time_in_the_future_never_actuates(tmp_path: Path) -> None:
    """Two seconds ahead are forgiven, more is a clock that cannot be trusted."""
    clock = VirtualClock()
    gate = make_gate(tmp_path, clock)
    for ahead, says in ((2, "go"), (2.001, "future_time"), (86400, "future_time")):
        order = _order(clock, ActionClass.ACTUATING, occurred=clock.now() + ahead * S)
        assert _check(gate, order, ActionClass.ACTUATING) == says
    transient = _order(clock, ActionClass.TRANSIENT, occurred=clock.now() + 60 * S)
    assert _check(gate, transient, ActionClass.TRANSIENT) == "go"


def test_a_clock_that_went_back_stops_actuations(tmp_path: Path) -> None:
    """An order from our own future has no age."""
    clock = VirtualClock()
    order = _order(clock, ActionClass.ACTUATING)
    clock.jump(-3600 * S)
    assert _check(make_gate(tmp_path, clock), order, ActionClass.ACTUATING) == "clock_stepped"


def test_a_push_without_time_counts_as_now(tmp_path: Path) -> None:
    """Who pushes without a time speaks now: the event's time is its receipt."""
    clock = VirtualClock()
    event = plate_event(clock, timequality="received")
    order = _order(clock, ActionClass.ACTUATING, event=event)
    assert _check(make_gate(tmp_path, clock), order, ActionClass.ACTUATING) == "go"


@pytest.mark.parametrize("action_class", list(ActionClass))
def test_an_order_that_has_expired_is_not_started(tmp_path: Path, action_class: ActionClass) -> None:
    """`expires` holds for everything but a release."""
    clock = VirtualClock()
    order = _order(clock, action_class, expires=clock.now() - S)
    says = _check(make_gate(tmp_path, clock), order, action_class)
    assert says == ("go" if action_class is ActionClass.RELEASING else "expired")


@pytest.mark.parametrize("action_class", list(ActionClass))
async def test_the_kill_switch_blocks_actuations_only(tmp_path: Path, action_class: ActionClass) -> None:
    """And never a release."""
    clock = VirtualClock()
    await KillSwitch(tmp_path, clock).pull("anna", "test")
    says = _check(make_gate(tmp_path, clock), _order(clock, action_class), action_class)
    assert says == ("kill_switch" if action_class is ActionClass.ACTUATING else "go")


@pytest.mark.parametrize("action_class", list(ActionClass))
def test_dry_run_does_nothing_at_all(tmp_path: Path, action_class: ActionClass) -> None:
    """Decide and record, nothing else."""
    clock = VirtualClock()
    gate = make_gate(tmp_path, clock, dry_run=True)
    assert _check(gate, _order(clock, action_class), action_class) == "dry_run"


def test_demand_raises_the_reason(tmp_path: Path) -> None:
    """What asks right before sending gets the same answer as an error."""
    clock = VirtualClock()
    gate = make_gate(tmp_path, clock, dry_run=True)
    spec = info_spec(_nothing)
    with pytest.raises(ActionRejectedError, match="dry_run") as caught:
        gate.demand(_order(clock, ActionClass.INFORMATION), spec, InfoParams())
    assert caught.value.reason == "dry_run"


def test_latest_start_is_when_check_begins_to_say_expire(tmp_path: Path) -> None:
    """The two agree to the microsecond."""
    clock = VirtualClock()
    gate, spec = make_gate(tmp_path, clock), info_spec(_nothing, action_class=ActionClass.ACTUATING)
    order = _order(clock, ActionClass.ACTUATING, occurred=clock.now() - 3 * S)
    latest = gate.latest_start(order, spec, InfoParams())
    assert latest is not None
    clock.jump(latest - clock.now())
    assert gate.check(order, spec, InfoParams()).go
    clock.jump(timedelta(microseconds=1))
    assert gate.check(order, spec, InfoParams()).decision == "expire"


def test_every_reason_is_explained_in_words() -> None:
    """A code without a sentence explains nothing."""
    assert set(WORDS) == set(Reason)
    assert len(set(WORDS.values())) == len(WORDS)
