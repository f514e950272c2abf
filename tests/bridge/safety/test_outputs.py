"""Outputs: what is declared is all there is, how long it may stay active, and who is told of which order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.config.models import OutputConfig
from bridge.errors import ActionRejectedError, ActionUnavailableError
from bridge.safety.releases import Target
from bridge.schema.orders import Order
from tests.bridge.actions.support import Device, Site, make_order, running
from tests.clock import VirtualClock

S = timedelta(seconds=1)
PLACE = {"source": "nvr", "channel": "4", "cooldown": "0s"}
OUTPUTS = {
    "gate": OutputConfig(**PLACE, relay="r1", idle="off", max_on="20s"),
    "barrier": OutputConfig(**PLACE, relay="r5", idle="off"),
    "lock": OutputConfig(**PLACE, relay="r2", idle="on"),
    "lamp": OutputConfig(**PLACE, relay="r3", idle="off", **{"class": "transient"}),
}


class Noting(Device):
    """A device that notes the channel as well."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.heard: list[tuple[str, str, bool]] = []

    async def switch_relay(self, channel: str, relay: str, on: bool) -> None:
        self.heard.append((channel, relay, on))
        await super().switch_relay(channel, relay, on)


@asynccontextmanager
async def _site(folder: Path, **more: Any) -> AsyncIterator[tuple[Site, Noting]]:
    clock = VirtualClock()
    device = Noting(clock)
    async with running(folder, clock, outputs=OUTPUTS, device=device, **more) as site:
        yield site, device


def _order(site: Site, number: int = 1) -> Order:
    return make_order(site.clock, "relay", {"output": "gate"}, number)


def _allowed() -> None:
    """Permit it."""


def _forbidden() -> None:
    raise ActionRejectedError("the gate has changed its mind")


async def test_only_what_is_declared_can_be_switched(tmp_path: Path) -> None:
    """Another name is refused, with the one that was meant."""
    async with _site(tmp_path) as (site, device):
        with pytest.raises(ActionRejectedError, match=r"unknown output 'gaet'; did you mean 'gate'\?$") as caught:
            await site.outputs.switch_on("gaet", _order(site), S, _allowed)
        assert (caught.value.reason, device.heard) == ("unknown_output", [])


@pytest.mark.parametrize(
    ("name", "asked", "held"),
    [("gate", None, 20), ("gate", 21, 20), ("gate", 3, 3), ("lamp", None, None), ("lamp", 3, 3)],
)
def test_how_long_it_may_stay_active(tmp_path: Path, name: str, asked: float | None, held: float | None) -> None:
    """Never longer than declared; for good only what can hurt nobody."""
    site = Site(tmp_path, VirtualClock(), outputs=OUTPUTS)
    assert site.outputs.hold(name, None if asked is None else asked * S) == (None if held is None else held * S)


@pytest.mark.parametrize(
    ("name", "relay", "active"), [("gate", "r1", True), ("lock", "r2", False), ("lamp", "r3", True)]
)
async def test_active_is_away_from_idle_whichever_way_it_is_wired(
    tmp_path: Path, name: str, relay: str, active: bool
) -> None:
    """At the declared relay of the declared channel; its return is owed for the declared position."""
    async with _site(tmp_path) as (site, device):
        await site.outputs.switch_on(name, _order(site), 5 * S, _allowed)
        assert device.heard == [("4", relay, active)]
        assert site.journal.owed() == {Target("relay", "nvr", "4", relay, not active): 1}
        await site.outputs.idle(name, site.clock.now())
        assert device.heard == [("4", relay, active), ("4", relay, not active)]
        assert not site.journal.owed()


async def test_a_lamp_without_a_time_stays_on_and_owes_nothing(tmp_path: Path) -> None:
    """But the gate is asked for it, too."""
    async with _site(tmp_path) as (site, device):
        with pytest.raises(ActionRejectedError, match="changed its mind"):
            await site.outputs.switch_on("lamp", _order(site), None, _forbidden)
        assert device.heard == []
        await site.outputs.switch_on("lamp", _order(site), None, _allowed)
        assert (device.heard, site.journal.owed()) == ([("4", "r3", True)], {})


async def test_a_lamp_is_no_opening(tmp_path: Path) -> None:
    """Nobody is counted who switches it: not by the breaker, not by limits."""
    async with _site(tmp_path, safety={"breaker": {"per_minute": 1, "storm": 1}}) as (site, device):
        for number in range(3):
            await site.outputs.switch_on("lamp", _order(site, number), S, _allowed)
        assert len(device.heard) == 3
        assert site.safety.openings.others("lamp", _order(site, 9)) == []


async def test_limits_look_at_this_output_and_at_the_state_of_things(tmp_path: Path) -> None:
    """Its own openings by other orders, and what the book knows."""
    shut = [{"entity": "nvr/2", "attribute": "motion", "is": "off"}]
    outputs = {"gate": OutputConfig(**PLACE, relay="r1", idle="off", requires=shut, per_minute=1)}
    async with running(tmp_path, VirtualClock(), outputs=outputs, doors={}) as site:
        await site.safety.openings.add("another", _order(site, 7))
        with pytest.raises(ActionRejectedError, match="motion of nvr/2"):
            await site.outputs.switch_on("gate", _order(site, 1), S, _allowed)
        site.known["nvr/2", "motion"] = "off"
        await site.outputs.switch_on("gate", _order(site, 2), S, _allowed)
        with pytest.raises(ActionRejectedError, match=r"at most 1$"):
            await site.outputs.switch_on("gate", _order(site, 3), S, _allowed)


