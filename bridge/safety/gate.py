"""Decide whether an order may be carried out now. Pure but for the clock and the kill switch's file.

The runner asks before it claims an order and again right before it acts; what leaves idle asks
once more after its release is written down. The gate only says no: limits, doors and devices have
their own word after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from bridge.clock import Clock
from bridge.contracts import ActionParams, ActionSpec
from bridge.safety.breaker import Breaker
from bridge.safety.causes import untimed, untrusted
from bridge.safety.clocks import SourceClocks
from bridge.safety.killswitch import KillSwitch
from bridge.safety.ownclock import OwnClock
from bridge.safety.reasons import Reason, refusal
from bridge.schema.event import Origin
from bridge.schema.orders import MAX_AGE, ActionClass, Order

FUTURE_TOLERANCE = timedelta(seconds=2)
"""A source may be ahead of us by this and still move something."""

MAX_LATENESS = timedelta(seconds=60)
"""No order of the clock moves anything later than this after its time, whatever its rule says."""

_ACTUATES = frozenset({Origin.LIVE, Origin.COMMAND})
_MADE_UP = frozenset({Origin.REPLAY, Origin.TEST})


@dataclass(frozen=True, slots=True)
class Verdict:
    """`go`, or `refuse` and `expire` with the reason."""

    decision: Literal["go", "refuse", "expire"]
    reason: Reason | None = None

    @property
    def go(self) -> bool:
        """Return whether it may be done."""
        return self.decision == "go"


GO = Verdict("go")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a guard looks at."""

    order: Order
    action_class: ActionClass
    max_age: timedelta | None
    now: datetime
    killed: Callable[[], bool]
    tripped: Callable[[], bool]
    unconfirmed: Callable[[], bool]
    dry_run: bool
    starting: bool
    clock_trusted: bool
    clocks: SourceClocks
    doubt: Callable[[Iterable[str]], Reason | None]


def class_of(spec: ActionSpec[Any], params: ActionParams) -> ActionClass:
    """Return the class of an action with these parameters."""
    return spec.classify(params) if spec.classify is not None else spec.action_class


def max_age_of(spec: ActionSpec[Any], action_class: ActionClass) -> timedelta | None:
    """Return how old the cause may be; a releasing order is never too old."""
    if action_class is ActionClass.RELEASING:
        return None
    return spec.max_age if spec.max_age is not None else MAX_AGE.get(action_class)


def limit_of(order: Order, spec: ActionSpec[Any], action_class: ActionClass) -> timedelta | None:
    """Return how old this order's cause may be. An order of the clock is late, not old: its rule says how late."""
    lateness = order.max_lateness if order.origin is Origin.TIMER else None
    if lateness is not None and action_class is ActionClass.ACTUATING:
        return min(lateness, MAX_LATENESS)
    return max_age_of(spec, action_class)


def age_of(order: Order, now: datetime) -> timedelta:
    """Return the age of the cause: the larger of what our clock and what the source's clock says."""
    return now - min(order.received, order.occurred)


def _dry_run(asked: Asked) -> Reason | None:
    return Reason.DRY_RUN if asked.dry_run else None


def _made_up(asked: Asked) -> Reason | None:
    """What is replayed or made up tells people and programs, and touches no device."""
    if asked.action_class is not ActionClass.INFORMATION and asked.order.origin in _MADE_UP:
        return Reason.NOT_LIVE
    return None


def _killed(asked: Asked) -> Reason | None:
    return Reason.KILL_SWITCH if asked.action_class is ActionClass.ACTUATING and asked.killed() else None


def _tripped(asked: Asked) -> Reason | None:
    return Reason.BREAKER if asked.action_class is ActionClass.ACTUATING and asked.tripped() else None


def _unconfirmed(asked: Asked) -> Reason | None:
    """Nobody has agreed to what was changed for everything that moves."""
    return Reason.UNCONFIRMED if asked.action_class is ActionClass.ACTUATING and asked.unconfirmed() else None


def _starting(asked: Asked) -> Reason | None:
    return Reason.STARTING if asked.action_class is ActionClass.ACTUATING and asked.starting else None


def _not_live(asked: Asked) -> Reason | None:
    """Only what was seen live or commanded actuates, and an order of the clock whose rule says how late it may be."""
    if asked.action_class is not ActionClass.ACTUATING or asked.order.origin in _ACTUATES:
        return None
    by_clock = asked.order.origin is Origin.TIMER and asked.order.max_lateness is not None
    return None if by_clock else Reason.NOT_LIVE


