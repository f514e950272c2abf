"""The gate: who may act on what, and how late."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ActionRejectedError
from bridge.safety.gate import GO, Gate, Verdict
from bridge.safety.killswitch import KillSwitch
from bridge.safety.reasons import WORDS, Reason, refusal
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


async def test_once_our_clock_is_accepted_what_is_heard_since_actuates(tmp_path: Path) -> None:
    """And by its own name: what came before, of which the clock may tell anything, does not."""
    clock = VirtualClock()
    gate = make_gate(tmp_path, clock)
    clock.jump(-60 * S)
    before, since = _order(clock, ActionClass.ACTUATING, number=1), _order(clock, ActionClass.ACTUATING, number=2)
    gate._own_clock.heard(before.trigger)
    await gate._own_clock.accept()
    gate._clocks.forget("nvr")  # it went back with ours
    gate._clocks.learn("nvr", timedelta(0))
    gate._own_clock.heard(since.trigger)
    assert _check(gate, before, ActionClass.ACTUATING) == "clock_stepped"
    assert _check(gate, since, ActionClass.ACTUATING) == "go"


def test_a_push_without_time_counts_as_now(tmp_path: Path) -> None:
    """Who pushes without a time speaks now: the event's time is its receipt."""
    clock = VirtualClock()
    gate = make_gate(tmp_path, clock)
    for via, says in (("push", "go"), ("ws", "no_time")):
        event = plate_event(clock, timequality="received", via=via)
        assert _check(gate, _order(clock, ActionClass.ACTUATING, event=event), ActionClass.ACTUATING) == says


@pytest.mark.parametrize("action_class", list(ActionClass))
def test_what_nobody_believes_the_time_of_moves_nothing_and_is_told(tmp_path: Path, action_class: ActionClass) -> None:
    """By itself, and among the causes: only what actuates needs a time that is right."""
    clock = VirtualClock()
    doubtful = _order(clock, action_class, event=plate_event(clock, timequality="doubtful"))
    among = _order(clock, action_class)
    wanted = "no_time" if action_class is ActionClass.ACTUATING else "go"
    assert _check(make_gate(tmp_path, clock), doubtful, action_class) == wanted
    assert _check(make_gate(tmp_path, clock, doubt=lambda _: Reason.NO_TIME), among, action_class) == wanted


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


@pytest.mark.parametrize(
    ("action_class", "told", "seconds"),
    [
        (ActionClass.ACTUATING, {}, 10),
        (ActionClass.TRANSIENT, {}, 30),
        (ActionClass.INFORMATION, {}, None),
        (ActionClass.INFORMATION, {"expires": 7}, 7),
        (ActionClass.ACTUATING, {"expires": 7}, 7),
        (ActionClass.ACTUATING, {"expires": 12}, 10),
        (ActionClass.RELEASING, {"expires": 7}, None),
        (ActionClass.ACTUATING, {"origin": Origin.TIMER, "max_lateness": 25}, 25),
        (ActionClass.ACTUATING, {"origin": Origin.TIMER, "max_lateness": 3600}, 60),
        (ActionClass.ACTUATING, {"origin": Origin.LIVE, "max_lateness": 25}, 10),
        (ActionClass.TRANSIENT, {"origin": Origin.TIMER, "max_lateness": 5}, 30),
        (ActionClass.RELEASING, {"origin": Origin.TIMER, "max_lateness": 5}, None),
    ],
)
def test_how_late_an_order_may_start(
    tmp_path: Path, action_class: ActionClass, told: dict[str, Any], seconds: float | None
) -> None:
    """By its class, by its own word, and for an order of the clock by its rule, which may never say over a minute."""
    clock = VirtualClock()
    gate, spec = make_gate(tmp_path, clock), info_spec(_nothing, action_class=action_class)
    units = {"expires": lambda n: clock.now() + n * S, "max_lateness": lambda n: n * S, "origin": lambda origin: origin}
    order = _order(clock, action_class, **{name: units[name](value) for name, value in told.items()})
    ends = None if seconds is None else clock.now() + seconds * S
    assert gate.latest_start(order, spec, InfoParams()) == ends
    clock.jump((seconds if seconds is not None else 1e7) * S)
    assert gate.check(order, spec, InfoParams()) == GO
    if seconds is not None:
        clock.jump(timedelta(microseconds=1))
        assert gate.check(order, spec, InfoParams()).decision == "expire"


