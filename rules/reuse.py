"""Templates: one rule body for many rules. A rule that says `use:` is replaced by what it stands for, before any check.

What comes out is an ordinary rule and is read like one; its version covers the text put together. A mistake in the
body is told there, once, with the first use that shows it; a mistake in an input is told where the use gives it.
A template may use another, but never come back to itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, Field, JsonValue, StrictBool, StrictInt

from bridge.sdk import Problem, YamlPath, unknown
from rules.inputs import MAX_INPUTS, InputPart, Site, check_input, input_name
from rules.inserts import named
from rules.model import RulePart
from rules.parts import Name, Part
from rules.pieces import Budget, MadeRule, Piece, TooMuchError, UnfitError
from rules.report import ENOUGH, Spot, shown, unknown_key
from rules.whenmodel import When

MAX_CHAIN = 8
"""Templates that use templates, one in the other."""
MAX_VALUES = 5_000
"""Of one rule when it is put together."""
MAX_ALL_VALUES = 1_000_000
"""Of all of them."""
OWN_KEYS = ("description", "enabled", "shadow", "priority")
"""What a rule may say for itself beside `use`."""


class UsePart(Part):
    """A rule made from a template."""

    id: Name = Field(description="Unique among all rule files; orders and traces carry it.")
    use: Name = Field(description="The template.")
    inputs: dict[str, JsonValue] = Field(default_factory=dict, alias="with", description="Values of its inputs.")
    description: str | None = Field(None, description="For people.")
    priority: StrictInt = Field(0, ge=-1000, le=1000, description="Instead of the template's.")
    enabled: StrictBool = Field(True, description="Instead of the template's.")
    shadow: StrictBool = Field(False, description="Instead of the template's.")


class TemplatePart(Part):
    """A rule body with inputs. `$name` in it stands for an input."""

    description: str | None = Field(None, description="For people.")
    inputs: dict[str, InputPart] = Field(default_factory=dict, description="What uses say, by name: a type, or more.")
    rule: dict[str, JsonValue] = Field(description="A rule without its `id`; or `use` and `with` of another template.")


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A template that can be used."""

    name: str
    part: TemplatePart
    spot: Spot

    @property
    def other(self) -> str | None:
        """The template that it uses itself."""
        name = self.part.rule.get("use")
        return name if isinstance(name, str) else None

    @property
    def body(self) -> Spot:
        """Where its rule is."""
        return self.spot / "rule"


