"""What doors take as known: told live, in this session, by a channel that is heard, and nothing newer said since."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from bridge.config.outputs import StateIs
from bridge.safety.facts import UNKNOWN, Facts
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import (
    ChannelAdded,
    ChannelRemoved,
    ChannelStatus,
    ChannelSwapped,
    MotionEnded,
    ParkingCount,
    Payload,
    SourceConnected,
    SourceLost,
)
from bridge.schema.state import Told
from tests.bridge.actions.support import plate_event, state_event
from tests.clock import START, VirtualClock, settle

S = timedelta(seconds=1)
MOTION = ("nvr/7", "motion")


class Telling:
    """Facts, and somebody who tells them."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.facts = Facts(self.clock)

    def say(self, entity: str, attribute: str, value: Any, **more: Any) -> VmsEvent:
        event = state_event(self.clock, entity, attribute, value, **more)
        self.facts.heard(event)
        return event

    def status(self, state: Any, **more: Any) -> None:
        data = ChannelStatus(state=state)
        self.facts.heard(plate_event(self.clock, type="channel.status", subject="7", data=data, **more))

    def link(self, up: bool) -> None:
        """As the supervisor tells it, and what it writes of it."""
        now = self.clock.now()
        self.facts.link("nvr", up, now)
        data = SourceConnected(topics=()) if up else SourceLost(reason="auth", message="", since=now)
        kind = "source.connected" if up else "source.lost"
        self.facts.heard(plate_event(self.clock, type=kind, subject=None, data=data, origin=Origin.BRIDGE))

    def get(self, entity: str = "nvr/7", attribute: str = "motion") -> object:
        return self.facts.get(entity, attribute)


@pytest.fixture(name="at")
def telling() -> Telling:
    return Telling()


def test_what_a_lost_source_said_is_not_known_until_it_says_it_again(at: Telling) -> None:
    """Neither while it is away nor when it is back: what it said is over. What was set by hand stays."""
    assert at.get() is UNKNOWN
    at.link(up=True)
    at.say(*MOTION, "off")
    at.say("alarm", "armed", True)
    assert (at.get(), at.get("nvr", "link")) == ("off", "up")
    at.clock.jump(60 * S)
    at.link(up=False)
    assert (at.get(), at.get("nvr", "link"), at.get("alarm", "armed")) == (UNKNOWN, "down", True)
    at.say("nvr/7", "motion", "off", via="push")
    assert at.get() is UNKNOWN, "it is away"
    at.clock.jump(60 * S)
    at.link(up=True)
    assert (at.get(), at.get("nvr", "link")) == (UNKNOWN, "up")
    at.say(*MOTION, "off", origin=Origin.RESYNC)
    assert at.get() == "off"


def test_what_was_heard_before_the_link_came_back_is_over(at: Telling) -> None:
    """An event that waited for the log during an outage and is handed over after it tells of before."""
    at.link(up=True)
    late = state_event(at.clock, *MOTION, "off")
    at.clock.jump(60 * S)
    at.link(up=False)
    at.clock.jump(60 * S)
    at.link(up=True)
    at.facts.heard(late)
    assert at.get() is UNKNOWN
    at.clock.jump(-3600 * S)
    at.say(*MOTION, "on")
    assert at.get() == "on", "our own clock went back: the link came up in what is now the future"


def test_a_flaw_of_a_source_takes_nothing_back(at: Telling) -> None:
    """Only the link counts: the same report once more changes nothing."""
    at.link(up=True)
    at.say(*MOTION, "off")
    at.facts.link("nvr", True, START)
    assert at.get() == "off"


@pytest.mark.parametrize("state", ["disconnected", "no_video", "auth_failed", "connecting", "unused", "unknown"])
def test_a_channel_that_is_not_heard_says_nothing(at: Telling, state: str) -> None:
    """Its "nothing moves" is over when the camera is away, and stays so until it is back and says it again."""
    at.say(*MOTION, "off")
    at.say("nvr/8", "motion", "off")
    at.status("connected")
    assert at.get() == "off"
    at.status(state)
    assert (at.get(), at.get("nvr/7", "status"), at.get("nvr/8")) == (UNKNOWN, state, "off")
    at.say(*MOTION, "off")
    assert at.get() is UNKNOWN
    at.status("connected", origin=Origin.RESYNC)
    assert at.get() is UNKNOWN, "it was said while the camera was away"
    at.say(*MOTION, "off", origin=Origin.RESYNC)
    at.status("connected")
    assert at.get() == "off", "it was there all the while"


@pytest.mark.parametrize("origin", [Origin.REPLAY, Origin.TEST, Origin.BACKFILL])
def test_history_tells_no_state(at: Telling, origin: Origin) -> None:
    """What is sent again, made up or fetched from a log says nothing of what is not known."""
    at.say("rules/alarm", "armed", False, origin=origin)
    assert at.get("rules/alarm", "armed") is UNKNOWN


