"""Where a text goes, and how a foreign value is made harmless there.

Whoever writes a rule writes `{{ event.data.plate }}` and nothing more: the parameter's model says
what place the text is for, and every value put into it is escaped for that place. What the user
wrote around the value is taken as it is.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, get_args, get_origin
from urllib.parse import quote

from pydantic import JsonValue

MAX_VALUE = 4096
"""Characters of one value; more is cut off. No place for text needs more."""
_MAX_TOPIC_LEVEL = 128
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_TOPIC = re.compile(r"[/+#$%\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_FILE = re.compile(r"[^\w-]+")


class Place(StrEnum):
    """Where a text goes."""

    TEXT = "text"
    """A human reads it. Control characters become spaces."""
    TOPIC = "topic"
    """An MQTT topic: a value is part of one level and cannot make or match another."""
    URL = "url"
    """Path or query of a URL: a value is percent-encoded whole and cannot reach scheme, host or another parameter."""
    HEADER = "header"
    """An HTTP header's value: no line break survives."""
    FILE = "file"
    """Part of a file name: letters, digits, `-` and `_`."""
    JSON = "json"
    """Anywhere inside JSON: structure is kept, and a text that is one expression alone keeps its type."""


def plain(value: JsonValue) -> str:
    """Return a value as text: a text as it is, `true`, `null`, numbers and structures as JSON writes them."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text[:MAX_VALUE]


def _for_text(text: str) -> str:
    return _CONTROL.sub(" ", text)


def _for_topic(text: str) -> str:
    return (
        _TOPIC.sub(lambda m: "".join(f"%{b:02X}" for b in m[0].encode(errors="replace")), text)[:_MAX_TOPIC_LEVEL]
        or "_"
    )


def _for_header(text: str) -> str:
    return quote(_CONTROL.sub(" ", text), safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~\"")


def _for_file(text: str) -> str:
    return _FILE.sub("_", unicodedata.normalize("NFKC", text))[:64] or "_"


_ESCAPE: dict[Place, Callable[[str], str]] = {
    Place.TEXT: _for_text,
    Place.TOPIC: _for_topic,
    Place.URL: lambda text: quote(text.encode(errors="replace"), safe=""),
    Place.HEADER: _for_header,
    Place.FILE: _for_file,
    Place.JSON: lambda text: text,
}


def escape_for(place: Place, value: JsonValue) -> str:
    """Return a foreign value as harmless text for that place."""
    return _ESCAPE[place](plain(value))


Text = Annotated[str, Place.TEXT]
TopicText = Annotated[str, Place.TOPIC]
UrlText = Annotated[str, Place.URL]
HeaderText = Annotated[str, Place.HEADER]
FileText = Annotated[str, Place.FILE]
JsonTemplate = Annotated[JsonValue, Place.JSON]
"""Types for action parameters: only fields of these types may hold `{{ … }}`."""


def place_of(annotation: object, metadata: tuple[object, ...] = ()) -> Place | None:
    """Return the place a parameter's type names, looking through `| None`, lists and dict values."""
    for item in metadata:
        if isinstance(item, Place):
            return item
    if get_origin(annotation) is Annotated:
        return place_of(get_args(annotation)[0], get_args(annotation)[1:])
    for argument in reversed(get_args(annotation)):
        found = place_of(argument)
        if found is not None:
            return found
    return None
