"""One scenario for each guard: a site in which that guard, and nothing else, stands between an order and a device."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from bridge.config.models import DoorConfig, OutputConfig
from bridge.safety.settings import waiting
from bridge.schema.event import Origin
from bridge.schema.kinds import PlateRead
from bridge.schema.orders import Order
from tests.bridge.actions.support import Site, make_order, plate_event

S = timedelta(seconds=1)
DOOR = {"doors/main/output": "barrier"}
ALL = {"cooldown": "0s", "per_minute": 100, "per_hour": 1000}
"""Limits that let everything through; a scenario tightens one."""
CLOSED = {"zone": "UTC", "windows": [{"from": "18:00", "to": "20:00"}]}
BOOTH = {"safety": {"hold_off": "0s", "trusted_clocks": ["booth"]}}
SHUT = [{"entity": "nvr/2", "attribute": "motion", "is": "off"}]


@dataclass(frozen=True)
class Scenario:
    """`act` prepares the site and returns the order that must be refused with `reason`."""

    guard: str
    reason: str
    act: Callable[[Site], Awaitable[Order]]
    door: Mapping[str, Any] = field(default_factory=dict)
    output: Mapping[str, Any] = field(default_factory=dict)
    site: Mapping[str, Any] = field(default_factory=dict)

    @property
    def doors(self) -> dict[str, DoorConfig]:
        fields = {"output": "barrier", "mode": "act", "same_plate": "0s"} | ALL | dict(self.door)
        return {"main": DoorConfig(**fields)}

    @property
    def outputs(self) -> dict[str, OutputConfig]:
        place = {"source": "nvr", "channel": "1", "idle": "off"}
        gate = place | {"relay": "r1"} | ALL | dict(self.output)
        return {"gate": OutputConfig(**gate), "barrier": OutputConfig(**place, relay="r5")}


def _order(site: Site, action: str, number: int, **more: Any) -> Order:
    params = {"open": {"door": "main"}, "relay": {"output": "gate"}, "ptz": {"preset": "north", "channel": "1"}}
    event = more.pop("event", None) or plate_event(site.clock, number, **more.pop("told", {}))
    return make_order(site.clock, action, params[action], number, event, **more)


def _told(action: str = "relay", **told: Any) -> Callable[[Site], Awaitable[Order]]:
    """An order whose cause is told so; callables are asked for the moment."""

    async def act(site: Site) -> Order:
        return _order(site, action, 1, told={k: v(site) if callable(v) else v for k, v in told.items()})

    return act


def _second(action: str = "open", after: float = 1) -> Callable[[Site], Awaitable[Order]]:
    """The second of two orders by different cars."""

    async def act(site: Site) -> Order:
        await _first(site, action, 1)
        await site.advance(after)
        return _order(site, action, 2)

    return act


def _same(action: str, told: str) -> Callable[[Site], Awaitable[Order]]:
    """The second of two orders by one event, or by two readings of one plate."""

    async def act(site: Site) -> Order:
        first = await _first(site, action, 1)
        await site.advance(2)
        if told == "event":
            return _order(site, action, 2, event=first.trigger)
        return _order(site, action, 2, told={"data": first.trigger.data})

    return act


async def _first(site: Site, action: str, number: int) -> Order:
    order = _order(site, action, number)
    assert (await site.do(order)).outcome == "done"
    return order


async def _expired(site: Site) -> Order:
    return _order(site, "relay", 1, expires=site.clock.now() - S)


async def _killed(site: Site) -> Order:
    await site.kill.pull("anna", "smoke")
    return _order(site, "relay", 1)


def _changed(path: str, action: str) -> Callable[[Site], Awaitable[Order]]:
    """A setting that is otherwise than the one agreed to last."""

    async def act(site: Site) -> Order:
        order = _order(site, action, 1)
        site.safety.settings.waits = waiting({path: "other", "doors/main/output": "barrier"}, DOOR)
        return order

    return act


async def _tripped(site: Site) -> Order:
    await site.safety.breaker.pull("bridge", "a storm")
    site.safety.breaker.asked = site.safety.breaker.opens = _nothing  # type: ignore[method-assign]
    return _order(site, "relay", 1)


async def _nothing(_: str) -> None:
    """Count nothing: only the gate stands in the way."""


async def _stepped(site: Site) -> Order:
    order = _order(site, "relay", 1)
    site.clock.jump(-3600 * S)
    return order


async def _accepted(site: Site) -> Order:
    """Heard before our clock was accepted: it may be from the first pass."""
    order = await _stepped(site)
    site.safety.own_clock.heard(order.trigger)
    await site.safety.own_clock.accept()
    site.clock.jump(timedelta(seconds=3599))
    return order


async def _heard_before(site: Site) -> Order:
    """Its source says that it happens now, but it was received a while ago."""
    received = site.clock.now()
    await site.advance(11)
    return _order(site, "relay", 1, told={"received": received})


async def _clock_off(site: Site) -> Order:
    site.safety.clocks.learn("nvr", 6 * S)
    return _order(site, "relay", 1)


def _among(**told: Any) -> Callable[[Site], Awaitable[Order]]:
    """An order that an honest event decides, and that another has caused as well."""

    async def act(site: Site) -> Order:
        other = plate_event(site.clock, 1, **told)
        site.safety.causes.heard(other)
        order = _order(site, "relay", 2)
        return order.model_copy(update={"causes": (other.id, *order.causes)})

    return act


async def _held(site: Site) -> Order:
    await site.doors.holds["main"].pull("anna", "the crane is in the way")
    return _order(site, "open", 1)


def _motion(value: str | None, action: str = "open") -> Callable[[Site], Awaitable[Order]]:
    async def act(site: Site) -> Order:
        if value is not None:
            site.known["nvr/2", "motion"] = value
        return _order(site, action, 1)

    return act


def _read_twice(**told: Any) -> Callable[[Site], Awaitable[Order]]:
    """The second reading of a plate, the first told so; it comes 4 s before."""

    async def act(site: Site) -> Order:
        after = told.get("after", 4)
        first = {"data": _read(told.get("score", 95)), "subject": told.get("lane", "1")} | told.get("more", {})
        site.safety.readings.heard(plate_event(site.clock, 1, **first))
        await site.advance(after)
        second = plate_event(site.clock, 2, data=_read(95), subject="1")
        site.safety.readings.heard(second)
        site.safety.readings.heard(second)
        return _order(site, "open", 2, event=second)

    return act


def _loop(value: str | None) -> Callable[[Site], Awaitable[Order]]:
    """One reading, and what the second factor shows."""

    async def act(site: Site) -> Order:
        if value is not None:
            site.known["nvr/2", "motion"] = value
        return _order(site, "open", 1, told={"data": _read(95)})

    return act


def _read(score: float | None) -> PlateRead:
    return PlateRead(plate="12AB345", plate_raw="12 AB 345", score=score)


GATE: tuple[Scenario, ...] = (
    Scenario("_dry_run", "dry_run", _told(), site={"dry_run": True}),
    Scenario("_made_up", "not_live", _told("ptz", origin=Origin.TEST)),
    Scenario("_made_up", "not_live", _told("ptz", origin=Origin.REPLAY)),
    *(
        Scenario("_not_live", "not_live", _told(origin=origin))
        for origin in (Origin.BACKFILL, Origin.RESYNC, Origin.TIMER, Origin.BRIDGE)
    ),
    Scenario("_clock", "future_time", _told(time=lambda site: site.clock.now() + 3 * S)),
    Scenario("_clock", "clock_stepped", _stepped),
    Scenario("_clock", "clock_stepped", _accepted),
    Scenario("_expired", "expired", _expired),
    Scenario("_too_old", "too_old", _told(time=lambda site: site.clock.now() - 11 * S)),
    Scenario("_too_old", "too_old", _heard_before),
    Scenario("_no_time", "no_time", _told(timequality="received")),
    Scenario("_no_time", "no_time", _told(timequality="doubtful")),
    Scenario("_no_time", "no_time", _told(via="push", principal="booth", timequality="doubtful"), site=BOOTH),
    Scenario("_clock_trust", "clock_unknown", _told(source="site/stranger")),
    Scenario("_clock_trust", "clock_unknown", _told(via="push", principal="booth")),
    Scenario("_clock_trust", "clock_off", _clock_off),
    Scenario("_causes", "no_time", _among(timequality="doubtful")),
    Scenario("_causes", "no_time", _among(timequality="received")),
    Scenario("_causes", "clock_unknown", _among(source="site/stranger")),
    Scenario("_starting", "starting", _told(), site={"safety": {"hold_off": "15s"}}),
    Scenario("_unconfirmed", "unconfirmed", _changed("safety/hold_off", "relay")),
    Scenario("_tripped", "breaker", _tripped),
    Scenario("_killed", "kill_switch", _killed),
)
DOORS: tuple[Scenario, ...] = (
    Scenario("hold", "hold", _told("open"), door={"hold": True}),
    Scenario("hold", "hold", _held),
    Scenario("unconfirmed", "unconfirmed", _changed("doors/main/mode", "open")),
    Scenario("unconfirmed", "unconfirmed", _changed("outputs/barrier/idle", "open")),
    Scenario("age", "too_old", _told("open", time=lambda site: site.clock.now() - 4 * S), door={"max_age": "3s"}),
    Scenario("score", "low_score", _told("open", data=_read(89))),
    Scenario("score", "no_score", _told("open", data=_read(None))),
    Scenario("reads", "few_reads", _told("open", data=_read(95)), door={"reads": 2}),
    Scenario("reads", "few_reads", _read_twice(after=11), door={"reads": 2}),
    Scenario("reads", "few_reads", _read_twice(score=80), door={"reads": 2}),
    Scenario("reads", "few_reads", _read_twice(lane="2"), door={"reads": 2}),
    Scenario("reads", "few_reads", _read_twice(more={"origin": Origin.BACKFILL}), door={"reads": 2}),
    Scenario("reads", "few_reads", _read_twice(), door={"reads": 3}),
    Scenario("reads", "few_reads", _loop(None), door={"reads": 2, "second_factor": SHUT[0]}),
    Scenario("reads", "few_reads", _loop("on"), door={"reads": 2, "second_factor": SHUT[0]}),
    Scenario("same_event", "same_event", _same("open", "event")),
    Scenario("same_plate", "same_plate", _same("open", "plate"), door={"same_plate": "10s"}),
    Scenario("hours", "closed", _told("open"), door={"hours": CLOSED}),
    Scenario("requires", "interlock", _motion("on"), door={"requires": SHUT}),
    Scenario("requires", "state_unknown", _motion(None), door={"requires": SHUT}),
    Scenario("blocks", "interlock", _motion("off"), door={"blocks": SHUT}),
    Scenario("blocks", "state_unknown", _motion(None), door={"blocks": SHUT}),
    Scenario("cooldown", "cooldown", _second(), door={"cooldown": "5s"}),
    Scenario("per_minute", "per_minute", _second(after=59), door={"per_minute": 1}),
    Scenario("per_hour", "per_hour", _second(after=61), door={"per_hour": 1}),
)
ENOUGH: tuple[Scenario, ...] = (
    Scenario("reads", "done", _read_twice(), door={"reads": 2}),
    Scenario("reads", "done", _loop("off"), door={"reads": 2, "second_factor": SHUT[0]}),
    Scenario("reads", "done", _read_twice(after=59), door={"reads": 2, "reads_within": "1h"}),
)
"""Doors that open, because the plate was read often enough or something else says so."""
OUTPUTS: tuple[Scenario, ...] = (
    Scenario("same_event", "same_event", _same("relay", "event")),
    Scenario("hours", "closed", _told("relay"), output={"hours": CLOSED}),
    Scenario("requires", "state_unknown", _motion(None, "relay"), output={"requires": SHUT}),
    Scenario("blocks", "interlock", _motion("off", "relay"), output={"blocks": SHUT}),
    Scenario("cooldown", "cooldown", _second("relay"), output={"cooldown": "5s"}),
    Scenario("per_minute", "per_minute", _second("relay", 59), output={"per_minute": 1}),
    Scenario("per_hour", "per_hour", _second("relay", 61), output={"per_hour": 1}),
)