@pytest.mark.parametrize("origin", [Origin.REPLAY, Origin.TEST])
def test_what_is_played_again_changes_no_state(at: Telling, origin: Origin) -> None:
    """A dead letter that is sent again does not disarm what is armed now."""
    at.say("rules/alarm", "armed", True)
    at.clock.jump(S)
    at.say("rules/alarm", "armed", False, origin=origin)
    assert at.get("rules/alarm", "armed") is True


def test_a_change_that_nobody_saw_leaves_nothing_known(at: Telling) -> None:
    """A log that tells of one after what is known, and says otherwise; not one that says the same, or is older."""
    at.say("lot/1", "count", 5)
    at.say("lot/1", "count", 4, origin=Origin.BACKFILL, time=START - S)
    at.say("lot/1", "count", 4, origin=Origin.BACKFILL)
    at.say("lot/1", "count", 5, origin=Origin.BACKFILL, time=START + S, received=START + S)
    assert at.get("lot/1", "count") == 5
    at.say("lot/1", "count", 4, origin=Origin.BACKFILL, time=START + S, received=START + S)
    assert at.get("lot/1", "count") is UNKNOWN


def test_each_thing_that_an_event_says_is_known_by_itself(at: Telling) -> None:
    """A log tells of a count that is known, and of places left that are not so any more: only those are unknown."""
    for left, more in ((3, {}), (2, {"origin": Origin.BACKFILL, "time": START + S, "received": START + S})):
        data = ParkingCount(lot="1", count=5, capacity=8, available=left)
        at.facts.heard(plate_event(at.clock, type="parking.count", subject="1", data=data, **more))
    assert [at.get("nvr/1", name) for name in ("count", "capacity", "available")] == [5, 8, UNKNOWN]


def test_what_was_longer_on_its_way_replaces_nothing_newer(at: Telling) -> None:
    """An order that waited for its turn says what was to be remembered then; the newer word stands."""
    late = state_event(at.clock, "rules/alarm", "armed", False, origin=Origin.BRIDGE)
    at.clock.jump(S)
    at.say("rules/alarm", "armed", True, origin=Origin.BRIDGE)
    at.clock.jump(S)
    at.facts.heard(late)
    assert at.get("rules/alarm", "armed") is True


def test_our_own_clock_going_back_does_not_keep_an_old_word(at: Telling) -> None:
    """What is known lies in the future then, and what comes now is newer all the same."""
    at.say("booth/1", "motion", "off", timequality="received")
    at.clock.jump(-3600 * S)
    at.say("booth/1", "motion", "on", timequality="received")
    assert at.get("booth/1", "motion") == "on"


def test_two_words_that_contradict_each_other_leave_nothing_known(at: Telling) -> None:
    """What comes later and is older by the clock of who says it: nobody can tell. A clock ahead counts as now."""
    at.say(*MOTION, "on", time=START + 3600 * S)
    at.clock.jump(60 * S)
    at.say(*MOTION, "off", time=START + 50 * S)
    assert at.get() == "off", "it was ahead, and is no more"
    at.say(*MOTION, "off", time=START + 40 * S)
    assert at.get() == "off"
    at.say(*MOTION, "on", time=START + 40 * S)
    assert at.get() is UNKNOWN
    at.say(*MOTION, "off", time=START + 45 * S)
    assert at.get() is UNKNOWN
    at.say(*MOTION, "on", time=START + 50 * S)
    assert at.get() == "on"
    at.say(*MOTION, "off", time=START, origin=Origin.RESYNC)
    assert at.get() == "off", "a snapshot says how it is now"


def test_what_may_have_been_sent_again_never_agrees(at: Telling) -> None:
    """A push that may be the one of an hour ago: what it says is not known, and what it denies not any more."""
    contact = ("booth/1", "contact")
    at.say(*contact, "shut", timequality="doubtful")
    assert at.get(*contact) is UNKNOWN
    at.say(*contact, "shut")
    at.clock.jump(S)
    at.say(*contact, "shut", timequality="doubtful")
    assert at.get(*contact) == "shut", "nothing says otherwise"
    at.clock.jump(S)
    at.say(*contact, "open", timequality="doubtful")
    assert at.get(*contact) is UNKNOWN
    at.clock.jump(S)
    at.say(*contact, "shut", timequality="doubtful")
    assert at.get(*contact) is UNKNOWN, "which of both was sent again?"
    at.clock.jump(S)
    at.say(*contact, "shut")
    assert at.get(*contact) == "shut"


