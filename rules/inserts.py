"""`$name` in the body of a template: where inputs stand in it, and what the body is with their values put in.

A value that is `$name` and nothing else becomes the input with its type, a whole list too. Within a text the
input becomes part of the text; `$(name)` where letters follow, `$$` for a dollar sign. Within CEL, that is in
`if` and between `{{` and `}}`, it becomes a literal of CEL: a text in quotes, escaped. So `$` is settled before
anything is checked, `{{ }}` when the rule fires, and neither can be taken for the other. What was put in is
never searched for `$` again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rules.celscan import TOKEN, template_end

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
OPEN = "{{"
_INSERT = re.compile(rf"\$(?:(?P<dollar>\$)|(?P<bare>{NAME})|\((?P<held>{NAME})\))")
_WHOLE = re.compile(rf"\$(?:({NAME})|\(({NAME})\))")
_QUOTED = re.compile(r"(?P<raw>[bB]?[rR])?[bB]?(?P<quote>\"\"\"|'''|\"|')")


def whole(value: Any) -> str | None:
    """Return the input that a value is and nothing else; None if it is something else."""
    if not isinstance(value, str) or not value.startswith("$"):
        return None
    found = _WHOLE.fullmatch(value)
    return (found[1] or found[2]) if found else None


def named(text: str) -> Iterator[str]:
    """Yield the inputs that a text names."""
    for found in _INSERT.finditer(text):
        if found["dollar"] is None:
            yield found["bare"] or found["held"]


def filled(text: str, values: Mapping[str, Any], *, cel: bool) -> str:
    """Return a text with inputs put in; `cel`: all of it is an expression. Raises ValueError."""
    if "$" not in text:
        return text
    if cel:
        return _expression(text, values)
    parts: list[str] = []
    position = 0
    while (start := text.find(OPEN, position)) >= 0:
        end = template_end(text, start + len(OPEN))
        if end is None:
            break  # reported when the text is read as what it is
        parts.append(_plain(text[position:start], values))
        parts.append(OPEN + _expression(text[start + len(OPEN) : end], values) + "}}")
        position = end + 2
    return "".join([*parts, _plain(text[position:], values)])


def _plain(text: str, values: Mapping[str, Any]) -> str:
    def put(found: re.Match[str]) -> str:
        return "$" if found["dollar"] else _as_text(found["bare"] or found["held"], values)

    return _INSERT.sub(put, text)


def _as_text(name: str, values: Mapping[str, Any]) -> str:
    value = values[name]
    if isinstance(value, (list, dict)):
        raise ValueError(f"input `{name}` is a list; it can be a whole value, not a part of a text")
    if value is None:
        raise ValueError(f"input `{name}` is nothing here, and part of a text; give it a value")
    return value if isinstance(value, str) else json.dumps(value)


# --- CEL -------------------------------------------------------------------------------------------------


def _expression(text: str, values: Mapping[str, Any]) -> str:
    parts: list[str] = []
    position = 0
    while position < len(text):
        insert = _INSERT.match(text, position)
        if insert is not None and insert["dollar"] is None:
            parts.append(_literal(values[insert["bare"] or insert["held"]]))
            position = insert.end()
            continue
        token = TOKEN.match(text, position)
        if token is None:
            return "".join([*parts, text[position:]])
        parts.append(_inside(token[0], values) if token.lastgroup == "text" else token[0])
        position = token.end()
    return "".join(parts)


def _literal(value: Any) -> str:
    """Return a value as CEL writes it: as JSON does, but a sign must not run into what stands before it."""
    said = json.dumps(value, ensure_ascii=False)
    return f"({said})" if said.startswith("-") else said


def _inside(quoted: str, values: Mapping[str, Any]) -> str:
    """Return a text of CEL with inputs put into it, so that none can end it."""
    if "$" not in quoted:
        return quoted
    form = _QUOTED.match(quoted)
    assert form is not None  # noqa: S101 - the token is one of these
    quote, raw = form["quote"], form["raw"] is not None

    def put(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        name = found["bare"] or found["held"]
        value = _as_text(name, values)
        if raw and (quote[0] in value or "\\" in value or "\n" in value):
            raise ValueError(f"input `{name}` holds a character that a raw text cannot; write it without the `r`")
        return value if raw else json.dumps(value, ensure_ascii=False)[1:-1].replace("'", "\\'")

    return _INSERT.sub(put, quoted)