class Templates:
    """All templates of a rule set, and the rules made from them."""

    def __init__(self, found: Iterable[tuple[str, Spot]], site: Site) -> None:
        self._site = site
        self._all: dict[str, Template] = {}
        self._broken: set[str] = set()
        """Known by name; what uses them is not read, because nothing true could be said about it."""
        self._left = MAX_ALL_VALUES
        self._rules: list[MadeRule] = []
        self._wrong = 0
        """How many of them have problems."""
        self._unfit: set[tuple[str, YamlPath]] = set()
        self._made: set[str] = set()
        """Templates from which some rule could be put together; their bodies were looked at with it."""
        self.used: dict[str, list[str]] = {}
        """Templates, and the rules that are made from them, directly or through another."""
        for name, spot in found:
            self._define(name, spot)
        self._chains()

    # --- definitions -----------------------------------------------------------------------------------

    def _define(self, name: str, spot: Spot) -> None:
        before = spot.problems
        part = spot.read(TemplatePart, value=_long_form(spot.value), defaults={"rule": {}})
        if part is not None:
            self._all[name] = Template(name, part, spot)
            self._inputs(part, spot / "inputs")
            self._body(self._all[name])
        if spot.problems > before:
            self._broken.add(name)

    def _inputs(self, part: TemplatePart, spot: Spot) -> None:
        if len(part.inputs) > MAX_INPUTS:
            spot.problem(f"{len(part.inputs)} inputs, at most {MAX_INPUTS}", key=True)
        for name, one in part.inputs.items():
            if not input_name(name):
                (spot / name).problem(f"{name!r} cannot be an input; use letters, digits and `_`", key=True)
            if one.optional:
                self._check(name, one, Piece(spot.report, (*spot.path, name, "default")), one.default, spot.where)

    def _check(self, name: str, part: InputPart, piece: Piece, value: Any, where: str) -> bool:
        """Report what is wrong with the value of an input, where it was written."""
        wrong = check_input(part, value, self._site)
        for at, said in wrong:
            report, path = piece.find(() if at is None else (at,))
            report.at(path, where).problem(f"input `{name}`: {said}")
        return not wrong

    def _body(self, template: Template) -> None:
        spot, inputs = template.body, template.part.inputs
        if "id" in template.part.rule:
            (spot / "id").problem("a template's rule has no `id`; each rule that uses it has its own", key=True)
        elif template.other is not None:
            _own_keys(spot, ("use", "with", *OWN_KEYS))
        seen: set[str] = set()
        for path, text, key in _texts(template.part.rule, ()):
            for name in named(text):
                seen.add(name)
                if key and name in inputs:
                    spot.below(path).problem(f"`{text}`: an input can be a value, not a key", key=True)
                elif not key and name not in inputs:
                    spot.below(path).problem(f"{unknown('input', name, sorted(inputs))}; for a dollar sign write `$$`")
        for name in inputs:
            if name not in seen:
                (template.spot / "inputs" / name).warning(f"input `{name}` is not used in the rule", key=True)

    # --- templates that use templates --------------------------------------------------------------------

    def _chains(self) -> None:
        """Find those that come back to themselves, lead nowhere, or are too long."""
        told: set[str] = set()
        broken = set(self._broken)
        for name in self._all:
            chain, following = self._chain(name)
            if following is not None and not told & {*chain, following}:
                self._chain_problem(chain, following)
                told |= {*chain} if following in chain else {following}
            if following is not None or broken & {*chain}:
                self._broken.add(name)

    def _chain(self, name: str) -> tuple[list[str], str | None]:
        """Return the templates that this one comes to use, and the one where that must not go on."""
        chain = [name]
        while (following := self._all[chain[-1]].other) is not None:
            if following in chain or following not in self._all or len(chain) == MAX_CHAIN:
                return chain, following
            chain.append(following)
        return chain, None

    def _chain_problem(self, chain: Sequence[str], following: str) -> None:
        use = self._all[chain[-1]].body / "use"
        if following in chain:
            ring = [*chain[chain.index(following) :], following]
            use.problem(f"templates use each other in a ring: {' → '.join(ring)}; nothing could come out of it")
        elif following not in self._all:
            use.problem(unknown("template", following, sorted(self._all)))
        else:
            use.problem(f"more than {MAX_CHAIN} templates use each other: {' → '.join([*chain, following])}")

    # --- uses ------------------------------------------------------------------------------------------

    def made(self, use: Spot) -> Spot | None:
        """Return the rule that a use stands for; None if it cannot be put together, which is reported."""
        if self._rules:
            self._wrong += bool(self._rules[-1].problems)  # by now it has been read
        value, name = use.value, use.value["use"]
        fine = _own_keys(use, ("id", "use", "with", *OWN_KEYS))
        if not isinstance(name, str) or name not in self._all:
            names = sorted(self._all)
            wrong = unknown("template", name, names) if isinstance(name, str) else f"must be a name, got {shown(name)}"
            (use / "use").problem(wrong)
            return None
        self._count(name, str(value.get("id", "")))
        if name in self._broken or not fine:
            return None
        budget = Budget(min(MAX_VALUES, self._left))
        granted = budget.left
        try:
            rule = self._put_together(use, name, budget)
        except TooMuchError:
            much = f"more than {MAX_VALUES}" if granted == MAX_VALUES else f"with the others more than {MAX_ALL_VALUES}"
            use.problem(f"the rule made from template {name} is too large: {much} values")
            return None
        except UnfitError as error:
            self._tell_unfit(error, name, use)
            return None
        self._left -= granted - budget.left
        if rule is None:
            return None
        self._rules.append(rule)
        self._made |= {*self._chain(name)[0]}
        return rule.at((), use.where)

    def _count(self, name: str, rule: str) -> None:
        for one in self._chain(name)[0]:
            self.used.setdefault(one, []).append(rule)

    def _put_together(self, use: Spot, name: str, budget: Budget) -> MadeRule | None:
        """Return the rule. Raises TooMuchError, UnfitError."""
        piece = Piece(use.report, use.path)
        own = {key: piece.below(key) for key in ("id", *OWN_KEYS) if key in use.value}
        following: str | None = name
        while following is not None:
            template = self._all[following]
            bound = self._bound(template, piece, use)
            values = {key: one.expanded(budget) for key, one in bound.items()}
            inputs = template.part.inputs
            checked = [self._check(key, inputs[key], bound[key], values[key], use.where) for key in bound]
            if not all(checked) or any(key not in bound for key in inputs):
                return None
            piece = Piece(template.body.report, template.body.path, bound, values)
            following = template.other
            if following is not None:
                own = {**{key: piece.below(key) for key in OWN_KEYS if key in template.part.rule}, **own}
        value = {**piece.expanded(budget), **{key: one.expanded(budget) for key, one in own.items()}}
        return MadeRule(use, name, value, piece, own)

    def _bound(self, template: Template, piece: Piece, use: Spot) -> dict[str, Piece]:
        """Return where each input comes from; reports those that are missing or unknown."""
        given = piece.below("with")
        content = given.report.root.at(piece.path).get("with")
        report, at = given.find()
        place, inputs = report.at(at, use.where), template.part.inputs
        if content is not None and not isinstance(content, dict):
            place.problem(f"`with` is a mapping of inputs, got {shown(content)}")
            content = {}
        bound = {}
        for name in content or {}:
            if name not in inputs:
                (place / name).problem(unknown(f"input of template {template.name}", name, sorted(inputs)), key=True)
        for name, part in inputs.items():
            if content is not None and name in content:
                bound[name] = given.below(name)
            elif part.optional:
                bound[name] = Piece(template.spot.report, (*template.spot.path, "inputs", name, "default"))
            else:
                place.problem(f"input `{name}` of template {template.name} is missing: {part.words}")
        return bound

    def _tell_unfit(self, error: UnfitError, name: str, use: Spot) -> None:
        if (error.place.file, error.place.path) not in self._unfit:
            self._unfit.add((error.place.file, error.place.path))
            aside = f"in template {name}, used in {use.file} line {use.line}"
            error.place.named(use.where).problem(f"{error} ({aside})")

    # --- what was found ----------------------------------------------------------------------------------

    def unused(self) -> None:
        """Warn of templates that no rule and no other template uses; look at bodies that no rule could be made from."""
        chained = {template.other for template in self._all.values()}
        for name, template in self._all.items():
            if name not in self.used and name not in chained:
                template.spot.warning("no rule uses it", key=True)
            if name not in self._made and template.other is None:
                _known_keys(template.body, RulePart)
                if "when" in template.part.rule:
                    _known_keys(template.body / "when", When)

    def texts(self) -> dict[str, str]:
        """Return what each template says, its description aside."""
        dumps = {name: template.part.model_dump(mode="json") for name, template in self._all.items()}
        for dump in dumps.values():
            for part in (dump, *dump["inputs"].values()):
                part.pop("description")
        return {name: json.dumps(dump, sort_keys=True, ensure_ascii=False) for name, dump in dumps.items()}

    @property
    def full(self) -> bool:
        """There are problems enough."""
        return self._wrong >= ENOUGH

    @property
    def problems(self) -> list[Problem]:
        """What is wrong with the rules that were made; a mistake that many uses show is told once."""
        return _merged((rule, problem) for rule in self._rules for problem in rule.problems)

    @property
    def warnings(self) -> list[Problem]:
        """What is odd about them."""
        return _merged((rule, problem) for rule in self._rules for problem in rule.warnings)


