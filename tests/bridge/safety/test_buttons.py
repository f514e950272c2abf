"""Buttons and messages pull the kill switch, and never reset it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.config.safety import InputMatch
from bridge.safety.buttons import Buttons
from bridge.safety.desk import Desk
from bridge.schema.event import Origin
from tests.bridge.actions.support import Site, plate_event, until
from tests.clock import VirtualClock, settle

PANIC = InputMatch(source="nvr", kind="call.started", channel="7", data={"caller": "panic"})


def _buttons(site: Site) -> Buttons:
    return Buttons([PANIC], site.kill, Desk("site", site.safety, site.clock))


def _call(clock: VirtualClock, **more: Any) -> Any:
    told = {"type": "call.started", "subject": "7", "data": {"caller": "panic"}} | more
    return plate_event(clock, 1, **told)


@pytest.mark.parametrize("origin", [Origin.LIVE, Origin.BACKFILL, Origin.RESYNC])
async def test_a_button_pulls_without_any_bus(tmp_path: Path, origin: Origin) -> None:
    """Also one that was pressed while nobody listened: it is known who, and nobody waits for a store."""
    site = Site(tmp_path, VirtualClock())
    _buttons(site).heard(_call(site.clock, origin=origin))
    await until(lambda: site.kill.pulled)
    await until(lambda: (tmp_path / "kill").exists())
    state = await site.kill.state()
    assert state is not None
    assert (state.principal, state.reason) == ("event:nvr", "call.started at 7")


@pytest.mark.parametrize(
    "other",
    [
        {"origin": Origin.REPLAY},
        {"origin": Origin.TEST},
        {"subject": "8"},
        {"source": "site/other"},
        {"data": {"caller": "door"}},
        {"type": "call.ended"},
    ],
)
async def test_nothing_else_does(tmp_path: Path, other: dict[str, Any]) -> None:
    """Another channel, source, caller or kind is no button, and nor is history that is played again."""
    site = Site(tmp_path, VirtualClock())
    _buttons(site).heard(_call(site.clock, **other))
    await settle()
    assert not site.kill.pulled


@pytest.mark.parametrize("payload", [b"smoke", b"", b"OFF", b"reset", b"\xff"])
async def test_a_message_of_the_broker_only_pulls(tmp_path: Path, payload: bytes) -> None:
    """Whoever reaches the broker can stop everything and let nothing go."""
    site = Site(tmp_path, VirtualClock())
    buttons = _buttons(site)
    buttons.message(payload)
    buttons.message(b"reset")
    await until(lambda: (tmp_path / "kill").exists())
    assert site.kill.pulled


@pytest.mark.parametrize(
    ("payload", "said"),
    [(b"smoke", "smoke"), (b"", "not said"), (b"\xff!", "\N{REPLACEMENT CHARACTER}!"), (b"x" * 999, "x" * 200)],
)
async def test_what_a_message_says_is_the_reason(tmp_path: Path, payload: bytes, said: str) -> None:
    """As far as it can be read and is not too long; that it came by the broker is all that is known of who."""
    site = Site(tmp_path, VirtualClock())
    buttons = _buttons(site)
    buttons.message(payload)
    assert [task.get_name() for task in buttons._pulling] == ["kill switch"]
    await until(lambda: not buttons._pulling)
    state = await site.kill.state()
    assert state is not None
    assert (state.principal, state.reason) == ("mqtt", said)


async def test_a_button_of_the_whole_device_names_the_device(tmp_path: Path) -> None:
    """Where the event has no channel, and the match asks for none; a field that the event lacks fits nothing."""
    site = Site(tmp_path, VirtualClock())
    lacking = InputMatch(source="nvr", kind="call.started", data={"floor": "1"})
    anywhere = InputMatch(source="nvr", kind="call.started")
    Buttons([lacking], site.kill, Desk("site", site.safety, site.clock)).heard(_call(site.clock, subject=None))
    await settle()
    assert not site.kill.pulled
    Buttons([anywhere], site.kill, Desk("site", site.safety, site.clock)).heard(_call(site.clock, subject=None))
    await until(lambda: (tmp_path / "kill").exists())
    state = await site.kill.state()
    assert state is not None
    assert state.reason == "call.started at nvr"
