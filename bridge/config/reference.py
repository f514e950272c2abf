"""The configuration's reference page and its JSON Schema, made from the models so that they cannot be wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bridge.config.models import BridgeConfig
from bridge.contracts import ConnectorSpec
from bridge.schema.typewords import type_words
from bridge.schema.units import format_duration
from bridge.yamlcheck import models_in, types_below

Specs = Mapping[str, ConnectorSpec[Any]]

_NAMES: dict[Any, str] = {
    timedelta: "duration",
    Path: "path",
    SecretStr: "secret",
    Any: "anything",
}
_SIZES = {"max_bytes", "max_body"}
_HEAD = """\
# Configuration

<!-- Made from the models in bridge/config and connectors; edit those, not this page. -->

One file, `bridge.yaml`; everything in it is optional. `vms-bridge check` says everything that is wrong with it,
each with line and column. [bridge.example.yaml](../../deploy/bridge.example.yaml) is a commented start, and
`# yaml-language-server: $schema=…/docs/ref/config.schema.json` in the first line makes an editor help.

- **Durations and sizes** carry their unit: `250ms`, `30s`, `1h30m`, `7d`; `256KiB`, `5GiB`.
- **Variables**: `${NAME}` and `${NAME:-default}` come from the environment; `$${` is a plain `${`. Within `{ }` and
  `[ ]`, quote them.
- **Secrets**: write `password: !secret gate` and put `gate: …` into `secrets.yaml` beside the file (mode 0600), or
  `password_file: /run/secrets/gate`; that works for every field of type *secret*. They are never logged.
- **Paths** are relative to the file.
- **YAML** is 1.2: `on`, `off`, `yes`, `no`, `22:00` and `007` are texts. Anchors, aliases and keys that stand twice
  are refused.
"""


def config_page(specs: Specs) -> str:
    """Return docs/ref/config.md. `specs` gives the connectors to describe."""
    lines = [_HEAD]
    for title, model in sections("", BridgeConfig):
        lines += [f"## {title or 'The file'}", "", sentence(model), "", *table(model), ""]
    for name, spec in sorted(specs.items()):
        lines += [f"## sources.&lt;name&gt; with `type: {name}`", "", spec.summary, ""]
        lines += [*table(spec.config), ""]
        for title, model in list(sections("", spec.config))[1:]:
            lines += [f"### {title}", "", sentence(model), "", *table(model), ""]
    return "\n".join(lines).rstrip() + "\n"


def config_schema(specs: Specs) -> dict[str, Any]:
    """Return the JSON Schema of `bridge.yaml`, each source by its own type."""
    schema = BridgeConfig.model_json_schema(mode="validation")
    definitions = schema.setdefault("$defs", {})
    branches = []
    for name, spec in sorted(specs.items()):
        own = spec.config.model_json_schema(mode="validation", ref_template="#/$defs/" + name + ".{model}")
        for key, value in own.pop("$defs", {}).items():
            definitions[f"{name}.{key}"] = value
        definitions[f"source.{name}"] = own
        branches.append({"if": {"properties": {"type": {"const": name}}}, "then": {"$ref": f"#/$defs/source.{name}"}})
    entry: dict[str, Any] = {"type": "object", "required": ["type"], "properties": {"type": {"enum": sorted(specs)}}}
    if branches:
        entry["allOf"] = branches
    for definition in definitions.values():
        _allow_secret_files(definition)
    sources = schema["properties"]["sources"]
    sources.pop("patternProperties", None)
    sources["additionalProperties"] = entry
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _allow_secret_files(definition: dict[str, Any]) -> None:
    """Let `password_file` stand for `password`, as the reader does."""
    properties: dict[str, Any] = definition.get("properties", {})
    for name, field in list(properties.items()):
        if any(kind.get("format") == "password" for kind in (field, *field.get("anyOf", ()))):
            properties[f"{name}_file"] = {"type": "string", "description": f"A file that holds `{name}`."}


def sections(title: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the model and every model below it, each with the path it is written under."""
    yield title, model
    for name, field in model.model_fields.items():
        key = field.alias or name
        path = f"{title}.{key}" if title else key
        for below in models_in(field.annotation):
            yield from sections(path, below)
        for member in types_below(field.annotation, "*") if not models_in(field.annotation) else []:
            for below in models_in(member):
                yield from sections(f"{path}.&lt;name&gt;", below)


def sentence(model: type[BaseModel]) -> str:
    """Return what a model says of itself."""
    return (model.__doc__ or "").strip().split("\n\n")[0]


def table(model: type[BaseModel]) -> list[str]:
    """Return the fields of a model as the lines of a table."""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        meaning = (field.description or "").replace("|", "\\|")
        rows.append(f"| `{field.alias or name}` | {_type_of(name, field)} | {_default(name, field)} | {meaning} |")
    return rows


def _type_of(name: str, field: FieldInfo) -> str:
    return "size" if name in _SIZES else _words(field.annotation)


def _words(annotation: Any) -> str:
    return type_words(annotation, _NAMES, _section)


def _section(annotation: Any) -> str:
    if get_origin(annotation) is dict:
        value = get_args(annotation)[1]
        return f"name: {_words(value)}" if models_in(value) else "keys and values"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " \\| ".join(f"`{member.value}`" for member in annotation)
    return "section" if models_in(annotation) else "anything"


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined or value is None or isinstance(value, BaseModel) or value in ((), {}, []):
        return ""
    return f"`{_written(name, value)}`"


def _written(name: str, value: Any) -> str:
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, bool):
        return str(value).lower()
    if name in _SIZES:
        return _size(value)
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(str(item) for item in value)}]"
    return str(value)


def _size(value: int) -> str:
    for unit, size in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if value % size == 0:
            return f"{value // size}{unit}"
    return str(value)
