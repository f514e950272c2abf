"""The records of an order's life, field by field: what the ledger, the trail and a dead letter say of it. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bridge.actions.plan import Plan
from bridge.actions.records import (
    LONGEST_MESSAGE,
    OTHER_GRACE,
    about,
    burial,
    ended_effect,
    result_of,
    started_effect,
    waiting_effect,
)
from bridge.contracts import ActionContext
from bridge.safety.reasons import WORDS, Reason
from bridge.schema.kinds import CallStarted
from bridge.schema.orders import About, ActionClass, Effect, Order, Result
from tests.bridge.actions.support import InfoParams, info_spec, make_order, plate_event
from tests.clock import START, VirtualClock

S = timedelta(seconds=1)
DRY = WORDS[Reason.DRY_RUN]


async def _nothing(_: InfoParams, __: ActionContext) -> dict[str, Any]:
    return {}


def _order(**more: Any) -> Order:
    return make_order(VirtualClock(), "info", {}, **({"step": "told", "hops": 3, "causes": ("a", "event1")} | more))


def _about(order: Order, plate: str | None = "12AB345") -> About:
    return About(
        rule_version="1", origin=order.origin, occurred=START - S, received=START, created=START, plate=plate, hops=3
    )


def test_what_an_order_was_for() -> None:
    """Enough to judge its end when the order is gone; the plate where one was read."""
    order = _order(occurred=START - S)
    assert about(order) == _about(order)
    call = plate_event(VirtualClock(), 1, type="call.started", data=CallStarted(caller="app"))
    assert about(_order(occurred=START - S, event=call)) == _about(order, None)


def test_a_try_that_begins_says_who_holds_it_and_until_when() -> None:
    """Another runner leaves it alone for the time that one try may take and a little more."""
    order = _order(occurred=START - S)
    spec = info_spec(_nothing, timeout=7 * S)
    planned = Plan(spec, InfoParams(), ActionClass.TRANSIENT, "x")
    assert started_effect(order, planned, "north", 2, START, START + 60 * S) == Effect(
        order=order.id, action_class=ActionClass.TRANSIENT, status="started", attempt=2, executor="north",
        claimed=START, next_try=START + 67 * S + OTHER_GRACE, about=_about(order),
    )  # fmt: skip


def test_an_order_that_waits_says_why_and_until_when() -> None:
    """On one line, bounded; the rest stays as it was when the try began."""
    effect = ended_effect(_order(), "north", result_of(_order(), START, "done", None))
    waits = waiting_effect(effect, START + S, "busy\n" + "x" * 999)
    assert (waits.status, waits.next_try, len(str(waits.last_error))) == ("waiting", START + S, LONGEST_MESSAGE)
    assert str(waits.last_error).startswith("busy")
    assert "\n" not in str(waits.last_error)
    changed = {"status": "ended", "next_try": None, "last_error": None}
    assert waits.model_copy(update=changed) == effect


def test_an_order_that_ended_before_a_try_has_one_record() -> None:
    """Claimed and ended at once; nobody waits for it."""
    order = _order(occurred=START - S)
    result = result_of(order, START + S, "refused", "dry_run")
    assert ended_effect(order, "north", result) == Effect(
        order=order.id, action_class=order.action_class, status="ended", attempt=1, executor="north",
        claimed=START + S, about=_about(order), result=result,
    )  # fmt: skip


def test_a_result_says_everything_about_the_end() -> None:
    """Whose it was, how it ended and when, and what came out."""
    order = _order()
    common = {"order": order.id, "rule": "a-rule", "action": "info", "action_class": order.action_class, "step": "told"}
    full = result_of(order, START + S, "dead", "gave_up", "busy", 4, START, {"status": 503})
    assert full == Result(
        **common, outcome="dead", reason="gave_up", message=f"{WORDS[Reason.GAVE_UP]}: busy", attempts=4,
        started=START, ended=START + S, causes=("a", "event1"), output={"status": 503},
    )  # fmt: skip
    plain = result_of(order, START, "done", None)
    assert plain == Result(**common, outcome="done", ended=START, causes=("a", "event1"))


@pytest.mark.parametrize(
    ("reason", "message", "says"),
    [
        (None, None, None),
        (None, "said", "said"),
        ("rejected", None, None),
        ("rejected", "404", "404"),
        ("dry_run", None, DRY),
        ("dry_run", "", DRY),
        ("dry_run", "seen", f"{DRY}: seen"),
        ("dry_run", f"{DRY}: seen", f"{DRY}: seen"),
        ("dry_run", "x" * 999, f"{DRY}: {'x' * 999}"[:LONGEST_MESSAGE]),
    ],
)
def test_a_reason_of_our_own_is_explained_once(reason: str | None, message: str | None, says: str | None) -> None:
    """Its sentence first, then what was said; a sentence that is there already is not said again."""
    assert result_of(_order(), START, "refused", reason, message).message == says


def test_a_dead_letter_says_what_it_was() -> None:
    """In its headers, so that nobody must read the body to know."""
    order = _order()
    assert burial(order, Reason.POISON, "KeyError:\nx", 5) == {
        "order": order.id, "rule": "a-rule", "action": "info", "reason": "poison",
        "error": burial(order, Reason.POISON, "KeyError:\nx", 5)["error"], "attempts": "5",
    }  # fmt: skip
    assert "\n" not in burial(order, Reason.POISON, "KeyError:\nx", 5)["error"]
    assert burial(order, Reason.POISON, "busy", 5)["error"] == "busy"
