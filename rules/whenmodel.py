"""What the `when` of a rule may say. Which keys belong together is told by `SHAPES`; what they name, by the reader."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    JsonValue,
    StrictInt,
    StringConstraints,
    Tag,
    WithJsonSchema,
)

from bridge.sdk import Duration
from rules.parts import ITEM_OR_LIST, Days, Expression, Part, Positive, TimeOfDay, Words, as_list
from rules.schedules import ALL_DAYS

MOST_EVENTS = 1000
LONGEST = timedelta(days=31)
"""The longest span that anything is waited for."""
_LATEST = timedelta(days=1)
_SOON = timedelta(seconds=60)


def _bounded(value: timedelta) -> timedelta:
    if value > LONGEST:
        raise ValueError("must not be longer than 31 days")
    return value


def _not_too_late(value: timedelta) -> timedelta:
    if not timedelta() <= value <= _LATEST:
        raise ValueError("must not be longer than 1 day")
    return value


def _soon(value: timedelta) -> timedelta:
    if value > _SOON:
        raise ValueError("must not be longer than 60s; nothing is moved later than that after its time")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("must be a number")
    return float(value)


Span = Annotated[Positive, AfterValidator(_bounded)]
Number = Annotated[float, BeforeValidator(_number)]
Include = Annotated[
    tuple[Literal["resync"], ...],
    BeforeValidator(as_list),
    WithJsonSchema({"anyOf": [{"const": "resync"}, {"type": "array", "items": {"const": "resync"}}]}),
]
_INCLUDE = "`resync`: fire also from differences found when a source came back, which are no live edges."


class Selector(Part):
    """Events of one kind."""

    kind: str = Field(description="The kind of event.")
    source: Words | None = Field(None, description="Name of the source, or several. Default: any.")
    channel: Words | None = Field(None, description="Channel, or the code of lot or device. Default: any.")
    include: Include = Field((), description=_INCLUDE)
    match: dict[str, JsonValue] = Field(
        default_factory=dict, description="Fields of the event's data and what they must be."
    )
    per: (
        Annotated[tuple[Expression, ...], BeforeValidator(as_list), Field(min_length=1, max_length=16), ITEM_OR_LIST]
        | None
    ) = Field(None, description="What this event is told apart by, where it is another field than the rule's `per`.")


_ANY_OR_NONE = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})


class WaitFor(Selector):
    """An event that a step waits for."""

    per: Annotated[tuple[Expression, ...], BeforeValidator(as_list), Field(max_length=16), _ANY_OR_NONE] | None = Field(
        None,
        description="What tells whose event it is, where it is another field than the rule's `per`. "
        "[]: it does not matter whose.",
    )
    within: Span = Field(description="How long to wait.")


class Not(Part):
    """Must not come between the event before and the one after."""

    event: Selector = Field(alias="not", description="The event that must not come in between.")


def _stage(value: Any) -> str:
    return "not" if isinstance(value, Not) or (isinstance(value, dict) and "not" in value) else "event"


Stage = Annotated[Annotated[Selector, Tag("event")] | Annotated[Not, Tag("not")], Discriminator(_stage)]


class Heard(Part):
    """What must be heard from time to time."""

    kind: str | None = Field(None, description="The kind of event. Default: anything.")
    source: Words | None = Field(None, description="Name of the source, or several. Default: any.")
    channel: Words | None = Field(None, description="Channel, or the code of lot or device. Default: any.")
    match: dict[str, JsonValue] = Field(
        default_factory=dict, description="Fields of the event's data and what they must be."
    )


def _as_heard(value: Any) -> Any:
    return {"source": value} if isinstance(value, (str, int, list)) and not isinstance(value, bool) else value


class Sum(Part):
    """A field whose values are added up."""

    field: str = Field(description="A field of the event's data that is a number.")
    at_least: Number = Field(description="So much together.")


class Distinct(Part):
    """A field whose different values are counted."""

    field: str = Field(description="A field of the event's data.")
    at_least: StrictInt = Field(ge=2, le=MOST_EVENTS, description="So many different values.")


Rate = Annotated[
    str,
    StringConstraints(pattern=r"^\d+(\.\d+)?/(s|m|h|d)$"),
    WithJsonSchema({"type": "string", "examples": ["10/m", "0.5/s"]}),
]


Times = Annotated[
    tuple[TimeOfDay, ...],
    BeforeValidator(as_list),
    Field(min_length=1, max_length=48),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
            "examples": ["07:30", ["sunrise", "sunset-15m"]],
        }
    ),
]


class When(Part):
    """What may make the rule fire."""

    kind: str | None = Field(None, description="The kind of event.")
    source: Words | None = Field(None, description="Name of the source, or several. Default: any.")
    channel: Words | None = Field(None, description="Channel, or the code of lot or device. Default: any.")
    include: Annotated[
        tuple[Literal["resync", "inconclusive"], ...],
        BeforeValidator(as_list),
        WithJsonSchema(
            {
                "anyOf": [
                    {"enum": ["resync", "inconclusive"]},
                    {"type": "array", "items": {"enum": ["resync", "inconclusive"]}},
                ]
            }
        ),
    ] = Field(
        (),
        description=f"{_INCLUDE} `inconclusive`, for `absent` and `silent`: fire also when a source was not "
        "connected all the while and nobody can know.",
    )
    for_: Span | None = Field(None, alias="for", description="It stayed true so long; with `silent`: nothing so long.")
    until: Selector | None = Field(
        None, description="What ends it. Default: the kind's counterpart (motion.ended), or that `match` is not true."
    )
    count: Annotated[StrictInt, Field(ge=2, le=MOST_EVENTS)] | None = Field(None, description="So many events.")
    sum_: Sum | None = Field(None, alias="sum", description="A field's values together are so much.")
    distinct: Distinct | None = Field(None, description="A field has so many different values.")
    rate: Rate | None = Field(None, description="So many events for each s, m, h or d, on average: 10/m.")
    within: Span | None = Field(None, description="The span in which all of it must happen; it slides.")
    sequence: Annotated[tuple[Stage, ...], Field(min_length=2, max_length=16)] | None = Field(
        None, description="Events in order; `{not: ...}` between two: must not come in between."
    )
    absent: Selector | None = Field(None, description="What does not follow.")
    after: Selector | None = Field(None, description="What it should have followed.")
    any_: Annotated[tuple[Selector, ...], Field(min_length=2, max_length=32)] | None = Field(
        None, alias="any", description="One of these events."
    )
    all_: Annotated[tuple[Selector, ...], Field(min_length=2, max_length=16)] | None = Field(
        None, alias="all", description="Each of these events, in any order."
    )
    field: str | None = Field(None, description="The number that rises or falls.")
    rises_above: Number | None = Field(None, description="It becomes more than this.")
    falls_below: Number | None = Field(None, description="It becomes less than this.")
    rearm_below: Number | None = Field(
        None, description="After `rises_above`: only again when it was less than this. Default: not above."
    )
    rearm_above: Number | None = Field(
        None, description="After `falls_below`: only again when it was more than this. Default: not below."
    )
    silent: (
        Annotated[
            Heard,
            BeforeValidator(_as_heard),
            WithJsonSchema(
                {
                    "anyOf": [
                        {"type": "string"},
                        {"type": "array", "items": {"type": "string"}, "minItems": 1},
                        {"$ref": "#/$defs/Heard"},
                    ]
                }
            ),
        ]
        | None
    ) = Field(None, description="A source, or events, of which nothing is heard.")
    every: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        None, description='A cron expression: "0 6 * * mon-fri".'
    )
    zone: str | None = Field(None, description="The zone of `every`: Europe/Berlin. Default: the site's.")
    at: Times | None = Field(None, description='A time of day, or several: "07:30", sunset-15m.')
    days: Days = Field(ALL_DAYS, description="The days of `at`: mon-fri, [sat, sun]. Default: all.")
    lateness: Annotated[Duration, AfterValidator(_not_too_late)] | None = Field(
        None, description="How late an event may come and still be placed by its own time. Default: 10s."
    )
    max_lateness: Annotated[Positive, AfterValidator(_soon)] | None = Field(
        None, description="For `every` and `at`: this may open and switch, at most so long after its time (up to 60s)."
    )


class Shape(NamedTuple):
    """The keys of one way to say when."""

    needs: frozenset[str]
    may: frozenset[str]
    example: str


_PLACE = frozenset({"kind", "source", "channel", "include"})


def _shape(needs: str, may: str, example: str, *, placed: bool = False) -> Shape:
    needed = frozenset(needs.split())
    return Shape(
        needed | ({"kind"} if placed else set()), frozenset(may.split()) | (_PLACE if placed else set()), example
    )


SHAPES: dict[str, Shape] = {
    "sequence": _shape("within", "lateness", "{sequence: [{kind: ...}, {kind: ...}], within: 30s}"),
    "all": _shape("within", "lateness", "{all: [{kind: ...}, {kind: ...}], within: 30s}"),
    "any": _shape("", "", "{any: [{kind: ...}, {kind: ...}]}"),
    "absent": _shape("after within", "lateness include", "{absent: {kind: ...}, after: {kind: ...}, within: 60s}"),
    "silent": _shape("for", "include", "{silent: nvr1, for: 5m}"),
    "every": _shape("", "zone max_lateness", '{every: "0 6 * * mon-fri"}'),
    "at": _shape("", "days max_lateness", "{at: sunset-15m}"),
    "count": _shape("within", "lateness", "{kind: motion.started, count: 3, within: 10m}", placed=True),
    "sum": _shape("within", "lateness", "{kind: ..., sum: {field: ..., at_least: 100}, within: 1h}", placed=True),
    "distinct": _shape(
        "within", "lateness", "{kind: plate.read, distinct: {field: plate, at_least: 5}, within: 10m}", placed=True
    ),
    "rate": _shape("within", "lateness", "{kind: motion.started, rate: 10/m, within: 5m}", placed=True),
    "rises_above": _shape(
        "field", "rearm_below lateness", "{kind: parking.count, field: count, rises_above: 95}", placed=True
    ),
    "falls_below": _shape(
        "field", "rearm_above lateness", "{kind: parking.count, field: available, falls_below: 5}", placed=True
    ),
    "for": _shape("", "until lateness", "{kind: motion.started, for: 30s}", placed=True),
    "kind": _shape("", "", "{kind: plate.read}", placed=True),
}
"""Every way to say when, by the key that tells it; where several are there the first counts."""
