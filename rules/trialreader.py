"""The `tests:` of a rule file, read and checked: events made whole, expectations understood."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo, available_timezones

from pydantic import ValidationError

from bridge.sdk import ActionSpec, kinds, parse_moment, unknown
from rules.coverage import conditions_of
from rules.expected import Expected
from rules.report import Report, Spot, named_rule, shown, unknown_key
from rules.rule import Rule, Trigger
from rules.ruleset import Documents, SiteSettings
from rules.shortform import payload_of
from rules.stateof import untold
from rules.stepreader import RESERVED
from rules.steps import param_names
from rules.trialmodel import (
    INCONCLUSIVE,
    MOST_EXPECTED,
    RULE,
    SHAPES,
    GivenEvent,
    GivenList,
    GivenMode,
    ListChange,
    Repeat,
    SitePart,
    TestPart,
    UnmetPart,
    Wait,
    given_shape,
)

_GIVEN = [{"wait": "1s"}]
"""Stands for what is given while the rest of a test is read."""
_NO_TEST = TestPart.model_validate({"name": "?", "given": _GIVEN, "expect": []})
"""Stands for a test of which too little can be understood, while its parts are looked at."""
_EXPECTED = ("expect", "expect_some", "expect_not")
DEFAULT_START = "2026-01-05T12:00:00"
"""A Monday, noon; the site's wall clock."""
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Between these all tests play."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a list. `lasts`: so long from when it is made."""

    data: kinds.ListChanged
    lasts: timedelta | None = None

    def at(self, moment: datetime) -> kinds.ListChanged:
        """Return what is changed, if it is changed at that moment."""
        return self.data if self.lasts is None else self.data.model_copy(update={"valid_until": moment + self.lasts})


Given = GivenEvent | GivenMode | GivenList | Wait | Repeat


@dataclass(frozen=True, slots=True)
class Trial:
    """A test, ready to run. `payloads`, `changes` and `times` belong to the items of `given`."""

    part: TestPart
    given: tuple[Given, ...]
    file: str
    line: int
    start: datetime
    site: SiteSettings
    payloads: Mapping[int, kinds.Payload]
    changes: Mapping[int, Change]
    times: Mapping[int, datetime | None]
    lists: tuple[Change, ...]
    """What is changed in lists when it begins."""
    expect: tuple[Expected, ...]
    expect_some: tuple[Expected, ...]
    expect_not: tuple[Expected, ...]

    @property
    def name(self) -> str:
        """What it shows."""
        return self.part.name


@dataclass(frozen=True, slots=True)
class Testing:
    """What tests may name."""

    __test__ = False  # pytest: this is no test class

    actions: Mapping[str, ActionSpec[Any]]
    site: SiteSettings
    lists: Collection[str]
    rules: Sequence[tuple[Rule, Sequence[Trigger]]]
    modes: frozenset[str] | None = None
    """None: any."""
    broken: frozenset[str] = frozenset()
    """What has mistakes, as messages call it: `rule gate`."""

    def rules_in(self, file: str) -> dict[str, tuple[Rule, Sequence[Trigger]]]:
        """Return the rules that the tests of a file see, by id."""
        return {rule.id: (rule, triggers) for rule, triggers in self.rules if rule.file == file}


def read_trials(report: Report, testing: Testing) -> list[Trial]:
    """Return the tests of a file; reports what is wrong with them."""
    spot = report.at(("tests",))
    content = report.root.value.get("tests")
    if content is None:
        return []
    if not isinstance(content, list):
        spot.problem(f"`tests` is a list, each test starting with `- name:`; got {shown(content)}")
        return []
    rules, broken = testing.rules_in(report.file), _broken(report, testing)
    trials = [
        _TrialReader(testing, rules, broken).read(spot / number, number)
        for number in range(len(content))
        if not report.full
    ]
    return [trial for trial in trials if trial is not None]


def _broken(report: Report, testing: Testing) -> frozenset[str]:
    """Return the rules of a file that have mistakes: they may be missing, or have conditions that nobody knows."""
    rules = report.root.value.get("rules")
    parts = [report.at(("rules", number)) for number in range(len(rules))] if isinstance(rules, list) else []
    named = {str(part.value.get("id")): named_rule(part, 0).where for part in parts if isinstance(part.value, dict)}
    return frozenset(name for name, where in named.items() if where in testing.broken)


