"""What rule files mean, in a form that can be compared: beside comments, spelling, order of keys and templates.

Ways to say the same become one: a bare value and `equals`, a list of values in any order, one step in its short
form. What is compared is what people wrote, not what the engine made of it, so that a difference can be told in words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from bridge.sdk import ActionSpec
from rules.lists import ValueList
from rules.model import RulePart
from rules.schedules import Schedule
from rules.stepmeaning import one_form, steps_meaning

_STEPS = frozenset({"then", "on_error"})
_ASKING = frozenset({"in", "not_in", "like"})


@dataclass(frozen=True, slots=True, eq=False)
class RuleMeaning:
    """What one rule says."""

    version: str
    said: Mapping[str, Any]
    """Its parts, without `id` and `description`, in their one form."""
    template: str | None = None

    @property
    def same(self) -> str:
        """Return what is equal for rules that mean the same under whatever name."""
        return json.dumps(self.said, sort_keys=True, ensure_ascii=False)

    def names(self, section: str) -> frozenset[str]:
        """Return the lists, or the schedules, that it names."""
        return frozenset(_lists(self.said) if section == "lists" else _schedules(self.said.get("during")))


@dataclass(frozen=True, slots=True)
class Meaning:
    """What all files of a rule set say together."""

    rules: Mapping[str, RuleMeaning] = field(default_factory=dict)
    lists: Mapping[str, ValueList] = field(default_factory=dict)
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    """The body and inputs of each, as one text."""
    holidays: frozenset[date] | None = None


def meaning_of(
    part: RulePart, version: str, actions: Mapping[str, ActionSpec[Any]], template: str | None
) -> RuleMeaning:
    """Return what a rule says."""
    said = part.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"id", "description"})
    said = {
        key: steps_meaning(value, actions) if key in _STEPS else one_form(value, key) for key, value in said.items()
    }
    return RuleMeaning(version, said, template)


def _lists(said: Any) -> Iterator[str]:
    if isinstance(said, dict):
        for key, value in said.items():
            if (key in _ASKING and isinstance(value, str)) or (key == "list" and isinstance(value, str)):
                yield value
            else:
                yield from _lists(value)
    elif isinstance(said, list):
        for item in said:
            yield from _lists(item)


def _schedules(during: Any) -> Iterator[str]:
    if isinstance(during, str):
        yield during
    elif isinstance(during, dict):
        yield from _schedules(during.get("not"))
