"""Why an order was not done: the fixed list of reason codes, each with the sentence that explains it to a person.

Codes go into metrics, results and traces and never change their meaning. Whoever refuses says one of
these; what a far side says goes under `rejected`.
"""

from __future__ import annotations

from enum import StrEnum

from bridge.errors import ActionRejectedError


class Reason(StrEnum):
    """A reason code."""

    # the gate
    KILL_SWITCH = "kill_switch"
    DRY_RUN = "dry_run"
    NOT_LIVE = "not_live"
    TOO_OLD = "too_old"
    EXPIRED = "expired"
    FUTURE_TIME = "future_time"
    CLOCK_STEPPED = "clock_stepped"
    NO_TIME = "no_time"
    CLOCK_UNKNOWN = "clock_unknown"
    CLOCK_OFF = "clock_off"
    STARTING = "starting"
    BREAKER = "breaker"
    UNCONFIRMED = "unconfirmed"
    # doors
    UNKNOWN_DOOR = "unknown_door"
    HOLD = "hold"
    NO_SCORE = "no_score"
    LOW_SCORE = "low_score"
    FEW_READS = "few_reads"
    SAME_EVENT = "same_event"
    SAME_PLATE = "same_plate"
    CLOSED = "closed"
    INTERLOCK = "interlock"
    STATE_UNKNOWN = "state_unknown"
    COOLDOWN = "cooldown"
    PER_MINUTE = "per_minute"
    PER_HOUR = "per_hour"
    OBSERVE = "observe"
    NEEDS_CONFIRMATION = "needs_confirmation"
    NOT_PENDING = "not_pending"
    NOT_CONFIRMED = "not_confirmed"
    # openings that wait for people
    NOBODY_AGREED = "nobody_agreed"
    DENIED = "denied"
    RESTARTED = "restarted"
    TOO_MANY_WAIT = "too_many_wait"
    # outputs
    UNKNOWN_OUTPUT = "unknown_output"
    DOOR_OUTPUT = "door_output"
    NO_JOURNAL = "no_journal"
    # clocks
    UNKNOWN_SOURCE = "unknown_source"
    # cameras
    CAMERA_LOCKED = "camera_locked"
    CAMERA_BUSY = "camera_busy"
    # the runner
    SUPERSEDED = "superseded"
    INTERRUPTED = "interrupted"
    NO_ANSWER = "no_answer"
    GAVE_UP = "gave_up"
    POISON = "poison"
    UNKNOWN_ACTION = "unknown_action"
    BAD_PARAMS = "bad_params"
    CLASS_MISMATCH = "class_mismatch"


WORDS: dict[Reason, str] = {
    Reason.KILL_SWITCH: "the kill switch is pulled; nothing is switched until somebody resets it",
    Reason.DRY_RUN: "the bridge runs with dry_run; it decides and records, and does nothing",
    Reason.NOT_LIVE: "its cause was not seen live; history never moves anything",
    Reason.TOO_OLD: "its cause is too old for this to be done now",
    Reason.EXPIRED: "the time in which it was to be started is over",
    Reason.FUTURE_TIME: "its cause says it happens in the future; the clock of the source cannot be trusted",
    Reason.CLOCK_STEPPED: "our clock went back; until it has caught up, or somebody accepts it, no age can be told",
    Reason.NO_TIME: "it says no time that makes sense, or may have been sent before, so its age cannot be told",
    Reason.CLOCK_UNKNOWN: "its source has not told how far its clock is off, so its age cannot be told",
    Reason.CLOCK_OFF: "the clock of its source is too far from ours, so its age cannot be told",
    Reason.STARTING: "the bridge has just started; nothing leaves idle yet",
    Reason.BREAKER: "the breaker has tripped; nothing is switched until somebody resets it",
    Reason.UNCONFIRMED: "its settings were changed, and nobody has agreed to that yet",
    Reason.UNKNOWN_DOOR: "no such door is configured",
    Reason.HOLD: "the door is held by hand",
    Reason.NO_SCORE: "the reader did not say how sure it is of the plate",
    Reason.LOW_SCORE: "the plate was read with less confidence than the door asks for",
    Reason.FEW_READS: "the plate must be read once more before the door opens",
    Reason.SAME_EVENT: "the same event has opened this output already",
    Reason.SAME_PLATE: "the same plate opened it a moment ago",
    Reason.CLOSED: "it is shut at this time",
    Reason.INTERLOCK: "another thing must change first",
    Reason.STATE_UNKNOWN: "it depends on a state that is not known",
    Reason.COOLDOWN: "the door was opened a moment ago",
    Reason.PER_MINUTE: "the door has had its openings for this minute",
    Reason.PER_HOUR: "the door has had its openings for this hour",
    Reason.OBSERVE: "would have opened; the door is in mode observe",
    Reason.NEEDS_CONFIRMATION: "people must agree to it first",
    Reason.NOT_PENDING: "no such opening waits for anybody",
    Reason.NOT_CONFIRMED: "it was sent, and the input that should show it does not",
    Reason.NOBODY_AGREED: "it waited for people, and not enough agreed in time",
    Reason.DENIED: "it waited for people, and one said no",
    Reason.RESTARTED: "it waited for people when the bridge was stopped; nothing opens late",
    Reason.TOO_MANY_WAIT: "it waited for people, and a later one needed its place",
    Reason.UNKNOWN_OUTPUT: "no such output is declared",
    Reason.DOOR_OUTPUT: "the output belongs to a door, and only the door opens it",
    Reason.NO_JOURNAL: "its return to idle cannot be written down, so it is not switched",
    Reason.UNKNOWN_SOURCE: "nothing is known of the clock of such a source",
    Reason.CAMERA_LOCKED: "a person has the camera",
    Reason.CAMERA_BUSY: "something more important has the camera",
    Reason.SUPERSEDED: "a later order took the output back to idle",
    Reason.INTERRUPTED: "the bridge was stopped in the middle; it may or may not have been done",
    Reason.NO_ANSWER: "it was sent and no answer came; it may or may not have been done",
    Reason.GAVE_UP: "it was tried until its time was used up",
    Reason.POISON: "the action itself fails on it",
    Reason.UNKNOWN_ACTION: "this version of the bridge has no such action",
    Reason.BAD_PARAMS: "this version of the bridge does not understand its parameters",
    Reason.CLASS_MISMATCH: "it was made for another class of action than it is",
}
"""Every reason in words. A test holds that none is missing."""


def refusal(reason: Reason, detail: str = "") -> ActionRejectedError:
    """Return the error for a refusal of our own: the reason's sentence, and what was seen."""
    return ActionRejectedError(f"{WORDS[reason]}: {detail}" if detail else WORDS[reason], reason=reason.value)
