"""Every action that ships: it loads, explains itself, and its example is one."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from bridge.actions import BUILTIN, ptz, relay, vms_trigger
from bridge.contracts import ActionSpec, BackupReceipt, Known
from bridge.registry import Registry
from bridge.schema.orders import ActionClass
from tests.bridge.actions.support import make_order, plate_event, running
from tests.clock import START, VirtualClock

GUIDE = Path(__file__).parents[3] / "docs" / "guide" / "actions.md"
KNOWN = Known(
    sources=frozenset({"nvr"}),
    channels={"nvr": frozenset({"1", "2"})},
    presets={("nvr", "1"): frozenset({"entrance"})},
    doors=frozenset({"main-gate"}),
    outputs=frozenset({"siren", "lamp"}),
    webhooks=frozenset({"backoffice"}),
    mqtt=True,
)


def _spec(name: str) -> ActionSpec[Any]:
    spec: ActionSpec[Any] = Registry("action", BUILTIN, "vms_bridge.actions").get(name)
    return spec


def _params(step: dict[str, Any]) -> tuple[ActionSpec[Any], Any]:
    """Read one action as a rule file has it."""
    (name,) = step.keys() - {"as"}
    spec, value = _spec(name), step[name]
    if not isinstance(value, dict):
        value = {spec.shorthand: value} if value is not None else {}
    return spec, spec.params.model_validate(value)


@pytest.mark.parametrize("name", BUILTIN)
def test_its_example_is_valid(name: str) -> None:
    """As YAML, against its model and its own check."""
    spec, params = _params(YAML(typ="safe").load(_spec(name).example))
    assert spec.name == name
    assert list(spec.check(params, KNOWN)) == []


@pytest.mark.parametrize("name", BUILTIN)
def test_every_parameter_is_described(name: str) -> None:
    """The reference is made from the models."""
    params = _spec(name).params
    assert params.__doc__
    assert [field for field, info in params.model_fields.items() if not info.description] == []


def _examples() -> list[Any]:
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    loaded = [YAML(typ="safe").load(block) for block in blocks]
    return [step for block in loaded if isinstance(block, dict) and "then" in block for step in block["then"]]


@pytest.mark.parametrize("step", _examples(), ids=str)
def test_the_guides_examples_are_valid(step: dict[str, Any]) -> None:
    """What the guide shows can be copied."""
    spec, params = _params(step)
    assert list(spec.check(params, KNOWN)) == []


@pytest.mark.parametrize(
    ("step", "sourced", "said"),
    [
        ({"clip": None}, False, "the event of this rule comes from no source; name `source` and channel"),
        ({"clip": {"channels": [1]}}, False, "the event of this rule comes from no source; name `source` and channel"),
        ({"clip": None}, True, "the event of this rule has no channel; name one"),
        ({"clip": {"channels": [1]}}, True, None),
        ({"ptz": "entrance"}, True, "the event of this rule has no channel; name one"),
        ({"ptz": {"preset": "entrance", "source": "nvr", "channel": 1}}, False, None),
        ({"vms_trigger": {"channels": [1]}}, True, "the event of this rule has no channel; name one"),
        ({"vms_trigger": {"channel": 1}}, True, None),
    ],
)
def test_a_camera_that_no_event_names_is_named(step: dict[str, Any], sourced: bool, said: str | None) -> None:
    """`at`, `mode.changed`, `source.lost`: the order would be refused each time. Without a site nobody says so."""
    spec, params = _params(step)
    known = replace(KNOWN, here=frozenset(), sourced=sourced)
    assert list(spec.check(params, known)) == ([said] if said else [])
    assert list(spec.check(params, replace(known, sources=None, channels=None, presets=None))) == []
    assert list(spec.check(params, KNOWN)) == []


def test_the_guide_shows_every_action() -> None:
    """None is left out."""
    assert {name for step in _examples() for name in step} - {"as"} == set(BUILTIN)


@pytest.mark.parametrize(
    ("params", "action_class"),
    [
        (relay.RelayParams.model_validate({"output": "x", "state": "on"}), ActionClass.ACTUATING),
        (relay.RelayParams.model_validate({"output": "x"}), ActionClass.ACTUATING),
        (relay.RelayParams.model_validate({"output": "x", "state": "off"}), ActionClass.RELEASING),
        (ptz.PtzParams.model_validate({"preset": "x"}), ActionClass.TRANSIENT),
        (ptz.PtzParams.model_validate({"move": {"pan": 1}}), ActionClass.ACTUATING),
        (ptz.PtzParams.model_validate({"stop": True}), ActionClass.RELEASING),
    ],
)
def test_the_class_follows_from_the_parameters(params: Any, action_class: ActionClass) -> None:
    """Away from idle actuates, back releases."""
    spec = relay.SPEC if isinstance(params, relay.RelayParams) else ptz.SPEC
    assert spec.classify is not None
    assert spec.classify(params) is action_class


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ({"open": "mian-gate"}, "did you mean 'main-gate'"),
        ({"relay": {"output": "sirene"}}, "did you mean 'siren'"),
        ({"relay": {"output": "siren", "state": "off", "for": "5s"}}, "`off` has none"),
        ({"relay": {"output": "siren", "for": "31s"}}, "at most 30s"),
        ({"ptz": {"preset": "entrence", "source": "nvr", "channel": 1}}, "did you mean 'entrance'"),
        ({"ptz": {"preset": "x", "source": "nvr", "channel": 3}}, "channel of nvr"),
        ({"ptz": {"preset": "x", "source": "cctv"}}, "unknown source"),
        ({"vms_trigger": {"source": "nvr", "channels": ["9"]}}, "channel of nvr"),
    ],
)
def test_what_does_not_exist_is_seen_at_load(step: dict[str, Any], problem: str) -> None:
    """Doors, outputs, sources, channels, presets."""
    spec, params = _params(step)
    assert problem in "; ".join(spec.check(params, KNOWN))


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"preset": "x", "stop": True},
        {"move": {"pan": 0}},
        {"move": {"pan": 1.1}},
        {"move": {"pan": 1}, "for": "31s"},
        {"preset": "x", "speed": 1},
    ],
)
def test_camera_orders_that_make_no_sense(params: dict[str, Any]) -> None:
    """Exactly one thing, within bounds."""
    with pytest.raises(ValueError, match=r"."):
        ptz.PtzParams.model_validate(params)


class Keeper:
    """A VMS that keeps footage."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def back_up(self, channel: str, at: Any, before: Any, after: Any, **more: Any) -> BackupReceipt:
        self.asked.append((channel, at, before.total_seconds(), after.total_seconds(), more))
        return BackupReceipt("e7", ["/vod/1.mp4"], START)


async def test_a_backup_on_the_vms(tmp_path: Path) -> None:
    """With the channel of the event always among those kept."""
    clock, keeper = VirtualClock(), Keeper()
    async with running(tmp_path, clock, actions={"vms_trigger": vms_trigger.SPEC}) as site:
        site.services.put_source("nvr", keeper)
        order = make_order(clock, "vms_trigger", {"channels": ["2"], "title": "Gate"})
        order = order.model_copy(update={"action_class": ActionClass.VENDOR_START})
        result = await site.do(order)
    assert result.output == {"source": "nvr", "event": "e7", "paths": ["/vod/1.mp4"], "ready_at": START.isoformat()}
    more = {"channels": ("1", "2"), "title": "Gate", "comment": None, "preset": None}
    assert keeper.asked == [("1", START, 5.0, 15.0, more)]


async def test_a_camera_order_needs_a_channel(tmp_path: Path) -> None:
    """An event without one does not guess."""
    clock = VirtualClock()
    async with running(tmp_path, clock) as site:
        result = await site.do(make_order(clock, "ptz", {"preset": "x"}, event=plate_event(clock, subject=None)))
    assert (result.outcome, result.reason) == ("refused", "no_channel")