def test_an_order_of_the_clock_actuates_only_where_its_rule_says_how_late(tmp_path: Path) -> None:
    """Without a word on lateness nobody thought of what a barrier does that opens by itself."""
    clock = VirtualClock()
    order = _order(clock, ActionClass.ACTUATING, origin=Origin.TIMER)
    assert _check(make_gate(tmp_path, clock), order, ActionClass.ACTUATING) == "not_live"


def test_an_action_may_say_itself_how_old_its_cause_may_be(tmp_path: Path) -> None:
    """Its word goes before its class's; nothing keeps a release waiting."""
    clock = VirtualClock()
    gate = make_gate(tmp_path, clock)
    for action_class, says in ((ActionClass.ACTUATING, "too_old"), (ActionClass.RELEASING, "go")):
        spec = info_spec(_nothing, action_class=action_class, max_age=3 * S)
        order = _order(clock, action_class)
        assert gate.latest_start(order, spec, InfoParams()) == (order.received + 3 * S if says != "go" else None)
        clock.jump(3 * S)
        assert gate.check(order, spec, InfoParams()).go
        clock.jump(timedelta(microseconds=1))
        verdict = gate.check(order, spec, InfoParams())
        assert (verdict.reason or "go") == says


def test_an_action_may_be_of_another_class_by_its_parameters(tmp_path: Path) -> None:
    """`state: off` is a release, `state: on` is not: the gate and its last moment follow the parameters."""
    clock = VirtualClock()
    gate = make_gate(tmp_path, clock)
    classes = {"on": ActionClass.ACTUATING, "off": ActionClass.RELEASING}
    spec = info_spec(_nothing, classify=lambda params: classes[params.to])
    order = _order(clock, ActionClass.ACTUATING, occurred=clock.now() - 60 * S)
    assert gate.check(order, spec, InfoParams(to="on")).reason is Reason.TOO_OLD
    assert gate.check(order, spec, InfoParams(to="off")).go
    assert gate.latest_start(order, spec, InfoParams(to="on")) == order.occurred + 10 * S
    assert gate.latest_start(order, spec, InfoParams(to="off")) is None


@pytest.mark.parametrize("action_class", list(ActionClass))
async def test_only_what_actuates_waits_for_the_start(tmp_path: Path, action_class: ActionClass) -> None:
    """The hold-off counts from when the gate is made, on the clock that nobody sets, and then is over."""
    clock = VirtualClock()
    await clock.advance(100)
    gate = make_gate(tmp_path, clock, hold_off=15 * S)
    held = "starting" if action_class is ActionClass.ACTUATING else "go"
    for passed, says in ((0, held), (14.5, held), (0.5, "go")):
        await clock.advance(passed)
        assert _check(gate, _order(clock, action_class), action_class) == says


@pytest.mark.parametrize("action_class", list(ActionClass))
def test_only_what_actuates_waits_for_a_change_that_is_not_agreed_to(tmp_path: Path, action_class: ActionClass) -> None:
    """Nothing leaves idle under settings that nobody has confirmed; afterwards it does."""
    clock = VirtualClock()
    held = "unconfirmed" if action_class is ActionClass.ACTUATING else "go"
    for unconfirmed, says in ((True, held), (False, "go")):
        gate = make_gate(tmp_path, clock, unconfirmed=lambda waits=unconfirmed: waits)
        assert _check(gate, _order(clock, action_class), action_class) == says


