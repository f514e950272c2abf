"""The JSON Schema of rule files, for editors: made from the models, the kinds and the actions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from bridge.sdk import PAYLOADS, ActionSpec
from rules.conditions import DISTANCE, OPERATORS
from rules.fields import Field, Type, field_of, has_field, paths_of
from rules.inputs import LIST_OF as INPUT_LIST
from rules.inputs import TYPES
from rules.model import SECTIONS, ListPart, RulePart, WindowPart
from rules.plates import MAX_DISTANCE
from rules.reuse import TemplatePart, UsePart
from rules.stepreader import RESERVED
from rules.trialmodel import RULE, ListChange, TestPart
from rules.whenmodel import SHAPES, Heard, WaitFor

_TYPES: dict[Type, dict[str, Any]] = {
    Type.TEXT: {"type": ["string", "integer"]},
    Type.NUMBER: {"type": "number"},
    Type.BOOL: {"type": "boolean"},
    Type.TIME: {"type": "string", "format": "date-time"},
    Type.ANY: {},
}
_ORDERED = {"at_least", "at_most", "between"}
_TEXTUAL = {"glob", "regex", "like", "distance"}
_DISTANCE = "How many slips of a reader may lie between; default 1."
_LISTED = {
    "type": "object",
    "properties": {"list": {"type": "string"}, "tag": {"type": ["string", "integer"]}},
    "required": ["list"],
    "additionalProperties": False,
}
STEP_KEYS: dict[str, dict[str, Any]] = {
    "as": {"type": "string", "description": "A name for this step, for others to wait for."},
    "with": {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        "description": "Earlier steps to wait for; their results are `steps.<name>`.",
    },
    "wait": {"type": "string", "description": "How long to wait for them; then it goes without. Default: 5m."},
    "if": {"type": "string", "description": "A CEL expression that must be true for this step."},
}
_STEPS = {"type": "array", "items": {"$ref": "#/$defs/Step"}, "minItems": 1}
_BODY_SELECTOR = {"$ref": "#/$defs/BodySelector"}
_BRANCH = {"anyOf": [{"$ref": "#/$defs/Step"}, _STEPS]}
STEP_WORDS: dict[str, dict[str, Any]] = {
    "wait_for": {"$ref": "#/$defs/WaitFor", "description": "Wait for an event; what is below waits too."},
    "do": {**_STEPS, "description": "Steps that have one `if`, or one `on_error`."},
    "parallel": {
        "type": "array",
        "items": _BRANCH,
        "minItems": 1,
        "description": "Steps, or lists of them, that do not wait for each other; what is below waits for all.",
    },
    "stop": {
        "anyOf": [
            {"type": "object", "properties": STEP_KEYS, "additionalProperties": False},
            {"enum": [True, None]},
        ],
        "description": "Reach nothing more of this rule.",
    },
}
"""What a step may be besides an action."""
ON_ERROR = {"on_error": {**_STEPS, "description": "What to do when this step fails; once for each firing."}}
_CUSTOM = {"type": "string", "pattern": r"^custom\.[a-z0-9_-]{1,64}$"}


def rule_schema(actions: Mapping[str, ActionSpec[Any]]) -> dict[str, Any]:
    """Return the schema of a rule file with these actions."""
    parts = (RulePart, UsePart, TemplatePart, Heard, WaitFor, WindowPart, ListPart, ListChange, TestPart)
    _, made = models_json_schema([(part, "validation") for part in parts], ref_template="#/$defs/{model}")
    definitions: dict[str, Any] = made["$defs"]
    definitions["Step"] = _step(actions)
    definitions["ExpectedOrder"] = _expected(actions)
    _finish_rule(definitions)
    _finish_template(definitions, actions)
    _finish_test(definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Rules of the VMS event bridge",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: {**_section(name), "description": words} for name, words in SECTIONS.items()},
        "$defs": definitions,
    }


def _section(name: str) -> dict[str, Any]:
    window = {"$ref": "#/$defs/WindowPart"}
    sections: dict[str, dict[str, Any]] = {
        "lists": {"type": "object", "additionalProperties": {"$ref": "#/$defs/ListPart"}},
        "holidays": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
        "schedules": {
            "type": "object",
            "additionalProperties": {"anyOf": [window, {"type": "array", "items": window, "minItems": 1}]},
        },
        "templates": {"type": "object", "additionalProperties": {"$ref": "#/$defs/TemplatePart"}},
        "rules": {
            "type": "array",
            "items": {
                "if": {"type": "object", "required": ["use"]},
                "then": {"$ref": "#/$defs/UsePart"},
                "else": {"$ref": "#/$defs/RulePart"},
            },
        },
        "tests": {"type": "array", "items": {"$ref": "#/$defs/TestPart"}},
    }
    return sections[name]


def _finish_rule(definitions: dict[str, Any]) -> None:
    rule = definitions["RulePart"]
    rule["properties"]["then"]["items"] = {"$ref": "#/$defs/Step"}
    rule["properties"]["then"]["minItems"] = 1
    rule["properties"]["on_error"]["items"] = {"$ref": "#/$defs/Step"}
    rule["allOf"] = [
        {"if": {"properties": {"when": _is(kind)}, "required": ["when"]}, "then": {"$ref": f"#/$defs/match.{kind}"}}
        for kind in PAYLOADS
    ]
    definitions["WaitFor"]["properties"] |= {key: STEP_KEYS[key] for key in ("as", "if")}
    for name in ("Selector", "Heard", "WaitFor"):
        definitions[name]["properties"]["kind"] = _kind_schema()
        definitions[name]["allOf"] = [{"if": _is(kind), "then": {"$ref": f"#/$defs/match.{kind}"}} for kind in PAYLOADS]
    definitions["When"]["properties"]["kind"] = _kind_schema()
    definitions["When"]["anyOf"] = [{"required": [name]} for name in SHAPES]
    for kind in PAYLOADS:
        definitions[f"match.{kind}"] = {"properties": {"match": _match_of(kind)}}


def _is(kind: str) -> dict[str, Any]:
    return {"properties": {"kind": {"const": kind}}, "required": ["kind"]}


def _finish_template(definitions: dict[str, Any], actions: Mapping[str, ActionSpec[Any]]) -> None:
    """Describe inputs and bodies. In a body `$name` may stand for any value, so only names are completed and marked."""
    kind = {"type": "string", "pattern": f"^({INPUT_LIST})?({'|'.join(TYPES)})$", "examples": sorted(TYPES)}
    definitions["InputPart"]["properties"]["type"] |= kind
    template = definitions["TemplatePart"]["properties"]
    template["inputs"]["additionalProperties"] = {"anyOf": [kind, {"$ref": "#/$defs/InputPart"}]}
    use = definitions["UsePart"]
    body = _names_of(definitions["RulePart"])
    body["properties"]["when"] = _names_of(definitions["When"])
    body["properties"]["when"]["properties"]["kind"] = {"examples": sorted(PAYLOADS)}
    steps = {name: {"description": spec.summary} for name, spec in sorted(actions.items())}
    steps |= {name: {"description": one["description"]} for name, one in (STEP_WORDS | ON_ERROR).items()}
    definitions |= {f"names.{name}": {"properties": {"match": _names_in(name)}} for name in PAYLOADS}
    definitions["BodySelector"] = {"allOf": [{"if": _is(kind), "then": _names_ref(kind)} for kind in PAYLOADS]}
    _finish_body_when(body["properties"]["when"]["properties"])
    steps["wait_for"] |= _BODY_SELECTOR
    body["properties"]["then"] |= {"items": {"type": "object", "properties": {**steps, **STEP_KEYS}}}
    body["allOf"] = [
        {"if": {"properties": {"when": _is(kind)}, "required": ["when"]}, "then": _names_ref(kind)} for kind in PAYLOADS
    ]
    another = {**use, "properties": {key: part for key, part in use["properties"].items() if key != "id"}}
    another["required"] = ["use"]
    template["rule"] = {"description": template["rule"]["description"], "if": {"required": ["use"]}}
    template["rule"] |= {"then": another, "else": body}


def _finish_body_when(when: dict[str, Any]) -> None:
    """Let the events inside a body's `when` be looked at as well."""
    for name in ("absent", "after", "until", "silent"):
        when[name] |= _BODY_SELECTOR
    for name in ("sequence", "any", "all"):
        when[name] |= {"items": {**_BODY_SELECTOR, "properties": {"not": _BODY_SELECTOR}}}


