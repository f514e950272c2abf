"""Make the events reference page and the JSON Schema from the models, so that they cannot be wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, get_origin

from pydantic import AwareDatetime, BaseModel

from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import PAYLOADS, Payload
from bridge.schema.typewords import type_words

_NAMES: dict[Any, str] = {
    datetime: "time",
    AwareDatetime: "time",
    Origin: "see below",
    Payload: "by kind",
}


def _words(annotation: Any) -> str:
    return type_words(annotation, _NAMES, _inside)


def _inside(annotation: Any) -> str:
    if get_origin(annotation) is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"{{{', '.join(annotation.model_fields)}}}"
    return "JSON"


def _rows(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        need = "always" if field.is_required() else ""
        yield f"| `{name}` | {_words(field.annotation)} | {need} | {field.description or ''} |"


def events_page() -> str:
    """Return docs/ref/events.md."""
    lines = [
        "# Events",
        "",
        "<!-- Made from bridge/schema by `python -m bridge.schema.reference`; edit the models, not this page. -->",
        "",
        "One event, whatever system it came from. It is a [CloudEvents 1.0](https://cloudevents.io) event in",
        "structured JSON; what the standard does not name is an extension attribute. The JSON Schema is",
        "[events.schema.json](events.schema.json).",
        "",
        "| attribute | type | | meaning |",
        "|---|---|---|---|",
        *_rows(VmsEvent),
        "",
        "## Where it comes from: `origin`",
        "",
        "Only `live` and `command` may open a door or switch an output.",
        "",
        "| origin | meaning |",
        "|---|---|",
        *(f"| `{origin.value}` | {words} |" for origin, words in _ORIGIN_WORDS.items()),
        "",
        "## Kinds",
        "",
        "`custom.<name>` is open: its `data` is what the source's mapping makes of it.",
        "",
    ]
    for kind, model in PAYLOADS.items():
        lines += [f"### `{kind}`", "", " ".join((model.__doc__ or "").split()), ""]
        if model.model_fields:
            lines += ["| field of `data` | type | | meaning |", "|---|---|---|---|", *_rows(model), ""]
    return "\n".join(lines).rstrip() + "\n"


_ORIGIN_WORDS = {
    Origin.LIVE: "Just now, from the source itself: socket, push, callback, fresh poll.",
    Origin.COMMAND: "An authenticated person or client asked for it; `principal` says who.",
    Origin.BACKFILL: "From the source's log, after a gap.",
    Origin.RESYNC: "A difference between what was remembered and a snapshot.",
    Origin.TIMER: "The clock.",
    Origin.REPLAY: "Stored earlier and sent again.",
    Origin.TEST: "Made up.",
    Origin.BRIDGE: "The bridge about itself: a result, a lost source, a finished clip.",
}


def events_schema() -> str:
    """Return docs/ref/events.schema.json."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **VmsEvent.model_json_schema()}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


PAGES = {"docs/ref/events.md": events_page, "docs/ref/events.schema.json": events_schema}
"""Generated files and what generates them."""


if __name__ == "__main__":
    from pathlib import Path

    for path, make in PAGES.items():
        Path(path).write_text(make(), encoding="utf-8")
