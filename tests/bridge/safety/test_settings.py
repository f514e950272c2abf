"""What was configured otherwise does not move until somebody agrees to exactly that; all else goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bridge.config.models import BridgeConfig, DoorConfig
from bridge.errors import ActionRejectedError, StartError
from bridge.safety.reasons import WORDS, Reason
from bridge.safety.settings import FILE, Changed, Place, Settings, Waiting, form_of, waiting
from tests.bridge.actions.support import DOORS, OUTPUTS, make_order, plate_event, running
from tests.clock import START, VirtualClock

PLACE = {"source": "nvr", "channel": 1, "idle": "off"}
CONFIG: dict[str, Any] = {
    "outputs": {"one": PLACE | {"relay": 1}, "two": PLACE | {"relay": 2}, "lamp": PLACE | {"relay": 3}},
    "doors": {"in.side": {"output": "one", "mode": "act"}, "back": {"output": "two"}},
    "safety": {"hold_off": "5s"},
}


def _form(**parts: Mapping[str, Any] | bool) -> Mapping[str, str]:
    return form_of(BridgeConfig.model_validate(CONFIG | parts))


def _change(**parts: Any) -> Waiting | None:
    return waiting(_form(), _form(**parts))


def _with(part: str, name: str, **fields: Any) -> dict[str, Any]:
    return {part: CONFIG[part] | {name: CONFIG[part].get(name, {}) | fields}}


@pytest.mark.parametrize(
    ("parts", "outputs", "changes"),
    [
        (_with("doors", "back", mode="act"), {"two"}, ["doors/back/mode: default → act"]),
        (_with("doors", "in.side", mode="observe"), {"one"}, ["doors/in.side/mode: act → default"]),
        (_with("doors", "in.side", cooldown="1m"), {"one"}, ["doors/in.side/cooldown: default → 1m"]),
        (
            _with("doors", "in.side", hours={"zone": "UTC", "windows": [{"from": "07:00", "to": "24:00"}]}),
            {"one"},
            [
                'doors/in.side/hours/windows: default → [{"from": "07:00", "to": "24:00"}]',
                "doors/in.side/hours/zone: default → UTC",
            ],
        ),
        (_with("doors", "back", output="lamp"), {"two", "lamp"}, ["doors/back/output: two → lamp"]),
        ({"doors": {"in.side": CONFIG["doors"]["in.side"]}}, {"two"}, ["doors/back/output: two → default"]),
        (_with("outputs", "lamp", **{"class": "transient"}), {"lamp"}, ["outputs/lamp/class: default → transient"]),
        (_with("outputs", "two", relay="9"), {"two"}, ["outputs/two/relay: 2 → 9"]),
    ],
)
def test_a_change_concerns_its_output(parts: dict[str, Any], outputs: set[str], changes: list[str]) -> None:
    """That of the door, before and after; whatever else there is goes on."""
    found = _change(**parts)
    assert found is not None
    assert (found.everything, found.outputs, list(map(str, found.changes))) == (False, outputs, changes)


@pytest.mark.parametrize(
    "parts",
    [
        {"safety": {"hold_off": "0s"}},
        {"safety": {"hold_off": "5s", "clock_tolerance": "1h"}},
        {"safety": {"hold_off": "5s", "breaker": {"per_minute": 900}}},
        {"safety": {"hold_off": "5s", "kill_topic": False}},
        {"dry_run": True},
    ],
)
def test_a_change_for_the_whole_site_concerns_everything(parts: dict[str, Any]) -> None:
    """What protects all of it is in `safety`."""
    found = _change(**parts)
    assert found is not None
    assert found.everything


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"safety": {"hold_off": "5s", "alerts": ["phone"], "heartbeat": "5m"}},
        _with("doors", "back", mode="observe", cooldown="5s"),
        {"webhooks": {"phone": {"url": "https://example.org"}}},
        {"log": {"level": "debug"}},
    ],
)
def test_what_moves_nothing_needs_nobody(parts: dict[str, Any]) -> None:
    """Nor does a default that was written out."""
    assert _change(**parts) is None


def test_changes_together_concern_what_each_of_them_does() -> None:
    """Of two doors both outputs; with one for the whole site everything."""
    both = {"doors": {name: door | {"pulse": "2s"} for name, door in CONFIG["doors"].items()}}
    found = _change(**both, **_with("outputs", "lamp", relay="9"))
    assert found is not None
    assert (found.everything, found.outputs) == (False, {"one", "two", "lamp"})
    found = _change(**both, dry_run=True)
    assert found is not None
    assert (found.everything, found.outputs) == (True, {"one", "two"})


def test_a_number_is_for_one_change() -> None:
    """From here to there, and no other."""
    act, confirm = (_change(**_with("doors", "back", mode=mode)) for mode in ("act", "confirm"))
    assert act is not None
    assert confirm is not None
    assert act.confirm != confirm.confirm
    assert waiting({}, _form(**_with("doors", "back", mode="act"))) != act


async def test_what_was_changed_stays_at_idle_until_somebody_agrees(tmp_path: Path) -> None:
    """The first start counts; after a restart with another door it is refused, others open, a person agrees, it opens.

    A return to idle waits for nobody, and what was agreed to holds at the next start.
    """
    clock = VirtualClock()
    doors = {"main": DOORS["main"], "side": DoorConfig(output="gate", mode="act")}
    other = doors | {"main": doors["main"].model_copy(update={"min_score": 0.0})}

    def opening(number: int, door: str) -> Any:
        return make_order(clock, "open", {"door": door}, number, plate_event(clock, number))

    async with running(tmp_path, clock, doors=doors) as site:
        assert site.safety.settings.waits is None
        assert (await site.do(opening(1, "main"))).outcome == "done"
        await site.advance(60)
    async with running(tmp_path, clock, doors=other) as site:
        held = await site.do(opening(2, "main"))
        assert (held.reason, held.message) == ("unconfirmed", WORDS[Reason.UNCONFIRMED])
        assert (await site.do(opening(3, "side"))).outcome == "done"
        off = make_order(clock, "relay", {"output": "barrier", "state": "off"}, 4)
        assert (await site.do(off)).outcome == "done"
        assert site.safety.settings.waits is not None
        number = site.safety.settings.waits.confirm
        with pytest.raises(ActionRejectedError, match=number):
            await site.safety.settings.agree("0" * 12, "anna", "a guess")
        await site.safety.settings.agree(number, "anna", "lanes are lit now")
        assert (await site.do(opening(5, "main"))).outcome == "done"
        with pytest.raises(ActionRejectedError):
            await site.safety.settings.agree(number, "anna", "twice")
        await site.advance(60)
    async with running(tmp_path, clock, doors=other) as site:
        assert (await site.do(opening(6, "main"))).outcome == "done"
    said = json.loads((tmp_path / FILE).read_text())
    assert (said["principal"], said["reason"]) == ("anna", "lanes are lit now")


async def test_an_output_that_is_declared_harmless_now_waits_too(tmp_path: Path) -> None:
    """`transient` has no limits, so it is asked before it is taken for that."""
    clock = VirtualClock()
    loose = OUTPUTS | {"gate": OUTPUTS["gate"].model_copy(update={"output_class": "transient"})}
    async with running(tmp_path, clock):
        pass
    async with running(tmp_path, clock, outputs=loose) as site:
        result = await site.do(make_order(clock, "relay", {"output": "gate"}, 1))
    assert (result.reason, result.message) == ("unconfirmed", WORDS[Reason.UNCONFIRMED])


@pytest.mark.parametrize("content", ["", "[]", '{"agreed": 7}', "{"])
async def test_a_damaged_copy_agrees_to_nothing(tmp_path: Path, content: str) -> None:
    """Nobody can say what was agreed to, so everything waits."""
    (tmp_path / FILE).write_text(content)
    settings = Settings(BridgeConfig.model_validate(CONFIG), tmp_path, VirtualClock())
    await settings.load(first=True)
    assert settings.waits is not None
    assert settings.lost
    assert settings.hold_all()
    assert {change.was for change in settings.waits.changes} == {None}


async def test_a_copy_that_is_gone_agrees_to_nothing(tmp_path: Path) -> None:
    """Only a first start agrees to itself: who removes the copy has not agreed, and it shows until somebody does."""
    clock = VirtualClock()
    looser = BridgeConfig.model_validate(CONFIG | _with("doors", "in.side", min_score=0))
    settings = Settings(looser, tmp_path, clock)
    await settings.load(first=False)
    assert settings.waits is not None
    assert (settings.lost, settings.hold("one"), settings.hold_all(), settings.place("one")) == (True, True, True, None)
    await settings.agree(settings.waits.confirm, "anna", "as it should be")
    assert (settings.lost, settings.hold("one")) == (False, False)
    again = Settings(looser, tmp_path, clock)
    await again.load(first=False)
    assert (again.lost, again.waits, again.place("one")) == (False, None, ("nvr", "1", "1", "off"))


OFF = {"output": "barrier", "state": "off"}


@pytest.mark.parametrize("changed", [{"idle": "on"}, {"relay": "r6"}, {"channel": "2"}])
async def test_an_output_returns_to_where_people_agreed(tmp_path: Path, changed: dict[str, str]) -> None:
    """A change of `idle`, or of the relay, that nobody has agreed to moves nothing; agreed to, it does."""
    clock = VirtualClock()
    async with running(tmp_path, clock):
        pass
    other = OUTPUTS | {"barrier": OUTPUTS["barrier"].model_copy(update=changed)}
    async with running(tmp_path, clock, outputs=other) as site:
        assert (await site.do(make_order(clock, "relay", OFF, 1))).outcome == "done"
        assert [what[1:] for what in site.device.switched] == [("r5", False)]
        assert site.safety.settings.waits is not None
        await site.safety.settings.agree(site.safety.settings.waits.confirm, "anna", "rewired")
        assert (await site.do(make_order(clock, "relay", OFF, 2))).outcome == "done"
        assert site.device.switched[-1][1:] == (changed.get("relay", "r5"), changed.get("idle") == "on")


async def test_an_output_that_nobody_ever_agreed_to_does_not_move_at_all(tmp_path: Path) -> None:
    """Not even to what the configuration calls idle: nobody knows what hangs there."""
    clock = VirtualClock()
    async with running(tmp_path, clock):
        pass
    more = OUTPUTS | {"shutter": OUTPUTS["gate"].model_copy(update={"relay": "r9"})}
    async with running(tmp_path, clock, outputs=more) as site:
        result = await site.do(make_order(clock, "relay", {"output": "shutter", "state": "off"}, 1))
        assert (result.outcome, result.reason, site.device.switched) == ("refused", "unconfirmed", [])


async def test_what_is_configured_back_waits_for_nobody(tmp_path: Path) -> None:
    """A change that nobody agreed to is forgotten when it is gone."""
    for mode, waits in (("act", False), ("observe", True), ("act", False)):
        config = BridgeConfig.model_validate(CONFIG | _with("doors", "in.side", mode=mode))
        settings = Settings(config, tmp_path, VirtualClock())
        await settings.load(first=True)
        assert settings.hold("one") is waits
        assert (settings.waits is not None) is waits


async def test_what_was_agreed_to_is_written_down_with_who_and_why_and_when(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Every setting that is not its default, by its path; the first start agrees to itself. What waits is told."""
    settings = Settings(BridgeConfig.model_validate(CONFIG), tmp_path, VirtualClock())
    assert not settings.hold_all()
    assert settings.place("one") is None, "nobody has agreed to anything yet"
    await settings.load(first=True)
    assert settings.place("one") == Place("nvr", "1", "1", "off")
    assert '\n  "doors/back/output": "two",\n' in (tmp_path / FILE).read_text()  # a person can read it
    first = json.loads((tmp_path / FILE).read_text())
    assert first["agreed"] == {
        "doors/back/output": "two", "doors/in.side/mode": "act", "doors/in.side/output": "one",
        **{f"outputs/{name}/{field}": value for name, relay in (("one", "1"), ("two", "2"), ("lamp", "3"))
           for field, value in (("channel", "1"), ("idle", "off"), ("relay", relay), ("source", "nvr"))},
        "safety/hold_off": "5s",
    }  # fmt: skip
    said = (first["principal"], first["reason"], first["at"])
    assert said == ("first start", "there was nothing before", START.isoformat())
    assert not settings.hold_all()
    assert not settings.hold("one")
    changed = Settings(BridgeConfig.model_validate(CONFIG | {"dry_run": True}), tmp_path, VirtualClock())
    await changed.load(first=True)
    assert changed.waits is not None
    assert [vars(record)["change"] for record in caplog.records] == ["dry_run: default → true"]
    number = changed.waits.confirm
    with pytest.raises(ActionRejectedError, match=f": the change that waits is {number}$") as caught:
        await changed.agree("a guess", "anna", "lit now")
    assert caught.value.reason == "unconfirmed"
    agreed = await changed.agree(number, "anna", "lit now")
    assert agreed == Waiting(number, (Changed("dry_run", None, "true"),), True, frozenset())
    last = json.loads((tmp_path / FILE).read_text())
    assert (last["agreed"], last["principal"], last["reason"]) == (
        first["agreed"] | {"dry_run": "true"}, "anna", "lit now",
    )  # fmt: skip
    with pytest.raises(ActionRejectedError, match=r": no changed setting waits$") as caught:
        await changed.agree(number, "anna", "twice")
    assert caught.value.reason == "not_pending"


