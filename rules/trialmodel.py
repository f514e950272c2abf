"""What the `tests:` of a rule file may say, as frozen models. Only shapes; what a name means the reader settles."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, JsonValue, StrictInt, Tag, WithJsonSchema, model_validator

from bridge.sdk import Duration
from rules.parts import Name, Part, Positive, TimeOfDay, Word, Words

INCONCLUSIVE = "inconclusive"
"""What a rule did not fire `by` when nobody can know."""
MOST_EXPECTED = 1_000
"""Orders that one test expects."""
MOST_UNWANTED = 100
"""Orders and firings that one test must not see; each is held against everything that happens in it."""
RULE = "rule"
"""Stands beside an expected order and says whose it must be."""


class GivenEvent(Part):
    """An event of a test. What is left out gets a sensible value."""

    kind: str = Field(description="The kind of event.")
    source: Word | None = Field(
        None, description="Name of the source. Default: `nvr1`; `bridge` for what only the bridge tells."
    )
    channel: Word | None = Field(None, description="Channel, or the code of lot or device.")
    data: dict[str, JsonValue] = Field(default_factory=dict, description="Fields of the data that matter here.")
    time: str | None = Field(None, description="When it happened. Default: the moment the test has reached.")
    age: Duration | None = Field(None, description="How long ago it happened; instead of `time`.")
    origin: str | None = Field(
        None,
        description="Provenance: live, backfill, resync, ... Default: `live`; `bridge` for what only the bridge tells.",
    )
    id: str | None = Field(None, description="The event's id, where it matters.")


class Wait(Part):
    """Let time pass."""

    wait: Duration = Field(description="How long.")


class Repeat(Part):
    """Send the event before once more, or several times."""

    repeat: StrictInt = Field(ge=1, le=10_000, description="How often.")


class GivenMode(Part):
    """Put the site into another mode, as `set_mode` and people do."""

    mode: Word = Field(description="The mode.")


class ListChange(Part):
    """What changes in a list; the rest of it stays as its file says."""

    add: Words = Field((), description="A value, or several, listed from now on.")
    remove: Words = Field((), description="A value, or several, listed no longer.")
    reset: Words = Field((), description="A value, or several, for which the file counts again.")
    since: str | None = Field(None, alias="from", description="What is added counts from then on.")
    until: str | None = Field(None, description="So long it counts; without offset: the site's zone.")
    lasts: Positive | None = Field(None, alias="for", description="So long it counts, from now on.")
    tags: Words = Field((), description="How what is added is tagged.")

    @model_validator(mode="after")
    def _some(self) -> ListChange:
        if not (self.add or self.remove or self.reset):
            raise ValueError("changes nothing; give `add`, `remove` or `reset`")
        if self.until is not None and self.lasts is not None:
            raise ValueError("give `for` or `until`, not both")
        return self


class GivenList(ListChange):
    """Change a list, as `add_to_list`, `remove_from_list` and people do."""

    list: Word = Field(description="The list.")


SHAPES: dict[str, type[Part]] = {
    "wait": Wait,
    "repeat": Repeat,
    "mode": GivenMode,
    "list": GivenList,
    "event": GivenEvent,
}
"""What a test can give, by the key that tells."""


def given_shape(value: Any) -> str:
    """Return which of the things that a test can give this is meant to be."""
    keys = value.keys() if isinstance(value, dict) else ()
    return next((name for name in SHAPES if name in keys and "kind" not in keys), "event")


Given = Annotated[
    Annotated[GivenEvent, Tag("event")]
    | Annotated[Wait, Tag("wait")]
    | Annotated[Repeat, Tag("repeat")]
    | Annotated[GivenMode, Tag("mode")]
    | Annotated[GivenList, Tag("list")],
    Discriminator(given_shape),
]


def _as_change(value: Any) -> Any:
    return value if isinstance(value, (dict, ListChange)) else {"add": value}


_CHANGE = {"$ref": "#/$defs/ListChange"}
_VALUES = {"type": ["string", "integer"]}
ListAtFirst = Annotated[
    ListChange,
    BeforeValidator(_as_change),
    WithJsonSchema({"anyOf": [_VALUES, {"type": "array", "items": _VALUES, "minItems": 1}, _CHANGE]}),
]


class SitePart(Part):
    """Where a test plays; what is left out is as the site has it."""

    zone: str | None = Field(None, description="Time zone: Europe/Berlin.")
    latitude: float | None = Field(None, ge=-90, le=90, description="Degrees north, for the sun.")
    longitude: float | None = Field(None, ge=-180, le=180, description="Degrees east, for the sun.")
    sunrise: TimeOfDay | None = Field(None, description="The sun rises at this time, every day, wherever it is.")
    sunset: TimeOfDay | None = Field(None, description="The sun sets at this time, every day, wherever it is.")

    @model_validator(mode="after")
    def _belongs(self) -> SitePart:
        for one, other in (("latitude", "longitude"), ("sunrise", "sunset")):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise ValueError(f"`{one}` and `{other}` belong together")
        if self.sunrise is not None and self.sunset is not None:
            if self.sunrise.sun or self.sunset.sun:
                raise ValueError('write `sunrise` and `sunset` as times: "06:00"')
            if self.sunset.offset <= self.sunrise.offset:
                raise ValueError("`sunrise` must be before `sunset`")
        return self


class StepEnd(Part):
    """How a named step ends in a test."""

    outcome: Literal["done", "expired", "refused", "dead", "unknown", "pending"] = Field(
        "done", description="`pending`: it does not end; its followers go at their deadline."
    )
    output: dict[str, JsonValue] = Field(default_factory=dict, description="What it gives to its followers.")
    after: Duration = Field(timedelta(), description="How long it takes.")


class UnmetPart(Part):
    """A rule looks at something and does not fire, and why."""

    rule: Name = Field(description="The rule.")
    by: str = Field(description="The first condition that does not hold: cooldown, match.score, if, inconclusive, ...")
    wanted: str | None = Field(None, description="What it wants, in the words of the trace.")
    seen: JsonValue = Field(None, description="What it sees.")
    key: str | None = Field(None, description="For which key.")
    times: StrictInt | None = Field(None, ge=1, description="How often exactly. Default: at least once.")


class TestPart(Part):
    """A test of this file's rules: events in, orders out, with a clock of its own."""

    __test__ = False  # pytest: this is no test class

    name: str = Field(min_length=1, description="What it shows.")
    at: str | None = Field(None, description="When it begins; without offset: the site's zone. Default: a Monday noon.")
    site: SitePart = Field(default_factory=SitePart, description="Where it plays. Default: the site of the rules.")
    mode: Word | None = Field(None, description="The mode of the site when it begins. Default: none.")
    lists: dict[str, ListAtFirst] = Field(
        default_factory=dict,
        description="What is listed when it begins besides what the file lists: values, or `add`, `remove`, ...",
    )
    state: dict[str, dict[str, JsonValue]] = Field(
        default_factory=dict, description="What is known before: entity, then attribute and value."
    )
    given: tuple[Given, ...] = Field(min_length=1, description="Events, waits and changes, in order.")
    results: dict[str, StepEnd] = Field(
        default_factory=dict, description="How steps named with `as` end; without it at once and well."
    )
    expect: tuple[dict[str, JsonValue], ...] | None = Field(
        None,
        max_length=MOST_EXPECTED,
        description="All orders, in order; parameters may be left out. []: nothing happens.",
    )
    expect_some: tuple[dict[str, JsonValue], ...] = Field(
        (), max_length=MOST_EXPECTED, description="Orders that must be among them, in this order; others may be too."
    )
    expect_not: tuple[dict[str, JsonValue], ...] = Field(
        (), max_length=MOST_UNWANTED, description="Orders that must not be among them."
    )
    expect_unmet: tuple[UnmetPart, ...] = Field(
        (), max_length=MOST_UNWANTED, description="Rules that do not fire, and by which condition."
    )

    @model_validator(mode="after")
    def _expects(self) -> TestPart:
        if self.expect is None and not (self.expect_not or self.expect_some or self.expect_unmet):
            raise ValueError(
                "give `expect`, `expect_some`, `expect_not` or `expect_unmet`; `expect: []` means that nothing happens"
            )
        if self.expect is not None and self.expect_some:
            raise ValueError("`expect` says all orders, `expect_some` not all; give one of them")
        return self
