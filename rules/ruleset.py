"""A rule set, ready to decide: rules, their triggers, the index over them, and the texts they came from.

Immutable. Its `hash` names its whole content, lists and site included; what `bundle` returns under
that hash is enough to make the same set again, so a decision can be repeated with exactly these
rules and lists however often the files have changed since.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from bridge.sdk import ActionSpec, Known, PayloadError, Problem, YamlFile
from rules.index import Index
from rules.patterns import Stands
from rules.rule import Rule, Trigger
from rules.schedules import Place

if TYPE_CHECKING:
    from rules.lists import ValueList
    from rules.trialreader import Trial

FORMAT = 1
"""Of the bundle."""


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """Where the rules decide: zone of schedules and lists, position for the sun, first part of event sources."""

    zone: str = "UTC"
    latitude: float | None = None
    longitude: float | None = None
    name: str = "site"
    sun: tuple[timedelta, timedelta] | None = None
    """For tests: it rises and sets at these times of every day."""

    @property
    def place(self) -> Place:
        """The same for the schedules."""
        return Place(ZoneInfo(self.zone), self.latitude, self.longitude, sun=self.sun)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"zone": self.zone, "latitude": self.latitude, "longitude": self.longitude, "name": self.name}


@dataclass(frozen=True)
class Documents:
    """Rule files and the CSV files they name, as text. `problems`: what could not be read."""

    files: Mapping[str, str]
    tables: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    trees: Mapping[str, YamlFile] = field(default_factory=dict, compare=False, repr=False)
    """The files as they were read, where that is done already."""
    wanted: tuple[Path, ...] = field(default=(), compare=False, repr=False)
    """Every file that was looked for, there or not: a change of one of them may change what is here."""
    accepted: bool = False
    """They decided before: what only a newer version sees to have no effect keeps nobody from repeating that."""


@dataclass(frozen=True, eq=False)
class RuleSet:
    """All rules that decide together."""

    documents: Documents
    site: SiteSettings
    place: Place
    rules: tuple[Rule, ...]
    triggers: tuple[Trigger, ...]
    answers: tuple[Trigger, ...] = ()
    """Events that steps wait for; the role is the step's number."""
    warnings: tuple[Problem, ...] = ()
    trials: tuple[Trial, ...] = ()
    lists: Mapping[str, ValueList] = field(default_factory=dict)
    """The named lists, as the files have them."""

    @cached_property
    def index(self) -> Index:
        """The way from an event to the rules it may concern."""
        return Index(self.triggers)

    @cached_property
    def answering(self) -> Index:
        """The way from an event to the steps that may wait for it."""
        return Index(self.answers)

    @cached_property
    def by_id(self) -> Mapping[str, Rule]:
        """The rules by id."""
        return {rule.id: rule for rule in self.rules}

    @cached_property
    def triggers_of(self) -> Mapping[str, tuple[Trigger, ...]]:
        """The triggers of each rule."""
        found: dict[str, tuple[Trigger, ...]] = {}
        for trigger in self.triggers:
            found[trigger.rule.id] = (*found.get(trigger.rule.id, ()), trigger)
        return found

    @cached_property
    def standing(self) -> tuple[Rule, ...]:
        """The rules that wait from the moment they are in force, without an event to begin with."""
        return tuple(rule for rule in self.rules if isinstance(rule.pattern, Stands))

    @cached_property
    def kinds(self) -> frozenset[str]:
        """The kinds of event that any rule wants; one that wants any kind is not among them."""
        triggers = (*self.triggers, *self.answers)
        return frozenset(trigger.kind for trigger in triggers if trigger.kind is not None)

    @cached_property
    def hash(self) -> str:
        """Name of the whole content: rule files, CSV files and site."""
        return hashlib.sha256(self.bundle()).hexdigest()

    def bundle(self) -> bytes:
        """Return everything it was made from, as canonical JSON."""
        content = {
            "format": FORMAT,
            "site": self.site.as_json(),
            "files": dict(self.documents.files),
            "tables": dict(self.documents.tables),
        }
        return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_bundle(cls, bundle: bytes, actions: Mapping[str, ActionSpec[Any]], known: Known | None = None) -> RuleSet:
        """Make the rule set of a bundle again. Raises PayloadError, or RuleCompileError if an action is gone."""
        from rules.compiler import compile_rules  # the compiler makes rule sets

        try:
            content = json.loads(bytes(bundle))
            if content["format"] != FORMAT:
                raise PayloadError("bad_bundle", f"the rule set has format {content['format']!r}, not {FORMAT}")
            documents = Documents(content["files"], content["tables"], accepted=True)
            site = SiteSettings(**content["site"])
        except (ValueError, KeyError, TypeError) as error:
            raise PayloadError("bad_bundle", f"this is no rule set: {error}") from error
        return compile_rules(documents, actions, known or Known(), site)

    @classmethod
    def empty(cls, site: SiteSettings | None = None) -> RuleSet:
        """Return a rule set without rules."""
        site = site or SiteSettings()
        return cls(Documents({}), site, site.place, (), ())