async def test_what_cannot_be_compared_stops_the_start(tmp_path: Path) -> None:
    """The person is told which file, and where to look."""
    (tmp_path / FILE).mkdir()
    with pytest.raises(StartError) as caught:
        await Settings(BridgeConfig.model_validate(CONFIG), tmp_path, VirtualClock()).load(first=True)
    assert caught.value.cause == f"{tmp_path / FILE} cannot be used: Is a directory"
    assert caught.value.cure == "look at the disk and its rights"


def test_a_number_hangs_on_what_is_and_not_on_its_order() -> None:
    """It is short, the same wherever the settings are read, and another one for the way back."""
    here, there = {"dry_run": "true", "safety/hold_off": "5s"}, {"safety/hold_off": "1s"}
    found = waiting(here, there)
    assert found is not None
    assert found == waiting(dict(reversed(here.items())), there)
    content = '[{"dry_run": "true", "safety/hold_off": "5s"}, {"safety/hold_off": "1s"}]'
    assert found.confirm == hashlib.sha256(content.encode()).hexdigest()[:12]
    back = waiting(there, here)
    assert back is not None
    assert back.confirm != found.confirm
    assert [(change.setting, change.was, change.now) for change in back.changes] == [
        ("dry_run", None, "true"), ("safety/hold_off", "1s", "5s"),
    ]  # fmt: skip


def test_settings_are_compared_as_they_are_written() -> None:
    """In letters of every language; the fields of what is in a list always in one order."""
    requires = [{"is": "geöffnet", "entity": "nvr/7", "attribute": "tür"}]
    form = _form(**_with("doors", "back", requires=requires))
    assert form["doors/back/requires"] == '[{"attribute": "tür", "entity": "nvr/7", "is": ["geöffnet"]}]'
    assert form["doors/back/output"] == "two"
