"""The `tests:` of a rule file, read and checked: events made whole, expectations understood."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args, get_origin

from pydantic import AwareDatetime, BaseModel, ValidationError

from bridge.sdk import PAYLOADS, ActionSpec, Order, Origin, canonical_plate, kinds, payload_model, unknown
from rules.fields import PLATE_FIELDS, Type, field_of, unwrap
from rules.model import GivenEvent, Repeat, TestPart, Wait, given_shape
from rules.report import Report, Spot, shown, unknown_key
from rules.schedules import Place
from rules.stepreader import RESERVED
from rules.steps import param_names

_GIVEN = [{"wait": "1s"}]
"""Stands for what is given while the rest of a test is read."""
DEFAULT_START = "2026-01-05T12:00:00"
"""A Monday, noon; the site's wall clock."""


@dataclass(frozen=True, slots=True)
class Expected:
    """An order that a test expects; parameters that are left out may be anything."""

    action: str
    params: dict[str, Any]

    def matches(self, order: Order, actions: Mapping[str, ActionSpec[Any]]) -> bool:
        """Tell whether an order is of this kind. Both are compared as the action itself reads them."""
        if order.action != self.action:
            return False
        model = actions[self.action].params
        try:
            wanted = model.model_validate(_over(order.params, self.params))
        except ValidationError:
            return False
        return _whole(wanted) == _whole(model.model_validate(order.params))

    def __str__(self) -> str:
        return f"{self.action} {json.dumps(self.params, ensure_ascii=False, default=str)}"


def _whole(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True)


def _over(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{key: _over(base.get(key), value) for key, value in over.items()}}
    return over


@dataclass(frozen=True, slots=True)
class Trial:
    """A test, ready to run. `payloads` and `times` belong to the items of `given`."""

    part: TestPart
    given: tuple[GivenEvent | Wait | Repeat, ...]
    file: str
    line: int
    start: datetime
    payloads: Mapping[int, kinds.Payload]
    times: Mapping[int, datetime | None]
    expect: tuple[Expected, ...]
    expect_not: tuple[Expected, ...]

    @property
    def name(self) -> str:
        """What it shows."""
        return self.part.name


def read_trials(report: Report, actions: Mapping[str, ActionSpec[Any]], place: Place) -> list[Trial]:
    """Return the tests of a file; reports what is wrong with them."""
    spot = report.at(("tests",))
    content = report.root.value.get("tests")
    if content is None:
        return []
    if not isinstance(content, list):
        spot.problem(f"`tests` is a list, each test starting with `- name:`; got {shown(content)}")
        return []
    reader = _TrialReader(actions, place)
    trials = [reader.read(spot / number, number) for number in range(len(content)) if not report.full]
    return [trial for trial in trials if trial is not None]


