"""Actions that are an event in the bridge's own log: once, traceable, and no truer than what caused them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.actions.own import SPECS
from bridge.contracts import Emit, Known
from bridge.errors import StoreUnavailableError
from bridge.schema.event import Origin, VmsEvent
from tests.bridge.actions.support import make_order, plate_event, running
from tests.clock import START, VirtualClock

OWN = {spec.name: spec for spec in SPECS}


class Log:
    """A log that has stored an event before it could say so, as often as it is told to."""

    def __init__(self, silent: int = 0) -> None:
        self.events: list[VmsEvent] = []
        self.silent = silent

    async def __call__(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        self.events += events
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.silent:
            self.silent -= 1
            stored.set_exception(StoreUnavailableError("no answer", timedelta(seconds=1)))
        else:
            stored.set_result(None)
        return stored


async def _events(tmp_path: Path, action: str, params: dict[str, Any], log: Log | None = None, **more: Any) -> Any:
    log = log or Log()
    clock = VirtualClock()
    async with running(tmp_path, clock, actions=OWN) as site:
        site.services.put(log, Emit)
        order = make_order(clock, action, params, **more)
        site.queue.put(order)
        await site.advance(5)
        [result] = await site.ended(order)
    return result, log.events


@pytest.mark.parametrize(
    ("action", "params", "kind", "data"),
    [
        ("emit", {"kind": "custom.x", "data": {"n": 2}}, "custom.x", {"n": 2}),
        ("set_mode", {"mode": "night"}, "mode.changed", {"mode": "night"}),
        (
            "set_state",
            {"entity": "garage", "attribute": "guest", "value": [1]},
            "state.changed",
            {"entity": "rules/garage", "attribute": "guest", "value": [1]},
        ),
        (
            "add_to_list",
            {"list": "visitors", "value": "A", "for": "2h", "tags": ["guest"]},
            "list.changed",
            {
                "list": "visitors",
                "added": ["A"],
                "removed": [],
                "reset": [],
                "valid_until": (START + timedelta(hours=2)).isoformat().replace("+00:00", "Z"),
                "tags": ["guest"],
            },
        ),
        (
            "remove_from_list",
            {"list": "visitors", "value": "A", "until": "2026-12-24T18:00:00+01:00"},
            "list.changed",
            {
                "list": "visitors",
                "added": [],
                "removed": ["A"],
                "reset": [],
                "valid_until": "2026-12-24T17:00:00Z",
                "tags": [],
            },
        ),
    ],
)
async def test_it_is_an_event_that_says_who_caused_it(
    tmp_path: Path, action: str, params: dict[str, Any], kind: str, data: Any
) -> None:
    """Its time is that of the decision, so that however late it is carried out it says the same."""
    result, [event] = await _events(tmp_path, action, params, hops=3)
    assert (result.outcome, result.output) == ("done", {"event": event.id})
    assert (event.type, event.data.model_dump(mode="json", exclude_none=True)) == (kind, data)
    assert (event.origin, event.via, event.principal, event.hops) == (Origin.BRIDGE, "rule", "rule a-rule", 3)
    assert event.time == START


async def test_repeated_it_is_the_same_event(tmp_path: Path) -> None:
    """What was stored without anybody hearing of it is stored again under the same id, which the log has once."""
    result, events = await _events(tmp_path, "set_mode", {"mode": "night"}, Log(silent=2))
    assert (result.outcome, result.attempts) == ("done", 3)
    assert len(events) == 3
    assert events[0] == events[1] == events[2]


@pytest.mark.parametrize("origin", [Origin.REPLAY, Origin.TEST, Origin.BACKFILL])
async def test_what_follows_from_what_is_not_true_is_marked_so(tmp_path: Path, origin: Origin) -> None:
    """A replayed event does not arm the house again."""
    clock = VirtualClock()
    trigger = plate_event(clock, 1, origin=origin)
    _, [event] = await _events(tmp_path, "set_mode", {"mode": "away"}, event=trigger)
    assert (event.origin, event.timequality) == (origin, "device")


async def test_what_follows_from_what_may_have_been_sent_again_is_as_doubtful(tmp_path: Path) -> None:
    """Or a rule would let a door believe what it does not believe of the push itself."""
    trigger = plate_event(VirtualClock(), 1, timequality="doubtful")
    params = {"entity": "lock", "attribute": "empty", "value": True}
    _, [event] = await _events(tmp_path, "set_state", params, event=trigger)
    assert event.timequality == "doubtful"


@pytest.mark.parametrize(
    ("action", "params", "problem"),
    [
        ("emit", {"kind": "plate.read"}, "events of their own kinds: custom.<name>"),
        ("emit", {"kind": "rule.loop"}, "events of their own kinds"),
        ("set_state", {"entity": "a", "attribute": "b", "value": 1}, "a source is called 'rules'"),
        ("add_to_list", {"list": "visitor", "value": "A"}, "did you mean 'visitors'"),
        ("remove_from_list", {"list": "visitor", "value": "A"}, "did you mean 'visitors'"),
    ],
)
def test_what_cannot_be_is_seen_at_load(action: str, params: dict[str, Any], problem: str) -> None:
    """No rule makes up what a source would say."""
    known = Known(sources=frozenset({"nvr", "rules"}), lists=frozenset({"visitors"}))
    spec = OWN[action]
    assert [one for one in spec.check(spec.params.model_validate(params), known) if problem in one]


@pytest.mark.parametrize(
    "params",
    [
        {"for": "1h", "until": "2026-12-24T18:00:00Z"},
        {"for": "0s"},
        {"until": "2026-12-24T18:00:00"},
        {"value": ""},
    ],
)
def test_a_change_of_a_list_ends_once(params: dict[str, Any]) -> None:
    """At a time that everybody understands alike."""
    with pytest.raises(ValueError, match=r"for|until|value"):
        OWN["add_to_list"].params.model_validate({"list": "l", "value": "A", **params})


async def test_what_is_no_event_is_refused(tmp_path: Path) -> None:
    """Data of a fixed kind that does not fit it cannot be told again and again."""
    result, events = await _events(tmp_path, "emit", {"kind": "mode.changed", "data": {}})
    assert (result.outcome, result.reason, events) == ("refused", "bad_params", [])
