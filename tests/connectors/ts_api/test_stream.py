"""One connection in order: snapshots, repeats, and codes that show themselves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from bridge.sdk import Origin, PayloadError
from connectors.ts_api.decode import Control, Decoded
from connectors.ts_api.stream import MessageStream
from tests.connectors.ts_api.recorded import RECEIVED, context, load


class Connection:
    """A message stream and a clock that goes on by a second a message."""

    def __init__(self, name: str = "") -> None:
        self.stream = MessageStream(context(name))
        self.now = RECEIVED

    def hear(self, message: Mapping[str, Any]) -> list[tuple[str, str | None, Origin]]:
        self.now += timedelta(seconds=1)
        found = self.stream.decode(message, self.now)
        assert isinstance(found, Decoded)
        return [(event.type, event.subject, event.origin) for event in found.events]


def motion(**channels: bool) -> dict[str, Any]:
    updated = [{"chid": int(name[2:]), "motion": moving} for name, moving in channels.items()]
    return {"topic": "motionChanges", "updated": updated}


def status(channel: int, code: int) -> dict[str, Any]:
    return {"topic": "channelStatus", "event": "statusChanged", "chid": channel, "status": {"code": code}}


def test_the_first_motion_message_is_the_present_state_and_the_next_are_changes() -> None:
    """They look alike; only the order tells."""
    nvr = Connection()
    assert nvr.hear(motion(ch1=True, ch2=False)) == [
        ("motion.started", "1", Origin.RESYNC),
        ("motion.ended", "2", Origin.RESYNC),
    ]
    assert nvr.hear(motion(ch2=True)) == [("motion.started", "2", Origin.LIVE)]


def test_each_topic_has_a_first_message_of_its_own() -> None:
    """A call before the first count does not make the count a change."""
    nvr = Connection()
    nvr.hear(load("event.emergencyCall.callStart.json"))
    assert {origin for _, _, origin in nvr.hear(load("event.parkingCount.json"))} == {Origin.RESYNC}
    assert {origin for _, _, origin in nvr.hear(load("event.parkingCount.json"))} == {Origin.LIVE}


def test_a_message_that_comes_twice_starts_nothing_twice() -> None:
    """Motion has no time of its own to tell a repeat by; said again it is the present state, not an edge."""
    nvr = Connection()
    nvr.hear(motion(ch1=False))
    assert nvr.hear(motion(ch1=True)) == [("motion.started", "1", Origin.LIVE)]
    assert nvr.hear(motion(ch1=True, ch2=True)) == [
        ("motion.started", "1", Origin.RESYNC),
        ("motion.started", "2", Origin.LIVE),
    ]
    assert nvr.hear(motion(ch1=False)) == [("motion.ended", "1", Origin.LIVE)]
    assert nvr.hear(motion(ch1=True)) == [("motion.started", "1", Origin.LIVE)]


def test_what_is_known_of_motion_does_not_outlive_a_renumbering() -> None:
    """After a swap, channel 1 is another camera."""
    nvr = Connection()
    nvr.hear(motion(ch1=True))
    nvr.hear(load("event.channelStatus.channelSwapped.json"))
    assert nvr.hear(motion(ch1=True)) == [("motion.started", "1", Origin.LIVE)]


def test_subscribing_again_brings_the_present_state_again() -> None:
    """v1 can subscribe at any time."""
    nvr = Connection("v1.")
    nvr.hear(motion(ch1=True))
    answer = nvr.stream.decode({"type": "subscribed", "topic": "motionChanges"}, nvr.now)
    assert answer == Control("subscribed", ("motionChanges",))
    assert nvr.hear(motion(ch1=True)) == [("motion.started", "1", Origin.RESYNC)]


def test_a_refused_first_message_leaves_the_present_state_owing() -> None:
    """The next one that can be read is it."""
    nvr = Connection()
    with pytest.raises(PayloadError):
        nvr.stream.decode({"topic": "motionChanges"} | {"updated": "\ud800"}, nvr.now)
    assert nvr.hear(motion(ch1=True)) == [("motion.started", "1", Origin.RESYNC)]


def test_r6_once_v0_codes_were_seen_they_are_used_from_then_on() -> None:
    """On a v1 connection; 0 means no answer after a 200 was seen."""
    nvr = Connection("v1.")

    def state(code: int) -> str:
        found = nvr.stream.decode(status(1, code), nvr.now)
        assert isinstance(found, Decoded)
        return str(found.events[0].data.model_dump()["state"])

    assert state(0) == "connected"
    assert state(200) == "connected"
    assert state(0) == "disconnected"
    assert state(-1) == "unused"


def test_what_is_no_object_is_refused() -> None:
    """A number, a text, an array."""
    with pytest.raises(PayloadError) as caught:
        MessageStream(context()).decode([1], RECEIVED)  # type: ignore[arg-type]
    assert caught.value.reason == "not_object"