def test_a_push_that_comes_again_after_another_leaves_nothing_known(at: Telling) -> None:
    """Within a minute it is the first one, with its time; or somebody calls once more. A socket's is only late."""
    call = {"timequality": "received", "via": "push", "principal": "booth"}
    began = at.say("booth/1", "call", "on", **call)
    at.clock.jump(S)
    ended = at.say("booth/1", "call", "off", **call)
    at.clock.jump(S)
    at.facts.heard(ended)
    assert at.get("booth/1", "call") == "off", "the same again"
    at.facts.heard(began.model_copy(update={"via": "ws"}))
    assert at.get("booth/1", "call") == "off"
    at.facts.heard(began)
    assert at.get("booth/1", "call") is UNKNOWN
    at.clock.jump(S)
    at.say("booth/1", "call", "off", **call)
    assert at.get("booth/1", "call") == "off"


def test_a_doubtful_word_about_a_channel_is_no_good_one(at: Telling) -> None:
    """What may have been sent again does not say that the camera is back; that it is gone it may say."""
    at.status("connected")
    at.say(*MOTION, "off")
    at.clock.jump(S)
    at.status("disconnected", timequality="doubtful")
    at.clock.jump(S)
    at.say(*MOTION, "off")
    at.status("connected", timequality="doubtful")
    assert at.get() is UNKNOWN
    at.say(*MOTION, "off")
    assert at.get() is UNKNOWN
    at.status("connected")
    assert at.get() is UNKNOWN, "it may have been said while the camera was away"
    at.say(*MOTION, "off")
    assert at.get() == "off"


def test_what_was_doubtful_before_a_restart_is_so_after_it(at: Telling) -> None:
    """And what agrees with it then is as good as without it."""
    at.facts.remember({("booth/1", "contact"): Told("shut", START - S, START - S, doubtful=True)})
    assert at.get("booth/1", "contact") is UNKNOWN
    at.say("booth/1", "contact", "shut")
    assert at.get("booth/1", "contact") == "shut"


@pytest.mark.parametrize(
    ("kind", "data", "gone"),
    [
        ("channel.swapped", ChannelSwapped(other="8"), {"7", "8"}),
        ("channel.removed", ChannelRemoved(), {"7"}),
        ("channel.added", ChannelAdded(), {"7"}),
    ],
)
def test_a_number_that_means_another_camera_says_nothing_of_it(
    at: Telling, kind: str, data: Payload, gone: set[str]
) -> None:
    """That nothing moved before the one that has the number now was never said. Not for what is only played again."""
    channels = {"7", "8", "9"}
    for channel in channels:
        at.say(f"nvr/{channel}", "motion", "off")
    told = {"type": kind, "subject": "7", "data": data}
    at.facts.heard(plate_event(at.clock, **told, origin=Origin.REPLAY))
    assert {channel for channel in channels if at.get(f"nvr/{channel}") is UNKNOWN} == set()
    at.facts.heard(plate_event(at.clock, **told))
    assert {channel for channel in channels if at.get(f"nvr/{channel}") is UNKNOWN} == gone
    at.say("nvr/7", "motion", "off")
    assert at.get("nvr/7") == "off"


def test_an_end_that_was_made_up_leaves_nothing_known(at: Telling) -> None:
    """Motion that was given up is not "off"."""
    at.say(*MOTION, "on")
    end = {"type": "motion.ended", "subject": "7", "data": MotionEnded(reason="timeout"), "origin": Origin.BRIDGE}
    at.facts.heard(plate_event(at.clock, **end))
    assert at.get() is UNKNOWN


def test_what_nobody_listens_to_is_known_over_a_restart(at: Telling) -> None:
    """What a rule or a push client said last counts on; what a source said that is listened to, does not."""
    at.say("rules/alarm", "armed", True)
    before = {
        ("nvr", "link"): "up",
        MOTION: "off",
        ("booth/1", "motion"): "off",
        ("rules/alarm", "armed"): False,
    }
    at.facts.remember({key: Told(value, None, START - S) for key, value in before.items()})
    assert (at.get(), at.get("booth/1"), at.get("rules/alarm", "armed")) == (UNKNOWN, "off", True)
    assert at.get("nvr", "link") is UNKNOWN
    at.say(*MOTION, "on")
    assert at.get() == "on"


@pytest.mark.parametrize(
    ("value", "late", "quality", "seen"),
    [
        ("open", 0 * S, "device", True),
        ("shut", 0 * S, "device", False),
        ("open", 1 * S, "device", False),
        ("open", 0 * S, "doubtful", False),
    ],
)
async def test_who_waits_for_a_state_sees_what_is_newer_alone(
    value: str, late: timedelta, quality: str, seen: bool
) -> None:
    """An event that was longer on its way than what is known, or was sent again, does not show that a gate opened."""
    at = Telling()
    at.clock.jump(10 * S)
    at.say("nvr/9", "contact", "shut")
    contact = StateIs.model_validate({"entity": "nvr/9", "attribute": "contact", "is": "open"})
    waiting = asyncio.create_task(at.facts.seen(contact, 3 * S))
    await settle()
    then = at.clock.now() - late
    at.say("nvr/9", "contact", value, received=then, time=then, timequality=quality)
    await at.clock.advance(4)
    assert await waiting is seen