def _names_ref(kind: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/names.{kind}"}


def _names_in(kind: str) -> dict[str, Any]:
    """Return which fields a `match` may name, whatever it asks of them."""
    match = _match_of(kind)
    return {**match, "properties": {path: {} for path in match["properties"]}}


def _names_of(part: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a part of a body: which keys it has, whatever they say."""
    described = {key: {"description": one.get("description", "")} for key, one in part["properties"].items()}
    described.pop("id", None)
    required = [key for key in part.get("required", ()) if key != "id"]
    return {"type": "object", "properties": described, "additionalProperties": False, "required": required}


def _finish_test(definitions: dict[str, Any]) -> None:
    for name in ("expect", "expect_some", "expect_not"):
        orders = {"type": "array", "items": {"$ref": "#/$defs/ExpectedOrder"}}
        definitions["TestPart"]["properties"][name] |= {"anyOf": [orders, {"type": "null"}]}
        definitions["TestPart"]["properties"][name].pop("items", None)
        definitions["TestPart"]["properties"][name].pop("type", None)
    definitions["GivenEvent"]["properties"]["kind"] = _kind_schema()


def _kind_schema() -> dict[str, Any]:
    return {"anyOf": [{"enum": sorted(PAYLOADS)}, _CUSTOM], "description": "The kind of event."}


def _fields(kind: str) -> dict[str, Any]:
    return {path: _match(field_of(kind, path)) for path in paths_of(kind)}


def _match_of(kind: str) -> dict[str, Any]:
    """Return what `match` may name of a kind: its fields, and anything below those of free JSON. No other."""
    free: dict[str, Any] = {f"^{re.escape(path)}\\..": {} for path in paths_of(kind) if has_field(kind, f"{path}.any")}
    match = {"properties": _fields(kind), "additionalProperties": has_field(kind, "any")}
    return {**match, "patternProperties": free} if free else match


def _match(field: Field) -> dict[str, Any]:
    """Return what may be asked of a field: a value, several, or operators."""
    value = {"enum": list(field.choices)} if field.choices else _TYPES[field.type]
    several = {"type": "array", "items": value, "minItems": 1}
    listed = {"anyOf": [several, {"type": "string"}, {"type": "object"}]}
    operators: dict[str, Any] = {
        "equals": value,
        "in": listed,
        "not_in": listed,
        "at_least": value,
        "at_most": value,
        "between": {"type": "array", "items": value, "minItems": 2, "maxItems": 2},
        "glob": {"type": "string"},
        "regex": {"type": "string"},
        "like": {"anyOf": [value, several, _LISTED]},
        "distance": {"type": "integer", "minimum": 0, "maximum": MAX_DISTANCE, "description": _DISTANCE},
        "exists": {"type": "boolean"},
    }
    assert operators.keys() == OPERATORS.keys() | {DISTANCE}  # noqa: S101 - a new operator must be described here too
    unfit = set()
    if field.type not in {Type.NUMBER, Type.TIME, Type.ANY}:
        unfit |= _ORDERED
    if field.type not in {Type.TEXT, Type.ANY}:
        unfit |= _TEXTUAL
    known = {name: schema for name, schema in operators.items() if name not in unfit}
    asked = {"type": "object", "properties": known, "additionalProperties": False, "minProperties": 1}
    return {"anyOf": [value, several, asked]}


# --- steps -----------------------------------------------------------------------------------------------


def _step(actions: Mapping[str, ActionSpec[Any]]) -> dict[str, Any]:
    heads = [{"required": [name]} for name in sorted({*actions, *STEP_WORDS})]
    return {
        "type": "object",
        "description": "One action and its parameters, or what holds actions together.",
        "properties": {
            **{name: _action(spec, partial=False) for name, spec in sorted(actions.items())},
            **STEP_WORDS,
            **STEP_KEYS,
            **ON_ERROR,
        },
        "additionalProperties": False,
        "oneOf": [*heads, {"required": ["wait"], "not": {"anyOf": heads}}],
    }


def _expected(actions: Mapping[str, ActionSpec[Any]]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": "An order; parameters that are left out may be anything.",
        "properties": {
            **{name: _action(spec, partial=True) for name, spec in sorted(actions.items())},
            RULE: {"type": "string", "description": "The rule that must order it. Default: any."},
        },
        "additionalProperties": False,
        "oneOf": [{"required": [name]} for name in sorted(actions)],
    }


def _action(spec: ActionSpec[Any], *, partial: bool) -> dict[str, Any]:
    params = spec.params.model_json_schema(by_alias=True, ref_template=f"#/$defs/Step/$defs/{spec.name}/{{model}}")
    properties = dict(params.get("properties", {}))
    _inline(properties, params.get("$defs", {}))
    properties = {name: _loosened(schema) for name, schema in properties.items()}
    if not partial:
        properties = {**{key: STEP_KEYS[key] for key in RESERVED}, **properties}
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if not partial and "required" in params:
        schema["required"] = params["required"]
    forms: list[dict[str, Any]] = [schema]
    if spec.shorthand is not None:
        forms.append({"type": ["string", "number", "boolean"]})
    if partial or not params.get("required"):
        forms.append({"type": "null"})
    return {"anyOf": forms, "description": spec.summary}


def _inline(schema: Any, definitions: Mapping[str, Any]) -> None:
    """Put definitions where they are referred to: the parameters of an action are small and never recursive."""
    if isinstance(schema, dict):
        reference = schema.pop("$ref", None)
        if isinstance(reference, str):
            schema.update({**definitions.get(reference.rsplit("/", 1)[-1], {}), **schema})
        for value in list(schema.values()):
            _inline(value, definitions)
    elif isinstance(schema, list):
        for value in schema:
            _inline(value, definitions)


def _loosened(schema: Any) -> Any:
    """Return a schema that takes a number for a text and one value for several, as actions do with channels.

    An editor that marks what is right would be worse than one that misses a mistake `check` will find.
    """
    if isinstance(schema, list):
        return [_loosened(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    loose = {name: value if name in {"default", "examples"} else _loosened(value) for name, value in schema.items()}
    if loose.get("type") == "string" and not loose.keys() & {"pattern", "enum", "const", "format"}:
        loose["type"] = ["string", "integer"]
    if loose.get("type") == "array" and "items" in loose:
        words = {name: loose.pop(name) for name in ("description", "default", "title") if name in loose}
        return {**words, "anyOf": [loose, loose["items"]]}
    return loose