def site_of_tests(documents: Documents) -> SiteSettings:
    """Return a site for rule files that have none: the sun is where the first test that says so has it."""
    for _, tree in sorted(documents.trees.items()):
        tests = tree.value.get("tests") if isinstance(tree.value, dict) else None
        for test in tests if isinstance(tests, list) else ():
            try:
                part = SitePart.model_validate(test.get("site") or {} if isinstance(test, dict) else {})
            except ValidationError:
                continue  # the compiler says why
            if part.latitude is not None or part.sunrise is not None:
                return _moved(SiteSettings(), part.model_copy(update={"zone": None}))
    return SiteSettings()


def _moved(site: SiteSettings, part: SitePart) -> SiteSettings:
    changed: dict[str, Any] = part.model_dump(include={"zone", "latitude", "longitude"}, exclude_none=True)
    if part.sunrise is not None and part.sunset is not None:
        changed["sun"] = (part.sunrise.offset, part.sunset.offset)
    elif part.latitude is not None:
        changed["sun"] = None  # it is where this test says, whatever another one has told the site
    return replace(site, **changed)


def _length(value: Any, key: str) -> int:
    """Return how many items a test has under a key."""
    items = value.get(key) if isinstance(value, dict) else None
    return min(len(items), MOST_EXPECTED) if isinstance(items, list) else 0