@pytest.mark.parametrize("action_class", list(ActionClass))
async def test_the_breaker_blocks_actuations_only(tmp_path: Path, action_class: ActionClass) -> None:
    """What is switched back, and what tells people, is what a storm needs most."""
    clock = VirtualClock()
    (tmp_path / "breaker").touch()
    says = _check(make_gate(tmp_path, clock), _order(clock, action_class), action_class)
    assert says == ("breaker" if action_class is ActionClass.ACTUATING else "go")


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"received": 2}, "go"),
        ({"received": 2.001}, "clock_stepped"),
        ({"occurred": 2.001}, "future_time"),
        ({"received": 2.001, "occurred": 2.001}, "clock_stepped"),
    ],
)
def test_two_seconds_of_the_future_are_forgiven(tmp_path: Path, told: dict[str, float], says: str) -> None:
    """More than that by our own clock means that it went back; by the source's, that it is wrong."""
    clock = VirtualClock()
    ahead = {name: clock.now() + seconds * S for name, seconds in told.items()}
    order = _order(clock, ActionClass.ACTUATING, **ahead)
    assert _check(make_gate(tmp_path, clock), order, ActionClass.ACTUATING) == says
    other = _order(clock, ActionClass.TRANSIENT, **ahead)
    assert _check(make_gate(tmp_path, clock), other, ActionClass.TRANSIENT) == "go"


@pytest.mark.parametrize(
    ("offset", "says"), [(5, "go"), (-5, "go"), (5.001, "clock_off"), (-5.001, "clock_off"), (None, "clock_unknown")]
)
def test_the_clock_of_a_source_is_right_or_nothing_moves(tmp_path: Path, offset: float | None, says: str) -> None:
    """Five seconds to either side here, or not known at all; what moves nothing does not ask."""
    clock = VirtualClock()
    gate = make_gate(tmp_path, clock)
    gate._clocks.forget()
    if offset is not None:
        gate._clocks.learn("nvr", offset * S)
    for action_class in ActionClass:
        expected = says if action_class is ActionClass.ACTUATING else "go"
        assert _check(gate, _order(clock, action_class), action_class) == expected


def test_a_verdict_says_why_in_words(tmp_path: Path) -> None:
    """What is too late expires, anything else is refused; both with the reason and its sentence."""
    clock = VirtualClock()
    order, spec = _order(clock, ActionClass.INFORMATION), info_spec(_nothing)
    refused = make_gate(tmp_path, clock, dry_run=True).check(order, spec, InfoParams())
    assert refused == Verdict("refuse", Reason.DRY_RUN)
    late = order.model_copy(update={"expires": clock.now() - S})
    expired = make_gate(tmp_path, clock).check(late, spec, InfoParams())
    assert expired == Verdict("expire", Reason.EXPIRED)


def test_demand_lets_through_what_may_be_done(tmp_path: Path) -> None:
    """It raises only where `check` says no, for this order, this action and these parameters."""
    clock = VirtualClock()
    gate = make_gate(tmp_path, clock)
    gate.demand(_order(clock, ActionClass.INFORMATION), info_spec(_nothing), InfoParams())
    old = _order(clock, ActionClass.ACTUATING, occurred=clock.now() - 60 * S)
    spec = info_spec(_nothing, classify=lambda params: ActionClass(params.to))
    gate.demand(old, spec, InfoParams(to="releasing"))
    with pytest.raises(ActionRejectedError, match=WORDS[Reason.TOO_OLD]) as caught:
        gate.demand(old, spec, InfoParams(to="actuating"))
    assert caught.value.reason == "too_old"


def test_a_refusal_is_its_sentence_and_what_was_seen() -> None:
    """The code for machines, the sentence for people, and the detail only where there is one."""
    plain, seen = refusal(Reason.HOLD), refusal(Reason.HOLD, "by anna")
    assert (plain.reason, str(plain)) == (seen.reason, "the door is held by hand")
    assert str(seen) == "the door is held by hand: by anna"


def test_every_reason_is_explained_in_words() -> None:
    """A code without a sentence explains nothing."""
    assert set(WORDS) == set(Reason)
    assert len(set(WORDS.values())) == len(WORDS)