async def test_interlocks_of_an_output_are_asked_for_right_before_sending(tmp_path: Path) -> None:
    """What must be so is not any more when the debt stands in the journal."""
    shut = [{"entity": "nvr/2", "attribute": "motion", "is": "off"}]
    outputs = {"gate": OutputConfig(**PLACE, relay="r1", idle="off", requires=shut)}
    async with running(tmp_path, VirtualClock(), outputs=outputs, doors={}) as site:
        site.known["nvr/2", "motion"] = "off"
        append = site.journal._file.append

        def append_and_move(record: Any) -> None:
            append(record)
            site.known["nvr/2", "motion"] = "on"

        site.journal._file.append = append_and_move  # type: ignore[method-assign]
        with pytest.raises(ActionRejectedError, match="motion of nvr/2 is on"):
            await site.outputs.switch_on("gate", _order(site), S, _allowed)
        assert (site.journal.owed(), site.device.switched) == ({}, [])


@pytest.mark.parametrize("name", ["gate", "lamp"])
async def test_the_debt_names_its_order(tmp_path: Path, name: str) -> None:
    """Whoever reads the journal finds who took the output away from idle, and for how long."""
    async with _site(tmp_path) as (site, _):
        order = _order(site)
        await site.outputs.switch_on(name, order, 5 * S, _allowed)
        [armed] = site.journal._file.load()
        assert (armed["order"], armed["id"].split("/")[0]) == (order.id, order.id)
        assert armed["due"] == (site.clock.now() + 5 * S).isoformat()


async def test_the_output_of_a_door_is_opened_by_its_door_alone(tmp_path: Path) -> None:
    """A rule that names it is told which door to open instead."""
    async with _site(tmp_path) as (site, device):
        with pytest.raises(ActionRejectedError, match=r"open 'main' instead$") as caught:
            await site.outputs.switch_on("barrier", _order(site), S, _allowed)
        assert (caught.value.reason, device.heard) == ("door_output", [])


async def test_the_breaker_counts_each_order_by_its_name(tmp_path: Path) -> None:
    """What asks, and what opens: three orders are three, and one that tries again is one."""
    async with _site(tmp_path, safety={"breaker": {"per_minute": 2, "storm": 3}}) as (site, device):
        for number in (1, 1, 2):
            await site.outputs.switch_on("gate", _order(site, number), S, _allowed)
        with pytest.raises(ActionRejectedError, match="more than 2 openings a minute"):
            await site.outputs.switch_on("gate", _order(site, 3), S, _allowed)
        assert len(device.heard) == 3


async def test_a_storm_of_orders_trips_the_breaker_though_nothing_opens(tmp_path: Path) -> None:
    """Each is counted before a guard refuses it."""
    closed = {"zone": "UTC", "windows": [{"from": "18:00", "to": "20:00"}]}
    outputs = {"gate": OutputConfig(**PLACE, relay="r1", idle="off", hours=closed)}
    clock = VirtualClock()
    limits = {"breaker": {"per_minute": 2, "storm": 2}}
    async with running(tmp_path, clock, outputs=outputs, doors={}, safety=limits) as site:
        for number, reason in ((1, "closed"), (1, "closed"), (2, "closed"), (3, "breaker")):
            with pytest.raises(ActionRejectedError) as caught:
                await site.outputs.switch_on("gate", _order(site, number), S, _allowed)
            assert caught.value.reason == reason


@pytest.mark.parametrize("answer", [ActionUnavailableError("busy"), ActionRejectedError("no")])
async def test_an_opening_that_did_not_happen_takes_no_place(tmp_path: Path, answer: Exception) -> None:
    """What the device surely did not do counts against nobody; what it did counts for this output."""
    async with _site(tmp_path) as (site, device):
        device.answers.append(answer)
        with pytest.raises(type(answer)):
            await site.outputs.switch_on("gate", _order(site, 1), S, _allowed)
        assert site.safety.openings.others("gate", _order(site, 9)) == []
        await site.outputs.switch_on("gate", _order(site, 1), S, _allowed)
        [(_, opening)] = site.safety.openings.others("gate", _order(site, 9))
        assert (opening.output, opening.order) == ("gate", _order(site, 1).id)


async def test_the_newest_return_to_idle_ends_what_was_ordered_before_it(tmp_path: Path) -> None:
    """Also if an older one comes after it, and at the moment at which it was ordered."""
    async with _site(tmp_path) as (site, _):
        before = _order(site)
        await site.clock.advance(1)
        for given in (site.clock.now(), site.clock.now() - 10 * S):
            await site.outputs.idle("gate", given)
        with pytest.raises(ActionRejectedError) as refused:
            site.outputs.demand("gate", before)
        assert refused.value.reason == "superseded"
        site.outputs.demand("gate", _order(site, 2))
        site.outputs.demand("barrier", before)
