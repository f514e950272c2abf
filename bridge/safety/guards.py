"""What stands between an order and an output, one function a rule. Pure: all they look at is in `Asked`.

Each returns why not, or None. They are asked in the order of the tables at the end, and the first
refusal counts. A new protection is one more function in a table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge.config.outputs import DoorConfig, Protected, StateIs
from bridge.safety.facts import Facts
from bridge.safety.gate import age_of
from bridge.safety.hours import open_at
from bridge.safety.openings import Opening, plate_of
from bridge.safety.readings import KEPT
from bridge.safety.reasons import Reason
from bridge.schema.kinds import PlateRead
from bridge.schema.orders import Order
from bridge.schema.units import format_duration

MAX_AGE = timedelta(seconds=60)
"""No door opens on an older cause, whatever is configured."""
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a guard looks at. `openings` are those of this output by other orders, with how long ago each was."""

    limits: Protected
    order: Order
    now: datetime
    openings: Sequence[tuple[timedelta, Opening]]
    facts: Facts
    held: str = ""
    """Which door to its output somebody stopped by hand."""
    unconfirmed: bool = False
    """Nobody has agreed to its settings yet."""


@dataclass(frozen=True, slots=True)
class AskedDoor(Asked):
    """The same for a door."""

    limits: DoorConfig
    readings: Sequence[tuple[timedelta, float | None]] = ()
    """Other readings of the plate by the same reader: how far each is from this one, and its score."""


Refusal = tuple[Reason, str]


def hold(asked: AskedDoor) -> Refusal | None:
    """Somebody stopped it by hand, by this name or by another door to the same output."""
    return (Reason.HOLD, asked.held) if asked.limits.hold or asked.held else None


def unconfirmed(asked: AskedDoor) -> Refusal | None:
    """It was configured otherwise, and nobody has agreed to that yet."""
    return (Reason.UNCONFIRMED, "") if asked.unconfirmed else None


def age(asked: AskedDoor) -> Refusal | None:
    """The cause is too old for this door."""
    old, limit = age_of(asked.order, asked.now), min(asked.limits.max_age, MAX_AGE)
    return (Reason.TOO_OLD, f"{format_duration(old)}, at most {format_duration(limit)}") if old > limit else None


def score(asked: AskedDoor) -> Refusal | None:
    """The reader was not sure enough of the plate."""
    read = asked.order.trigger.data
    if not isinstance(read, PlateRead) or asked.limits.min_score <= 0:
        return None
    if read.score is None:
        return Reason.NO_SCORE, f"at least {asked.limits.min_score:g} is asked for"
    if read.score >= asked.limits.min_score:
        return None
    return Reason.LOW_SCORE, f"{read.score:g} of {asked.limits.min_score:g}"


def reads(asked: AskedDoor) -> Refusal | None:
    """One reading may be a mistake: it wants another, or something else that says so."""
    wanted, limits = asked.limits.reads, asked.limits
    if not isinstance(asked.order.trigger.data, PlateRead):
        return None
    if limits.second_factor is not None and asked.facts.holds(limits.second_factor):
        return None
    within = min(limits.reads_within, KEPT)
    sure = [score for apart, score in asked.readings if apart <= within]
    found = 1 + sum((score or 0) >= limits.min_score for score in sure)
    return None if found >= wanted else (Reason.FEW_READS, f"{found} of {wanted} within {format_duration(within)}")


def same_event(asked: Asked) -> Refusal | None:
    """One event opens one output once."""
    event = asked.order.trigger.id
    return (Reason.SAME_EVENT, "") if any(opening.event == event for _, opening in asked.openings) else None


def same_plate(asked: AskedDoor) -> Refusal | None:
    """A car that stands there is read again and again. After a restart any plate may have been this one."""
    plate = plate_of(asked.order)
    recent = (o.plate for ago, o in asked.openings if ago < asked.limits.same_plate)
    return (Reason.SAME_PLATE, "") if plate and any(known in (plate, None) for known in recent) else None


def cooldown(asked: Asked) -> Refusal | None:
    """It opened a moment ago."""
    ago = min((ago for ago, _ in asked.openings), default=None)
    if ago is None or ago >= asked.limits.cooldown:
        return None
    return Reason.COOLDOWN, f"again in {format_duration(asked.limits.cooldown - ago)}"


def per_minute(asked: Asked) -> Refusal | None:
    """It has had its openings for this minute."""
    full = _count(asked, _MINUTE) >= asked.limits.per_minute
    return (Reason.PER_MINUTE, f"at most {asked.limits.per_minute}") if full else None


def per_hour(asked: Asked) -> Refusal | None:
    """It has had its openings for this hour."""
    full = _count(asked, _HOUR) >= asked.limits.per_hour
    return (Reason.PER_HOUR, f"at most {asked.limits.per_hour}") if full else None


def _count(asked: Asked, window: timedelta) -> int:
    return sum(ago < window for ago, _ in asked.openings)


def hours(asked: Asked) -> Refusal | None:
    """It is shut at this time of day, or by one of the two times that the clock may show."""
    wanted = asked.limits.hours
    return None if wanted is None or open_at(wanted, asked.now) else (Reason.CLOSED, f"in the zone {wanted.zone}")


def requires(asked: Asked) -> Refusal | None:
    """Something that must be so is not, or nobody knows."""
    return _interlock(asked, asked.limits.requires, wanted=True)


def blocks(asked: Asked) -> Refusal | None:
    """Something that must not be so is, or nobody knows."""
    return _interlock(asked, asked.limits.blocks, wanted=False)


def _interlock(asked: Asked, states: Sequence[StateIs], *, wanted: bool) -> Refusal | None:
    for state in states:
        holds = asked.facts.holds(state)
        if holds is None:
            return Reason.STATE_UNKNOWN, f"{state.attribute} of {state.entity}"
        if holds is not wanted:
            value = asked.facts.get(state.entity, state.attribute)
            return Reason.INTERLOCK, f"{state.attribute} of {state.entity} is {value}"
    return None


DOOR_GUARDS: tuple[Callable[[AskedDoor], Refusal | None], ...] = (
    hold,
    unconfirmed,
    age,
    score,
    reads,
    same_event,
    same_plate,
    hours,
    requires,
    blocks,
    cooldown,
    per_minute,
    per_hour,
)
"""For an opening through a door. Who must agree to it comes after all of them."""

OUTPUT_GUARDS: tuple[Callable[[Asked], Refusal | None], ...] = (
    same_event,
    hours,
    requires,
    blocks,
    cooldown,
    per_minute,
    per_hour,
)
"""For an output of class actuating that a rule switches by itself."""