def _merged(found: Iterable[tuple[MadeRule, Problem]]) -> list[Problem]:
    first: dict[tuple[str, int, int, str], tuple[MadeRule, Problem]] = {}
    count: dict[tuple[str, int, int, str], set[int]] = {}
    for rule, problem in found:
        key = (problem.file, problem.line, problem.column, problem.message)
        first.setdefault(key, (rule, problem))
        count.setdefault(key, set()).add(id(rule))
    merged = []
    for key, (rule, problem) in first.items():
        aside, more = rule.asides.get(problem, ""), len(count[key]) - 1
        also = f", and by {more} more" if more and aside.startswith("in ") else ""
        merged.append(replace(problem, message=f"{problem.message} ({aside}{also})") if aside else problem)
    return merged


def _own_keys(spot: Spot, known: Sequence[str]) -> bool:
    """Report keys that cannot stand beside `use`."""
    strange = [key for key in spot.value if key not in known]
    for key in strange:
        said = unknown_key(key, known)
        why = f"`{key}` cannot stand beside `use`; say it in the template, as an input if it varies"
        (spot / key).problem(said if "did you mean" in said else why, key=True)
    return not strange


def _known_keys(spot: Spot, model: type[BaseModel]) -> None:
    """Report keys that a part of a body cannot have, whatever its inputs are."""
    names = [info.alias or name for name, info in model.model_fields.items() if name != "id"]
    for key in spot.value if isinstance(spot.value, dict) else ():
        if key not in names and key != "id":
            (spot / key).problem(unknown_key(key, names), key=True)


def _long_form(value: Any) -> Any:
    """Return a template with the short form of its inputs (`door: door`) written out."""
    inputs = value.get("inputs") if isinstance(value, dict) else None
    if not isinstance(inputs, dict):
        return value
    long = {name: {"type": part} if isinstance(part, str) else part for name, part in inputs.items()}
    return {**value, "inputs": long}


def _texts(value: Any, path: YamlPath) -> Iterator[tuple[YamlPath, str, bool]]:
    """Yield every text of a body, with its place; True for keys."""
    if isinstance(value, str):
        yield path, value, False
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield (*path, key), key, True
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts(item, (*path, number))
