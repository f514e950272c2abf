"""What a rule file may say, as frozen models that refuse unknown keys.

Only shapes live here. What a name means (kinds, fields, actions, lists) is checked by the compiler,
which knows them. Field descriptions are the reference: the JSON Schema and the docs are made from them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    JsonValue,
    PlainSerializer,
    PlainValidator,
    StrictBool,
    StrictInt,
    Tag,
    WithJsonSchema,
    model_validator,
)

from rules.parts import ITEM_OR_LIST, Days, Expression, Name, Part, Positive, TimeOfDay, Word, Words, as_list
from rules.resting import Concurrency, Limit, parse_limit
from rules.schedules import ALL_DAYS, Window
from rules.whenmodel import When


class WindowPart(Part):
    """A span of the day by the site's wall clock; may cross midnight."""

    start: TimeOfDay | None = Field(None, alias="from", description='First moment: "22:00", sunset-15m.')
    end: TimeOfDay | None = Field(None, alias="to", description='First moment after it: "06:00", sunrise.')
    days: Days = Field(
        ALL_DAYS, description="Days on which it starts: mon-fri, [sat, holiday], workday, not holiday. Default: all."
    )

    @model_validator(mode="after")
    def _whole(self) -> WindowPart:
        if (self.start is None) != (self.end is None):
            raise ValueError("`from` and `to` belong together")
        if self.start is None and self.days == ALL_DAYS:
            every = "all days, all day, is no limit; leave it out, or give `from` and `to`"
            raise ValueError(every if "days" in self.model_fields_set else "is empty; give `from` and `to`, or `days`")
        if self.start is not None and self.start == self.end:
            raise ValueError("`from` and `to` are the same time; for whole days give `days` alone")
        return self

    def window(self) -> Window:
        """Return what the engine uses."""
        if self.start is None or self.end is None:
            return Window(days=self.days)
        return Window(self.start, self.end, self.days)


def _shape(value: Any) -> str:
    """Return which form of `during` this is; asked for what was written and for what was made of it."""
    if isinstance(value, str):
        return "name"
    if isinstance(value, (list, tuple)):
        return "windows"
    return "not" if isinstance(value, NotDuring) or (isinstance(value, dict) and "not" in value) else "window"


class NotDuring(Part):
    """Outside of a schedule."""

    outside: Annotated[
        Annotated[str, Tag("name")]
        | Annotated[WindowPart, Tag("window")]
        | Annotated[tuple[WindowPart, ...], Tag("windows")],
        Discriminator(lambda value: "window" if _shape(value) == "not" else _shape(value)),
    ] = Field(alias="not", description="A schedule's name, a window, or several.")


During = Annotated[
    Annotated[str, Tag("name")]
    | Annotated[WindowPart, Tag("window")]
    | Annotated[tuple[WindowPart, ...], Tag("windows")]
    | Annotated[NotDuring, Tag("not")],
    Discriminator(_shape),
]


class NotMode(Part):
    """Outside of some modes."""

    modes: Words = Field(alias="not", description="A mode, or several.")


ModeGate = Annotated[
    Annotated[Words, Tag("modes")] | Annotated[NotMode, Tag("not")],
    Discriminator(lambda value: "not" if isinstance(value, (dict, NotMode)) else "modes"),
]


class ListPart(Part):
    """A named list of plates, or of any texts."""

    plates: str | tuple[Word, ...] | None = Field(
        None,
        description="A CSV file (plate, valid_from, valid_until, days, hours, tags), by its path from here; or plates.",
    )
    values: tuple[Word, ...] | None = Field(None, description="Texts, compared as they are.")
    tags: tuple[Word, ...] = Field(
        (),
        description="Tags that rules may ask for though no entry of the file has them: what is added at run time may.",
    )

    @model_validator(mode="after")
    def _one(self) -> ListPart:
        if (self.plates is None) == (self.values is None):
            raise ValueError("give `plates` or `values`")
        return self


LimitText = Annotated[
    Limit,
    PlainValidator(parse_limit),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["5 per hour", "1 per 10m"]}),
]


class RulePart(Part):
    """One rule."""

    id: Name = Field(description="Unique among all rule files; orders and traces carry it.")
    description: str | None = Field(None, description="For people.")
    when: When = Field(description="What may make it fire.")
    match: dict[str, JsonValue] = Field(
        default_factory=dict, description="Fields of the event's data and what they must be."
    )
    condition: Expression | None = Field(None, alias="if", description="A CEL expression that must be true.")
    during: During | None = Field(
        None,
        description="A schedule, or `not:` one; by the event's time, after `for` and `absent` their end.",
    )
    mode: ModeGate | None = Field(None, description="A mode of the site, several, or `not:` some.")
    per: (
        Annotated[tuple[Expression, ...], BeforeValidator(as_list), Field(min_length=1, max_length=16), ITEM_OR_LIST]
        | None
    ) = Field(None, description="A field, several, or an expression: cooldowns and waits are kept apart by it.")
    cooldown: Positive | None = Field(None, description="After firing, rest this long (by the log's clock).")
    quiet_for: Positive | None = Field(
        None, description="After firing, not again until nothing that matches came for so long (by the log's clock)."
    )
    limit: LimitText | None = Field(None, description="So many firings at most in any span: 5 per hour, 1 per 10m.")
    concurrency: Concurrency = Field(
        "parallel",
        description="When it fires while steps of an earlier firing wait: go beside it; `single`: do not fire; "
        "`restart`: end the earlier one; `queued`: begin when that is over.",
    )
    max_age: Positive | None = Field(None, description="Do not fire when the event is older than this.")
    priority: StrictInt = Field(
        0, ge=-1000, le=1000, description="Higher goes first and wins where two want one thing."
    )
    enabled: StrictBool = Field(True, description="false: as if it were not there.")
    shadow: StrictBool = Field(False, description="true: decide and trace, do nothing.")
    then: tuple[JsonValue, ...] = Field(description="What to do, in order.")
    on_error: tuple[JsonValue, ...] = Field(
        (), description="What to do when a step fails that has no `on_error` of its own; once for each firing."
    )


SECTIONS: dict[str, str] = {
    "lists": "Named lists of plates or texts.",
    "holidays": "The site's holidays: an iCalendar or CSV file by its path from here, dates, or several of them.",
    "schedules": "Named spans of time.",
    "templates": "Rule bodies with inputs, for rules that say `use`.",
    "rules": "The rules.",
    "tests": "Tests of the rules.",
}
"""The top level of a rule file."""
