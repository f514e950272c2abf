"""One step of a rule: from what the user wrote to what it does.

Everything that can be known at load is checked at load: the action's name, its parameters by its
own model, the site's doors and channels by its own check, the names that steps give each other.
How steps follow each other is the flow's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from bridge.sdk import ActionParams, ActionSpec, Known, YamlPath, parse_duration, unknown
from rules.celscan import Scope
from rules.expressions import Expression
from rules.report import Spot, shown
from rules.stateof import unanswerable
from rules.steps import DEFAULT_WAIT, FAILED, Act, class_of, dump, param_names
from rules.templates import PLACEHOLDER, Params, find_templates

RESERVED = ("as", "with", "wait", "if")
"""Keys of every step, inside its parameters or beside its action; an action with a parameter named so sees it too."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """What stands beside what a step does."""

    name: str | None
    needs: tuple[str, ...]
    wait: timedelta
    condition: Expression | None
    sees: tuple[str, ...]
    scope: Scope
    asked: Mapping[str, Any]
    """The keys as they are written."""


class StepReader:
    """Reads the steps of one rule, in order, since later ones may name earlier ones."""

    def __init__(self, actions: Mapping[str, ActionSpec[Any]], known: Known, scope: Scope) -> None:
        self.actions = actions
        self._known, self._scope = known, scope
        self._names: set[str] = set()
        self._heard: list[str] = []
        self.expressions: list[tuple[Expression, Spot]] = []
        """All that were read, and where they stand."""

    def heard(self, name: str | None) -> None:
        """Note the name of a `wait_for`: the steps after it see its result without waiting for it."""
        if name is not None:
            self._heard.append(name)

    def reserved(self, spot: Spot, head: str | None, *, failing: bool, pausing: bool = False) -> Reserved:
        """Return what stands beside `head`, or in it. `failing`: this is a step of an `on_error`.

        `pausing`: `wait` alone is what this step does.
        """
        found = self._found(spot, head)
        name = self._name(found.get("as"))
        needs = self._needs(found.get("with"))
        wait = self._wait(found.get("wait"), needs, pausing)
        sees = tuple(dict.fromkeys([*needs, *self._heard, *([FAILED] if failing else [])]))
        names = self._scope.names | ({"steps"} if sees else set())
        scope = Scope(names, self._scope.data, frozenset(sees), self._scope.about)
        condition = self._condition(found.get("if"), scope)
        if name is not None:
            self._names.add(name)
        return Reserved(name, needs, wait, condition, sees, scope, {key: found[key].value for key in found})

    def act(self, spot: Spot, spec: ActionSpec[Any], value: Any, beside: Reserved) -> Act | None:
        """Return an action with its parameters."""
        before = spot.problems
        asked = {key: value for key, value in beside.asked.items() if key in param_names(spec)}
        params = self._params(spot, spec, value, asked, beside.scope)
        if params is None:
            return None
        for path, template in params.templates.items():
            for part in template.expressions:
                self._keep(part, spot.below(path), f"`{spec.name}`")
        model = self._check(spot, spec, params, before)
        if params.templates or model is None:
            return Act(spec, params)
        return Act(spec, params, dump(model), class_of(spec, model))

    # --- beside -------------------------------------------------------------------------------------

    @staticmethod
    def _found(spot: Spot, head: str | None) -> dict[str, Spot]:
        """Return where the reserved keys stand: beside the action or among its parameters."""
        found = {key: spot / key for key in RESERVED if key in spot.value}
        inside = spot.value[head] if head is not None else None
        for key in RESERVED:
            if isinstance(inside, dict) and key in inside and head is not None:
                if key in found:
                    found[key].problem(f"`{key}` is here twice: beside `{head}` and in it", key=True)
                found[key] = spot / head / key
        return found

    def _name(self, spot: Spot | None) -> str | None:
        if spot is None:
            return None
        name = spot.value
        if not isinstance(name, str) or not name.isidentifier():
            spot.problem(f"`as`: {shown(name)} is not a name for a step; use letters, digits and `_`")
            return None
        if name in self._names:
            spot.problem(f"`as`: a step named {name!r} exists already")
            return None
        if name == FAILED:
            spot.problem(f"`as`: {name!r} is what `on_error` calls the step that failed; take another name")
            return None
        return name

    def _needs(self, spot: Spot | None) -> tuple[str, ...]:
        if spot is None:
            return ()
        value = spot.value
        names = value if isinstance(value, list) else [value]
        known = []
        for name in names:
            if isinstance(name, str) and name in self._names:
                known.append(name)
            else:
                spot.problem(f"`with`: {unknown('earlier step', str(name), sorted(self._names))}")
        return tuple(dict.fromkeys(known))

    @staticmethod
    def _wait(spot: Spot | None, needs: tuple[str, ...], pausing: bool) -> timedelta:
        if spot is None:
            return DEFAULT_WAIT
        try:
            if not isinstance(spot.value, str):
                raise ValueError(f"{shown(spot.value)} is not a duration; write a number with its unit: 30s, 5m")
            wait = parse_duration(spot.value)
        except ValueError as error:
            spot.problem(f"`wait`: {error}")
            return DEFAULT_WAIT
        if not needs and not pausing:
            spot.problem("`wait` is the longest wait for `with`, which is missing here", key=True)
        return wait

    def _condition(self, spot: Spot | None, scope: Scope) -> Expression | None:
        if spot is None:
            return None
        try:
            if not isinstance(spot.value, str):
                raise ValueError(f"must be a CEL expression in quotes, got {shown(spot.value)}")
            expression = Expression(spot.value, scope, condition=True)
        except ValueError as error:
            spot.problem(f"`if`: {error}")
            return None
        self._keep(expression, spot, "`if`")
        return expression

    def _keep(self, expression: Expression, spot: Spot, where: str) -> None:
        for note in unanswerable(expression, self._known):
            spot.pointless(f"{where}: {note}")
        self.expressions.append((expression, spot))

    # --- parameters ---------------------------------------------------------------------------------

    @staticmethod
    def _params(spot: Spot, spec: ActionSpec[Any], value: Any, asked: dict[str, Any], scope: Scope) -> Params | None:
        """Return the parameters; `asked` are the reserved keys that the action wants to see too."""
        if value is None:
            value = {}
        elif not isinstance(value, dict):
            if spec.shorthand is None:
                spot.problem(f"`{spec.name}` takes a mapping of parameters, got {shown(value)}")
                return None
            value = {spec.shorthand: value}
        raw = {key: item for key, item in value.items() if key not in RESERVED} | asked

        def say(path: YamlPath, message: str) -> None:
            spot.below(path).problem(f"`{spec.name}`: {message}")

        return find_templates(raw, spec.params, scope, say)

    def _check(self, spot: Spot, spec: ActionSpec[Any], params: Params, before: int) -> ActionParams | None:
        """Return the parameters as the action sees them; its own check is asked only if nothing else is wrong."""
        value = params.filled(lambda template: PLACEHOLDER)
        model = spot.read(spec.params, value=value, ignore=frozenset(params.templates))
        if model is not None and spot.problems == before:
            for message in spec.check(_still_open(spec, params) or model, self._known):
                spot.problem(f"`{spec.name}`: {message}")
        return model


def _still_open(spec: ActionSpec[Any], params: Params) -> ActionParams | None:
    """Return the parameters with `{{ }}` where an event decides, so that no check takes that for a name."""
    if not params.templates:
        return None
    try:
        model: ActionParams = spec.params.model_validate(params.filled(lambda template: "{{ }}"))
    except ValidationError:
        return None
    return model