class _TrialReader:
    def __init__(self, actions: Mapping[str, ActionSpec[Any]], place: Place) -> None:
        self._actions, self._place = actions, place

    def read(self, spot: Spot, number: int) -> Trial | None:
        value = spot.value
        name = value.get("name") if isinstance(value, dict) else None
        spot = spot.named(f"test {name!r}" if isinstance(name, str) else f"test #{number + 1}")
        given = self._given(spot / "given", value)
        # The items are read one by one, so that a mistake in one hides none in another.
        stand_in = {**value, "given": _GIVEN} if given is not None and isinstance(value, dict) else value
        part = spot.read(TestPart, value=stand_in)
        if part is None:
            return None
        start = self._time(part.at, spot / "at") if part.at else None
        start = start or datetime.fromisoformat(DEFAULT_START).replace(tzinfo=self._place.zone)
        payloads: dict[int, kinds.Payload] = {}
        times: dict[int, datetime | None] = {}
        for index, item in enumerate(given or ()):
            here = spot / "given" / index
            if isinstance(item, GivenEvent):
                times[index] = self._time(item.time, here / "time") if item.time else None
                payload = _payload(item, start, here)
                if payload is not None:
                    payloads[index] = payload
            elif isinstance(item, Repeat) and not any(isinstance(one, GivenEvent) for one in (given or ())[:index]):
                here.problem("`repeat` sends the event before once more, and there is none")
        expect = self._expected(spot / "expect", len(part.expect or ()))
        expect_not = self._expected(spot / "expect_not", len(part.expect_not))
        items = tuple(item for item in given or () if item is not None)
        return Trial(part, items, spot.file, spot.line, start, payloads, times, expect, expect_not)

    @staticmethod
    def _given(spot: Spot, value: Any) -> list[GivenEvent | Wait | Repeat | None] | None:
        """Return the items; None for one that cannot be understood, and for all if this is no list of some."""
        content = value.get("given") if isinstance(value, dict) else None
        if not isinstance(content, list) or not content:
            return None
        shapes: dict[str, type[GivenEvent | Wait | Repeat]] = {"wait": Wait, "repeat": Repeat, "event": GivenEvent}
        return [(spot / number).read(shapes[given_shape(item)]) for number, item in enumerate(content)]

    def _time(self, text: str, spot: Spot) -> datetime | None:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            spot.problem(f"{text!r} is not a time; write 2026-01-31T18:00:00, with +01:00 or in the site's zone")
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=self._place.zone)

    def _expected(self, spot: Spot, count: int) -> tuple[Expected, ...]:
        found = [self._one_expected(spot / number) for number in range(count)]
        return tuple(one for one in found if one is not None)

    def _one_expected(self, spot: Spot) -> Expected | None:
        value = spot.value
        if not isinstance(value, dict) or len(value) != 1:
            spot.problem(
                f"an expected order is an action and its parameters, like `open: main-gate`; got {shown(value)}"
            )
            return None
        [(action, params)] = value.items()
        spec = self._actions.get(action)
        if spec is None:
            (spot / action).problem(unknown("action", action, sorted(self._actions)), key=True)
            return None
        if params is None:
            params = {}
        elif not isinstance(params, dict):
            if spec.shorthand is None:
                (spot / action).problem(f"`{action}` takes a mapping of parameters, got {shown(params)}")
                return None
            params = {spec.shorthand: params}
        names = param_names(spec)
        for key in params:
            if key not in names:
                hint = " (it is no part of the order)" if key in RESERVED else ""
                (spot / action / key).problem(unknown_key(key, names) + hint, key=True)
        return Expected(action, params)


# --- events in short form --------------------------------------------------------------------------------


def _payload(given: GivenEvent, start: datetime, spot: Spot) -> kinds.Payload | None:
    model = payload_model(given.kind)
    if model is None:
        (spot / "kind").problem(unknown("kind", given.kind, sorted(PAYLOADS)))
        return None
    origins = sorted(origin.value for origin in Origin)
    if given.origin not in origins:
        (spot / "origin").problem(unknown("origin", given.origin, origins))
    if given.time and given.age:
        (spot / "age").problem("give `time` or `age`, not both", key=True)
    return (spot / "data" if given.data else spot).read(model, value=_filled(given.kind, model, given.data, start))


def _filled(kind: str, model: type[BaseModel], data: Mapping[str, Any], start: datetime) -> dict[str, Any]:
    """Return a payload's fields: those of the test, and something sensible for what it must have besides."""
    filled = {name: _as_text(kind, name, value) for name, value in data.items()}
    if (kind, "plate") in PLATE_FIELDS and isinstance(filled.get("plate"), str):
        filled.setdefault("plate_raw", filled["plate"])
        filled["plate"] = canonical_plate(filled["plate"])
    for name, info in model.model_fields.items():
        if info.is_required() and name not in filled:
            filled[name] = _example(info.annotation, start)
    return filled


def _as_text(kind: str, name: str, value: Any) -> Any:
    """Numbers for fields of text are as good as texts, in tests as in rules."""
    try:
        field = field_of(kind, name)
    except LookupError:
        return value
    if field.type is not Type.TEXT:
        return value
    if isinstance(value, list):
        return [str(item) if type(item) is int else item for item in value]
    return str(value) if type(value) is int else value


def _example(annotation: Any, start: datetime) -> Any:
    bare, many = unwrap(annotation)
    if many:
        return []
    if get_origin(bare) is Literal:
        return get_args(bare)[0]
    if bare in (datetime, AwareDatetime):
        return start
    return {str: "test", bool: True, int: 0, float: 0.0}.get(bare)
