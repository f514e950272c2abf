"""From rule files to a rule set, or to every mistake in them at once.

What a name means is settled here, once: kinds and their fields, sources and channels of the site,
lists, schedules, actions. What comes out cannot fail for a reason that could have been seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from bridge.sdk import ActionSpec, ConfigError, Known, Problem, RuleCompileError, parse_yaml
from rules.conditions import Lists
from rules.holidays import days_of, is_date, read_holidays
from rules.inputs import Site
from rules.lateness import of_own_making
from rules.likeness import roundabout
from rules.lists import ValueList, plain_list, read_csv
from rules.load import table_name
from rules.matching import Conditions
from rules.meaning import Meaning, meaning_of
from rules.model import SECTIONS, ListPart, WindowPart
from rules.pieces import template_of
from rules.reader import Draft, RuleReader
from rules.report import Report, Spot, named_rule, shown, unknown_key
from rules.reuse import Templates
from rules.rings import find_rings
from rules.rule import Rule, Trigger
from rules.ruleset import Documents, RuleSet, SiteSettings
from rules.schedules import Schedule
from rules.stateof import unset
from rules.steps import Act
from rules.trialreader import Testing, read_trials

__all__ = ["compile_rules", "read_meaning"]

MOST_TOLD = 300
"""Problems told at once."""


def compile_rules(
    documents: Documents, actions: Mapping[str, ActionSpec[Any]], known: Known, site: SiteSettings
) -> RuleSet:
    """Return the rule set of some files. Raises RuleCompileError with every problem found."""
    compiler = _Compiler(documents, actions, known, site)
    rules = compiler.run()
    if compiler.problems:
        raise RuleCompileError(compiler.problems)
    return rules


def read_meaning(
    documents: Documents, actions: Mapping[str, ActionSpec[Any]], known: Known, site: SiteSettings
) -> Meaning:
    """Return what some files mean, to be compared. Raises RuleCompileError with every problem found."""
    compiler = _Compiler(documents, actions, known, site)
    compiler.run()
    if compiler.problems:
        raise RuleCompileError(compiler.problems)
    return compiler.meaning()


def _printable(problem: Problem) -> Problem:
    """Return a problem as any terminal can show it: a name may hold half a surrogate pair."""
    where, message = (one.encode(errors="backslashreplace").decode() for one in (problem.where, problem.message))
    return replace(problem, where=where, message=message)


class _Compiler:
    """One compilation."""

    def __init__(
        self, documents: Documents, actions: Mapping[str, ActionSpec[Any]], known: Known, site: SiteSettings
    ) -> None:
        self._documents, self._actions, self._known, self._site = documents, actions, known, site
        self._place = site.place
        self._others: list[Problem] = list(documents.problems)
        self._reports: list[Report] = []
        self._warnings: list[Problem] = []
        self._templates = Templates((), Site(known))
        self._drafts: list[Draft] = []
        self._values: Mapping[str, ValueList] = {}
        self._windows_of: Mapping[str, Schedule] = {}

    @property
    def problems(self) -> list[Problem]:
        """Everything wrong; where the YAML itself is, what follows from that is left out."""
        broken = {(problem.file, problem.line, problem.column) for problem in self._others if problem.line}
        found = {problem for report in self._reports for problem in report.problems} | {*self._templates.problems}
        every = sorted(
            {_printable(one) for one in self._others}
            | {_printable(one) for one in found if (one.file, one.line, one.column) not in broken}
        )
        if len(every) <= MOST_TOLD:
            return every
        last = every[MOST_TOLD - 1]
        rest = f"(and {len(every) - MOST_TOLD} more problems; they are told when these are mended)"
        return [*every[: MOST_TOLD - 1], replace(last, message=f"{last.message} {rest}")]

    def run(self) -> RuleSet:
        """Compile everything."""
        self._open()
        self._place = replace(self._place, holidays=self._holidays())
        named = self._lists()
        lists, schedules = Lists(named), self._schedules()
        self._values, self._windows_of = named, schedules
        names = Site(self._known, frozenset(lists.names), frozenset(schedules))
        self._templates = Templates(self._named("templates", "template"), names)
        known = replace(self._known, lists=frozenset(lists.names))
        reader = RuleReader(Conditions(lists), schedules, self._actions, known, self._site.name, self._place)
        ordered = self._rules(reader)
        wrong = [*(one for report in self._reports for one in report.problems), *self._templates.problems]
        testing = Testing(
            self._actions,
            self._site,
            named,
            tuple((rule, triggers) for rule, triggers, _ in ordered),
            known.modes,
            frozenset(problem.where for problem in wrong),
        )
        trials = [trial for report in self._reports for trial in read_trials(report, testing)]
        self._rings(ordered)
        roundabout(self._drafts)
        of_own_making(self._drafts, self._site.name)
        acts = [step.does for draft in self._drafts for step in draft.steps if isinstance(step.does, Act)]
        for spot, message in unset(acts, reader.remembered):
            spot.warning(message)
        self._unused(lists.used, reader.used_schedules)
        self._templates.unused()
        return RuleSet(
            replace(self._documents, trees={}),
            self._site,
            self._place,
            tuple(rule for rule, _, _ in ordered),
            tuple(trigger for _, triggers, _ in ordered for trigger in triggers),
            tuple(answer for _, _, answers in ordered for answer in answers),
            tuple(sorted(self._all_warnings())),
            tuple(trials),
            named,
        )

    def _all_warnings(self) -> list[Problem]:
        return [
            *(one for report in self._reports for one in report.warnings),
            *self._templates.warnings,
            *self._warnings,
        ]

    def meaning(self) -> Meaning:
        """Return what was compiled as what it means."""
        rules = {
            draft.id: meaning_of(draft.part, draft.version, self._actions, template_of(draft.spot))
            for draft in self._drafts
        }
        return Meaning(rules, self._values, self._windows_of, self._templates.texts(), self._place.holidays)

    def _open(self) -> None:
        for name, text in sorted(self._documents.files.items()):
            try:
                tree = self._documents.trees.get(name) or parse_yaml(text, name)
            except ConfigError as error:
                self._others += error.problems
                continue
            self._others += tree.problems
            if tree.value is not None and not isinstance(tree.value, dict):
                message = f"a rule file is a mapping with {', '.join(SECTIONS)}; got {shown(tree.value)}"
                self._others.append(tree.problem((), message))
            if not isinstance(tree.value, dict):
                continue
            report = Report(tree, accepted=self._documents.accepted)
            self._reports.append(report)
            for section in tree.value:
                if section not in SECTIONS and not report.full:
                    report.at((section,)).problem(unknown_key(section, SECTIONS), key=True)

    def _named(self, section: str, what: str) -> Iterable[tuple[str, Spot]]:
        """Yield the parts of a section of all files by name; a name belongs to all files."""
        seen: dict[str, Spot] = {}
        for report in self._reports:
            spot = report.at((section,))
            content = report.root.value.get(section)
            if content is not None and not isinstance(content, dict):
                spot.problem(f"`{section}` is a mapping of names, got {shown(content)}")
                continue
            for name in content or ():
                part = (spot / name).named(f"{what} {name}")
                if name in seen:
                    first = seen[name]
                    part.problem(f"{what} {name!r} exists already, in {first.file} line {first.line}", key=True)
                else:
                    seen[name] = part
                    yield name, part

    # --- lists and schedules -------------------------------------------------------------------------

    def _lists(self) -> dict[str, ValueList]:
        lists = {}
        for name, spot in self._named("lists", "list"):
            part = spot.read(ListPart)
            # A list with a mistake still exists: saying that it is unknown as well would help nobody.
            lists[name] = self._list(name, part, spot) if part is not None else plain_list(name, (), plates=True)
            lists[name].tags |= set(part.tags if part is not None else ())
        return lists

    def _list(self, name: str, part: ListPart, spot: Spot) -> ValueList:
        if not isinstance(part.plates, str):
            plates = part.plates is not None
            return plain_list(name, part.plates or part.values or (), plates=plates)
        file = table_name(spot.file, part.plates)
        text = self._documents.tables.get(file)
        if text is None:
            if not any(p.file == file or (spot / "plates").has(p) for p in self._documents.problems):
                (spot / "plates").problem(f"{part.plates!r} is no file beside this one; give a relative path")
            return plain_list(name, (), plates=True)
        entries, problems = read_csv(name, file, text)
        self._others += [replace(problem, where=f"list {name}") for problem in problems]
        if entries.needs_holidays and (lacking := self._place.lacks(sun=False, holidays=True)):
            (spot / "plates").problem(f"{part.plates}: {lacking}")
        return entries

    def _holidays(self) -> frozenset[date] | None:
        """Return the holidays of all files together; None if none of them names any."""
        days: set[date] = set()
        told = [report.at(("holidays",)) for report in self._reports if report.root.value.get("holidays") is not None]
        for spot in told:
            spots = [spot / number for number in range(len(spot.value))] if isinstance(spot.value, list) else [spot]
            for one in spots:
                days |= self._some_holidays(one)
        return frozenset(days) if told else None

    def _some_holidays(self, spot: Spot) -> set[date]:
        written = spot.value
        if not isinstance(written, str):
            spot.problem(f"`holidays` is a file or a date, or several; got {shown(written)}")
            return set()
        if is_date(written):
            try:
                return days_of(written)
            except ValueError as error:
                spot.problem(f"`holidays`: {error}")
                return set()
        file = table_name(spot.file, written)
        text = self._documents.tables.get(file)
        if text is None:
            if not any(p.file == file or spot.has(p) for p in self._documents.problems):
                spot.problem(f"`holidays`: {written!r} is no file beside this one; give a relative path, or 2026-12-24")
            return set()
        found = read_holidays(file, text)
        self._others += found.problems
        self._warnings += found.warnings
        return found.days

    def _schedules(self) -> dict[str, Schedule]:
        schedules = {}
        for name, spot in self._named("schedules", "schedule"):
            schedules[name] = Schedule(tuple(window.window() for window in self._windows(spot)))
            if lacking := schedules[name].lacks(self._place):
                spot.problem(lacking)
        return schedules

    @staticmethod
    def _windows(spot: Spot) -> list[WindowPart]:
        spots = [spot / number for number in range(len(spot.value))] if isinstance(spot.value, list) else [spot]
        if not spots:
            spot.problem("a schedule has at least one window")
        return [part for one in spots if (part := one.read(WindowPart)) is not None]

    # --- rules -------------------------------------------------------------------------------------------

    def _rules(self, reader: RuleReader) -> list[tuple[Rule, tuple[Trigger, ...], tuple[Trigger, ...]]]:
        drafts = []
        seen: dict[str, Spot] = {}
        for report in self._reports:
            spot = report.at(("rules",))
            content = report.root.value.get("rules")
            if content is not None and not isinstance(content, list):
                spot.problem(f"`rules` is a list, each rule starting with `- id:`; got {shown(content)}")
                continue
            for number in range(len(content or ())):
                if report.full or self._templates.full:
                    break  # the tests of this file may then miss rules, which is no matter
                draft = self._draft(reader, spot / number, number)
                if draft is None:
                    continue
                if draft.id in seen:
                    first = seen[draft.id]
                    message = f"id {draft.id!r} exists already, in {first.file} line {first.line}"
                    (draft.spot / "id").problem(message)
                seen.setdefault(draft.id, draft.spot)
                drafts.append(draft)
        self._drafts = drafts
        drafts.sort(key=lambda draft: -draft.priority)
        return [draft.finish(order) for order, draft in enumerate(drafts) if draft.enabled]

    def _rings(self, ordered: Sequence[tuple[Rule, tuple[Trigger, ...], tuple[Trigger, ...]]]) -> None:
        """Report rules that lead to each other, at the step of the first."""
        drafts = {draft.id: draft for draft in self._drafts}
        triggers = [trigger for _, triggers, _ in ordered for trigger in triggers]
        rings, whole = find_rings([rule for rule, _, _ in ordered], triggers, self._site.name)
        for ring in rings:
            first = ring.edges[0]
            spot = drafts[first.source.id].spot.below(first.step.path)
            (spot.problem if ring.certain else spot.warning)(str(ring))
        if not whole:
            message = "so many rules write and wait for events that not all were looked at for loops"
            self._warnings.append(Problem(self._reports[0].file, 1, 1, "", message))

    def _draft(self, reader: RuleReader, spot: Spot, number: int) -> Draft | None:
        spot = named_rule(spot, number)
        if not isinstance(spot.value, dict) or "use" not in spot.value:
            return reader.read(spot, number)
        made = self._templates.made(spot)
        return None if made is None else reader.read(made, number)

    def _unused(self, lists: set[str], schedules: set[str]) -> None:
        for section, what, used in (("lists", "list", lists), ("schedules", "schedule", schedules)):
            for report in self._reports:
                content = report.root.value.get(section)
                for name in content if isinstance(content, dict) else ():
                    if name not in used:
                        report.at((section, name), f"{what} {name}").warning("no rule uses it", key=True)