class _TrialReader:
    """Reads one test."""

    def __init__(
        self, testing: Testing, rules: Mapping[str, tuple[Rule, Sequence[Trigger]]], broken: frozenset[str]
    ) -> None:
        self._testing, self._actions, self._rules, self._broken = testing, testing.actions, rules, broken
        self._site = testing.site

    def read(self, spot: Spot, number: int) -> Trial | None:
        value = spot.value
        name = value.get("name") if isinstance(value, dict) else None
        spot = spot.named(f"test {name!r}" if isinstance(name, str) else f"test #{number + 1}")
        given = self._given(spot / "given", value)
        # The items are read one by one, so that a mistake in one hides none in another.
        stand_in = {**value, "given": _GIVEN} if given is not None and isinstance(value, dict) else value
        whole = spot.read(TestPart, value=stand_in)
        if whole is None and not isinstance(value, dict):
            return None
        part = whole or _NO_TEST
        self._site = self._placed(part.site, spot / "site")
        start = self._time(part.at, spot / "at") if part.at else None
        start = start or datetime.fromisoformat(DEFAULT_START).replace(tzinfo=self._zone)
        payloads: dict[int, kinds.Payload] = {}
        changes: dict[int, Change] = {}
        now = start
        times: dict[int, datetime | None] = {}
        for index, item in enumerate(given or ()):
            here = spot / "given" / index
            if isinstance(item, GivenEvent):
                times[index] = self._time(item.time, here / "time") if item.time else None
                payload = payload_of(item, start, here)
                if payload is not None:
                    payloads[index] = payload
            elif isinstance(item, Wait):
                if now <= LAST < (now := now + item.wait):
                    (here / "wait").problem(f"the test would wait beyond {LAST.year}")
            elif isinstance(item, GivenMode):
                self._mode_known(item.mode, here / "mode")
            elif isinstance(item, GivenList):
                changes[index] = self._change(item.list, item, here, here / "list")
            elif isinstance(item, Repeat) and not any(isinstance(one, GivenEvent) for one in (given or ())[:index]):
                here.problem("`repeat` sends the event before once more, and there is none")
        lists = [
            self._change(name, change, spot / "lists" / name, spot / "lists" / name)
            for name, change in part.lists.items()
        ]
        if part.mode is not None:
            self._mode_known(part.mode, spot / "mode")
        for entity, attributes in part.state.items():
            for attribute, known in attributes.items():
                why = untold(entity, attribute, known, self._testing.modes)
                if why is not None:
                    (spot / "state" / entity / attribute).pointless(f"`state` of {shown(entity)}: {why}")
        self._steps_known(part.results, spot / "results")
        for index, unmet in enumerate(part.expect_unmet):
            self._unmet(unmet, spot / "expect_unmet" / index)
        expected = {key: self._expected(spot / key, _length(value, key)) for key in _EXPECTED}
        if whole is None:
            return None
        return Trial(
            part,
            tuple(item for item in given or () if item is not None),
            spot.file,
            spot.line,
            start,
            self._site,
            payloads,
            changes,
            times,
            tuple(lists),
            **expected,
        )

    @staticmethod
    def _given(spot: Spot, value: Any) -> list[Given | None] | None:
        """Return the items; None for one that cannot be understood, and for all if this is no list of some."""
        content = value.get("given") if isinstance(value, dict) else None
        if not isinstance(content, list) or not content:
            return None
        return [cast("Given | None", (spot / n).read(SHAPES[given_shape(item)])) for n, item in enumerate(content)]

    # --- place and time -----------------------------------------------------------------------------

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self._site.zone)

    def _placed(self, part: SitePart, spot: Spot) -> SiteSettings:
        """Return the site with what the test says of it."""
        if part.zone is not None and part.zone not in available_timezones():
            (spot / "zone").problem(unknown("zone", part.zone, sorted(available_timezones())))
            part = part.model_copy(update={"zone": None})
        return _moved(self._testing.site, part)

    def _time(self, text: str, spot: Spot) -> datetime | None:
        try:
            moment = parse_moment(text)
        except ValueError:
            spot.problem(f"{text!r} is not a time; write 2026-01-31T18:00:00, with +01:00 or in the site's zone")
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=self._zone)
        if not FIRST <= moment <= LAST:
            spot.problem(f"{text!r} is not between {FIRST.year} and {LAST.year}, where tests play")
            return None
        return moment

    # --- names --------------------------------------------------------------------------------------

    def _mode_known(self, mode: str, spot: Spot) -> None:
        modes = self._testing.modes
        if modes is not None and mode not in modes:
            spot.problem(f"`mode`: {unknown('mode', mode, modes)}")

    def _steps_known(self, results: Collection[str], spot: Spot) -> None:
        """Warn of an end for a step that no rule has: it changes nothing."""
        if not self._broken:
            steps = {step.name for rule, _ in self._rules.values() for step in rule.steps if step.name is not None}
            for name in results:
                if name not in steps:
                    (spot / name).warning(unknown("step of this file", name, sorted(steps)), key=True)

    # --- lists --------------------------------------------------------------------------------------

    def _change(self, name: str, change: ListChange, spot: Spot, named: Spot) -> Change:
        if name not in self._testing.lists:
            named.problem(unknown("list", name, sorted(self._testing.lists)), key=named.path == spot.path)
        fields = {
            "list": name,
            "added": change.add,
            "removed": change.remove,
            "reset": change.reset,
            "valid_from": self._time(change.since, spot / "from") if change.since else None,
            "valid_until": self._time(change.until, spot / "until") if change.until else None,
            "tags": change.tags,
        }
        try:
            return Change(kinds.ListChanged.model_validate(fields), change.lasts)
        except ValidationError as error:
            spot.problem(f"`{error.errors()[0]['loc'][0]}`: {error.errors()[0]['msg']}")
            return Change(kinds.ListChanged(list=name))

    # --- what is expected ---------------------------------------------------------------------------

    def _unmet(self, part: UnmetPart, spot: Spot) -> None:
        """Check that the rule is there, and that this condition can keep it from firing."""
        if self._known_rule(part.rule, spot / "rule") and part.rule not in self._broken and part.by != INCONCLUSIVE:
            rule, triggers = self._rules[part.rule]
            names = conditions_of(rule, triggers)
            if part.by not in names:
                message = unknown(f"condition of rule {rule.id}", part.by, sorted({*names, INCONCLUSIVE}))
                (spot / "by").problem(message)

    def _known_rule(self, name: Any, spot: Spot) -> bool:
        known = self._rules.keys() | self._broken
        if name not in known:
            spot.problem(unknown("rule of this file", str(name), known))
        return name in known

    def _expected(self, spot: Spot, count: int) -> tuple[Expected, ...]:
        found = [self._one_expected(spot / number) for number in range(count)]
        return tuple(one for one in found if one is not None)

    def _one_expected(self, spot: Spot) -> Expected | None:
        value = spot.value
        ordered = {key: item for key, item in value.items() if key != RULE} if isinstance(value, dict) else {}
        if len(ordered) != 1:
            spot.problem(
                f"an expected order is an action and its parameters, like `open: main-gate`; got {shown(value)}"
            )
            return None
        if RULE in value:
            self._known_rule(value[RULE], spot / RULE)
        [(action, params)] = ordered.items()
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
        return Expected(action, params, value.get(RULE))