def _clock(asked: Asked) -> Reason | None:
    if asked.action_class is not ActionClass.ACTUATING:
        return None
    if not asked.clock_trusted or asked.order.received - asked.now > FUTURE_TOLERANCE:
        return Reason.CLOCK_STEPPED
    return Reason.FUTURE_TIME if asked.order.occurred - asked.now > FUTURE_TOLERANCE else None


def _no_time(asked: Asked) -> Reason | None:
    return untimed(asked.order.trigger) if asked.action_class is ActionClass.ACTUATING else None


def _clock_trust(asked: Asked) -> Reason | None:
    return untrusted(asked.order.trigger, asked.clocks) if asked.action_class is ActionClass.ACTUATING else None


def _causes(asked: Asked) -> Reason | None:
    """What decided may be honest, and another cause not: an order is trusted only as far as each of them."""
    others = (cause for cause in asked.order.causes if cause != asked.order.trigger.id)
    return asked.doubt(others) if asked.action_class is ActionClass.ACTUATING else None


def _expired(asked: Asked) -> Reason | None:
    if asked.action_class is ActionClass.RELEASING or asked.order.expires is None:
        return None
    return Reason.EXPIRED if asked.now > asked.order.expires else None


def _too_old(asked: Asked) -> Reason | None:
    if asked.max_age is None:
        return None
    return Reason.TOO_OLD if age_of(asked.order, asked.now) > asked.max_age else None


GUARDS: tuple[Callable[[Asked], Reason | None], ...] = (
    _dry_run,
    _made_up,
    _not_live,
    _clock,
    _expired,
    _too_old,
    _no_time,
    _clock_trust,
    _causes,
    _starting,
    _unconfirmed,
    _tripped,
    _killed,
)
"""Asked in this order; the first reason counts. The latches are last because they ask the file system."""

_EXPIRES = frozenset({Reason.EXPIRED, Reason.TOO_OLD})


class Gate:
    """The gate of one bridge."""

    def __init__(
        self,
        clock: Clock,
        kill: KillSwitch,
        breaker: Breaker,
        clocks: SourceClocks,
        own_clock: OwnClock,
        *,
        hold_off: timedelta,
        unconfirmed: Callable[[], bool] = lambda: False,
        doubt: Callable[[Iterable[str]], Reason | None] = lambda _: None,
        dry_run: bool = False,
    ) -> None:
        """The hold-off counts from here: make the gate when the bridge starts."""
        self._clock = clock
        self._kill = kill
        self._breaker = breaker
        self._clocks = clocks
        self._own_clock = own_clock
        self._ready_at = clock.monotonic() + hold_off.total_seconds()
        self._dry_run = dry_run
        self._unconfirmed, self._doubt = unconfirmed, doubt

    def check(self, order: Order, spec: ActionSpec[Any], params: ActionParams) -> Verdict:
        """Say whether the order may be done now, and if not, why not."""
        action_class = class_of(spec, params)
        asked = Asked(
            order,
            action_class,
            limit_of(order, spec, action_class),
            self._clock.now(),
            lambda: self._kill.pulled,
            lambda: self._breaker.pulled,
            self._unconfirmed,
            self._dry_run,
            self._clock.monotonic() < self._ready_at,
            self._own_clock.vouches(order.trigger.id),
            self._clocks,
            self._doubt,
        )
        for guard in GUARDS:
            reason = guard(asked)
            if reason is not None:
                return Verdict("expire" if reason in _EXPIRES else "refuse", reason)
        return GO

    def demand(self, order: Order, spec: ActionSpec[Any], params: ActionParams) -> None:
        """Check once more, right before something is sent. Raises ActionRejectedError with the reason."""
        verdict = self.check(order, spec, params)
        if verdict.reason is not None:
            raise refusal(verdict.reason)

    def latest_start(self, order: Order, spec: ActionSpec[Any], params: ActionParams) -> datetime | None:
        """Return the moment after which `check` will say `expire`; None if there is none."""
        action_class = class_of(spec, params)
        if action_class is ActionClass.RELEASING:
            return None
        max_age = limit_of(order, spec, action_class)
        ends = [min(order.received, order.occurred) + max_age] if max_age is not None else []
        if order.expires is not None:
            ends.append(order.expires)
        return min(ends, default=None)
