"""The promise, as pure functions over what was seen from outside.

Each check returns what is wrong in words; nothing wrong is an empty list. What the injector pushed,
what the device wrote down, what is stored and when a bridge was alive is all they know: of the
product they import nothing. Plate P<n> belongs to relay r<n> alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_AGE = 30.0
"""Seconds after which a cause must not open; what the doors of the site are configured to."""
GATE_AGE = 60.0
"""Seconds after which an order to open is not even claimed, so that a crash cannot make its end unknown."""
CLOCKS = 1.0
"""Seconds between the bridge's last look at the clock and the device's ledger line."""
OFF_WITHIN = 8.0
"""Seconds one bridge may be alive without switching off what is on: the start of a process and one pulse."""


@dataclass
class Push:
    """One push, and whether it was answered with 200. `when` is the time it claims, `age` how old that was."""

    plate: str
    when: float
    age: float
    acked: bool = False


@dataclass
class Seen:
    """Everything that was seen from outside."""

    pushes: Sequence[Push]
    device: Sequence[dict[str, Any]]
    events: Sequence[dict[str, Any]]
    results: Sequence[dict[str, Any]]
    lives: Sequence[tuple[float, float]]
    actions: Sequence[str]
    _plates: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self._plates = {event["id"]: event["data"]["plate"] for event in self.reads}

    @property
    def reads(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == "plate.read"]

    def relay(self, plate: str, action: str) -> list[float]:
        """Return when the plate's relay was switched so."""
        token = plate.replace("P", "r")
        return [e["at"] for e in self.device if e["what"] == "relay" and e["token"] == token and e["action"] == action]

    def hooks(self, plate: str) -> list[str]:
        """Return the webhook-id of every delivery for the plate."""
        return [e["id"] for e in self.device if e["what"] == "hook" and e["plate"] == plate]

    def outcomes(self, plate: str, action: str) -> list[str]:
        """Return how the orders of this type ended that the plate caused."""
        return [
            result["outcome"]
            for result in self.results
            if result["action"] == action and self._plates.get(result["causes"][-1]) == plate
        ]


def faults(seen: Seen) -> list[str]:
    """Return everything that is wrong."""
    return [fault for check in CHECKS for fault in check(seen)]


def events_kept(seen: Seen) -> Iterator[str]:
    """Every acknowledged event is stored, each once, and nothing that was not pushed."""
    stored = Counter(event["data"]["plate"] for event in seen.reads)
    pushed = {push.plate for push in seen.pushes}
    for push in seen.pushes:
        if push.acked and not stored[push.plate]:
            yield f"{push.plate} was acknowledged and is lost"
    for plate, times in stored.items():
        if times > 1:
            yield f"{plate} is stored {times} times"
        if plate not in pushed:
            yield f"{plate} is stored and was never pushed"
    for event, times in Counter(event["id"] for event in seen.events).items():
        if times > 1:
            yield f"event {event} is stored {times} times"


def orders_ended_once(seen: Seen) -> Iterator[str]:
    """Each order has exactly one result, and the engine is told of it exactly once."""
    for order, times in Counter(result["order"] for result in seen.results).items():
        if times > 1:
            yield f"order {order} has {times} results"
    for read in seen.reads:
        plate = read["data"]["plate"]
        for action in seen.actions:
            ends = seen.outcomes(plate, action)
            if len(ends) != 1:
                yield f"{plate} has {len(ends)} results of {action}: {ends}"
    told = Counter(event["data"]["order"] for event in seen.events if event["type"] == "action.ended")
    if told != Counter({result["order"] for result in seen.results}):
        yield "the action.ended events are not one for each result"


def opened_at_most_once(seen: Seen) -> Iterator[str]:
    """No relay is switched on twice, and what the result says agrees with the device."""
    for relay in {e["token"] for e in seen.device if e["what"] == "relay"}:
        plate = str(relay).replace("r", "P")
        ons, ends = len(seen.relay(plate, "on")), seen.outcomes(plate, "open")
        if ons > 1:
            yield f"{relay} was switched on {ons} times"
        if ons and set(ends) & {"expired", "refused"}:
            yield f"{relay} was switched on, and the order is said to have ended {ends}"
    for read in seen.reads:
        plate = read["data"]["plate"]
        if "done" in seen.outcomes(plate, "open") and not seen.relay(plate, "on"):
            yield f"{plate} is said to be let in, and its relay was never switched on"


def old_never_opens(seen: Seen) -> Iterator[str]:
    """What is too old when it comes is not acted on, and what became too old in a crash neither."""
    for push in seen.pushes:
        ends = seen.outcomes(push.plate, "open")
        for at in seen.relay(push.plate, "on"):
            if at - push.when > MAX_AGE + CLOCKS:
                yield f"{push.plate} was let in {at - push.when:.1f} s after its time"
        allowed = {"expired"} if push.age > GATE_AGE else {"expired", "unknown"}
        if push.age > MAX_AGE and not set(ends) <= allowed:
            yield f"{push.plate} was {push.age:.0f} s old and ended {ends}"


def switched_off(seen: Seen) -> Iterator[str]:
    """Every `on` is followed by an `off`."""
    for push in seen.pushes:
        offs = seen.relay(push.plate, "off")
        for on in seen.relay(push.plate, "on"):
            if not any(at > on for at in offs):
                yield f"the relay of {push.plate} stays on"


def off_late(seen: Seen) -> Iterator[str]:
    """Every `off` comes soon, as far as a bridge was alive to send it; a busy machine may need longer."""
    for push in seen.pushes:
        offs = seen.relay(push.plate, "off")
        for on in seen.relay(push.plate, "on"):
            off = min((at for at in offs if at > on), default=on)
            if (alive := longest_alive(seen.lives, on, off)) > OFF_WITHIN:
                yield f"the relay of {push.plate} was left on for {alive:.1f} s by a bridge that was alive"


def longest_alive(lives: Sequence[tuple[float, float]], begin: float, end: float) -> float:
    """Return the longest time that one bridge was alive between two moments."""
    return max((min(died, end) - max(born, begin) for born, died in lives), default=0.0)


def receivers_told(seen: Seen) -> Iterator[str]:
    """At least one delivery for every stored event; a repeat carries the same id, another event another one."""
    if "webhook" not in seen.actions:
        return
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for read in seen.reads:
        plate = read["data"]["plate"]
        ids = seen.hooks(plate)
        if not ids:
            yield f"nobody was told of {plate}"
        if len(set(ids)) > 1:
            yield f"{plate} was told under {len(set(ids))} ids"
        if set(seen.outcomes(plate, "webhook")) - {"done"}:
            yield f"telling of {plate} ended {seen.outcomes(plate, 'webhook')}"
        for name in ids:
            owners[name].add(plate)
    for name, plates in owners.items():
        if len(plates) > 1:
            yield f"{sorted(plates)} were told under one id, {name}"


def failures_told(seen: Seen) -> Iterator[str]:
    """Each clip that is not there is told as one event, and no other."""
    told = Counter(event["data"]["order"] for event in seen.events if event["type"] == "clip.failed")
    missing = Counter(r["order"] for r in seen.results if r["action"] == "clip" and r["outcome"] != "done")
    if told != missing:
        yield f"clips are missing for {sorted(missing.elements())}, and told is of {sorted(told.elements())}"


CHECKS = (
    events_kept,
    orders_ended_once,
    opened_at_most_once,
    old_never_opens,
    switched_off,
    receivers_told,
    failures_told,
)
