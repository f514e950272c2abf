"""The reference page of rule files, made from the models and tables that read them so that it cannot be wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import BaseModel

from bridge.config.reference import sentence, table
from bridge.schema.kinds import PAYLOADS
from rules.conditions import DISTANCE, OPERATORS
from rules.inputs import InputPart
from rules.jsonschema import ON_ERROR, STEP_KEYS, STEP_WORDS
from rules.model import SECTIONS, ListPart, RulePart, WindowPart
from rules.reuse import TemplatePart, UsePart
from rules.trialmodel import TestPart
from rules.whenmodel import SHAPES, Distinct, Heard, Not, Selector, Sum, WaitFor, When

_HEAD = """\
# Rule files: every key

<!-- Made from the models in rules; edit those, not this page. -->

[The guide](../guide/rules.md) explains them with examples; what a step may do is under [actions](actions.md), and what
events hold under [events](events.md). `vms-bridge check --schema` prints the same for an editor.
A duration is written `500ms`, `30s`, `5m`, `1h30m`, `2d`; a time of day `"22:00"`, `sunset`, `sunrise+30m`.
"""
_OPERATORS = {
    "equals": "This value; a bare value is the same.",
    "in": "One of these values, or of a list: `name`, `{list: name, tag: text}`. A bare list of values is the same.",
    "not_in": "None of these values, or none of a list.",
    "at_least": "A number or time that is not less.",
    "at_most": "A number or time that is not more.",
    "between": "`[from, to]`, both included.",
    "glob": "A text with `*` and `?`.",
    "regex": "A pattern of RE2 that is found in it.",
    "like": "A plate that looks alike, one of several, or of a list of plates.",
    DISTANCE: "Beside `like`: how many slips of a reader may lie between.",
    "exists": "`true`: there is a value; `false`: there is none.",
}


_WRITTEN = {
    "limit": "text",
    "days": "days",
    "from": "time of day",
    "to": "time of day",
    "then": "list of steps",
    "on_error": "list of steps",
}
"""How a value is written whose type is one of our own."""


_EVENTS: dict[str, type[BaseModel]] = {
    "An event in `sequence`, `any`, `all`, `absent`, `after`, `until`": Selector,
    "`not` in `sequence`": Not,
    "`sum`": Sum,
    "`distinct`": Distinct,
    "`silent`": Heard,
}
_SECTIONS: dict[str, type[BaseModel]] = {
    "A list: `lists`": ListPart,
    "A window: `schedules`": WindowPart,
    "A template: `templates`": TemplatePart,
    "An input of a template": InputPart,
    "A rule from a template": UsePart,
    "A test: `tests`": TestPart,
}


def rules_page() -> str:
    """Return docs/ref/rules.md."""
    if _OPERATORS.keys() != OPERATORS.keys() | {DISTANCE}:
        raise AssertionError("every operator of `match` has a meaning on the page")
    lines = [_HEAD, "## A file", "", "| key | meaning |", "|---|---|"]
    lines += [*_rows(SECTIONS), "", "## A rule: `rules`", "", *_table(RulePart), ""]
    lines += ["## `when`", "", "One of these forms; the key tells which.", "", *_shapes(), ""]
    lines += [*_table(When), ""]
    lines += _parts("###", _EVENTS)
    lines += ["## `match`", "", "What a field of the event must be.", "", "| operator | meaning |", "|---|---|"]
    lines += [
        *_rows(_OPERATORS),
        "",
        "Kinds: " + ", ".join(f"`{kind}`" for kind in sorted(PAYLOADS)) + "; and",
    ]
    lines += ["`custom.…` of your own, with any field.", ""]
    lines += ["## A step: `then`, `on_error`", "", "An [action](actions.md) by its name, or one of these.", ""]
    lines += ["| step | meaning |", "|---|---|", *_described(STEP_WORDS), ""]
    lines += ["Beside it:", "", "| key | meaning |", "|---|---|", *_described(STEP_KEYS | ON_ERROR), ""]
    lines += [*_parts("###", {"`wait_for`": WaitFor}), *_parts("##", _SECTIONS)]
    return "\n".join(lines).rstrip() + "\n"


def _parts(level: str, parts: dict[str, type[BaseModel]]) -> Iterator[str]:
    for title, model in parts.items():
        yield from (f"{level} {title}", "", sentence(model), "", *_table(model), "")


def _table(model: type[BaseModel]) -> Iterator[str]:
    """Return the table of a model, with what its types do not say of themselves."""
    for row in table(model):
        key = row.split("`")[1] if row.startswith("| `") else ""
        parts = re.split(r"(?<!\\)\|", row)
        if key in _WRITTEN:
            parts[2:4] = f" {_WRITTEN[key]} ", parts[3] if "required" in parts[3] else " "
        yield re.sub(r"\bsection( or section)+\b", "section", "|".join(parts))


def _shapes() -> Iterator[str]:
    yield from ("| form | needs | may have | for instance |", "|---|---|---|---|")
    for name, shape in SHAPES.items():
        needs, may = (
            ", ".join(f"`{key}`" for key in sorted(keys)) for keys in (shape.needs - {name}, shape.may - shape.needs)
        )
        yield f"| `{name}` | {needs} | {may} | `{shape.example}` |"


def _rows(meanings: dict[str, str]) -> Iterator[str]:
    return (f"| `{name}` | {words} |" for name, words in meanings.items())


def _described(parts: dict[str, dict[str, object]]) -> Iterator[str]:
    return _rows({name: str(part["description"]) for name, part in parts.items()})
