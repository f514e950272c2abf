"""The `then` of a rule: from what the user wrote to steps that can be turned into orders.

Everything that can be known at load is checked at load: the action's name, its parameters by its
own model, the site's doors and channels by its own check, the names that steps give each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from bridge.sdk import ActionClass, ActionParams, ActionSpec, Known, YamlPath, parse_duration, unknown
from rules.celscan import Scope
from rules.expressions import Expression
from rules.report import Spot, shown
from rules.templates import PLACEHOLDER, Params, find_templates

RESERVED = ("as", "with", "wait", "if")
"""Keys of every step, inside its parameters or beside its action; an action with a parameter named so sees it too."""
DEFAULT_WAIT = timedelta(minutes=5)
"""How long a step waits for those it names in `with`, if it does not say."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One action of a rule."""

    index: int
    spec: ActionSpec[Any]
    params: Params
    fixed: dict[str, Any] | None
    """The finished parameters, if nothing in them depends on the event."""
    fixed_class: ActionClass | None
    name: str | None
    needs: tuple[str, ...]
    wait: timedelta
    condition: Expression | None

    @property
    def label(self) -> str:
        """What traces call it."""
        return f"then[{self.index}] {self.spec.name}"


class StepReader:
    """Reads the steps of one rule, in order, since later ones may name earlier ones."""

    def __init__(self, actions: Mapping[str, ActionSpec[Any]], known: Known, scope: Scope) -> None:
        self._actions, self._known, self._scope = actions, known, scope
        self._names: dict[str, int] = {}
        self.expressions: list[Expression] = []

    def read(self, spot: Spot, index: int) -> Step | None:
        """Return a step; None if it is none. Reports what is wrong."""
        value = spot.value
        if not isinstance(value, dict) or not value:
            spot.problem(f"a step is an action and its parameters, like `open: main-gate`; got {shown(value)}")
            return None
        names = [name for name in value if name not in RESERVED]
        if len(names) != 1:
            many = " and ".join(f"`{name}`" for name in names) or "none"
            spot.problem(f"a step has one action, here are {many}; start each with its own `-`", key=False)
            return None
        spec = self._actions.get(names[0])
        if spec is None:
            (spot / names[0]).problem(unknown("action", names[0], sorted(self._actions)), key=True)
            self._reserved(spot, value, names[0])
            return None
        return self._step(spot, spec, value, index)

    def _step(self, spot: Spot, spec: ActionSpec[Any], value: dict[str, Any], index: int) -> Step | None:
        reserved = self._reserved(spot, value, spec.name)
        name = self._name(reserved.get("as"), index)
        needs = self._needs(reserved.get("with"))
        wait = self._wait(reserved.get("wait"), needs)
        scope = Scope(self._scope.names | ({"steps"} if needs else set()), self._scope.data, frozenset(needs))
        condition = self._condition(reserved.get("if"), scope)
        before = spot.problems
        asked = {key: reserved[key].value for key in reserved if key in param_names(spec)}
        params = self._params(spot / spec.name, spec, value[spec.name], asked, scope)
        if params is None:
            return None
        self.expressions += [part for template in params.templates.values() for part in template.expressions]
        model = self._check(spot / spec.name, spec, params, before)
        if params.templates or model is None:
            return Step(index, spec, params, None, None, name, needs, wait, condition)
        return Step(index, spec, params, dump(model), class_of(spec, model), name, needs, wait, condition)

    @staticmethod
    def _reserved(spot: Spot, value: dict[str, Any], action: str) -> dict[str, Spot]:
        """Return where the reserved keys stand: beside the action or among its parameters."""
        found = {key: spot / key for key in RESERVED if key in value}
        inside = value[action]
        for key in RESERVED:
            if isinstance(inside, dict) and key in inside:
                if key in found:
                    found[key].problem(f"`{key}` is here twice: beside `{action}` and in it", key=True)
                found[key] = spot / action / key
        return found

    def _name(self, spot: Spot | None, index: int) -> str | None:
        if spot is None:
            return None
        name = spot.value
        if not isinstance(name, str) or not name.isidentifier():
            spot.problem(f"`as`: {shown(name)} is not a name for a step; use letters, digits and `_`")
            return None
        if name in self._names:
            spot.problem(f"`as`: a step named {name!r} exists already")
            return None
        self._names[name] = index
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
    def _wait(spot: Spot | None, needs: tuple[str, ...]) -> timedelta:
        if spot is None:
            return DEFAULT_WAIT
        try:
            if not isinstance(spot.value, str):
                raise ValueError(f"{shown(spot.value)} is not a duration; write a number with its unit: 30s, 5m")
            wait = parse_duration(spot.value)
        except ValueError as error:
            spot.problem(f"`wait`: {error}")
            return DEFAULT_WAIT
        if not needs:
            spot.problem("`wait` is the longest wait for `with`, which is missing here", key=True)
        return wait

    def _condition(self, spot: Spot | None, scope: Scope) -> Expression | None:
        if spot is None:
            return None
        try:
            if not isinstance(spot.value, str):
                raise ValueError(f"must be a CEL expression in quotes, got {shown(spot.value)}")
            expression = Expression(spot.value, scope)
        except ValueError as error:
            spot.problem(f"`if`: {error}")
            return None
        self.expressions.append(expression)
        return expression

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
            for message in spec.check(model, self._known):
                spot.problem(f"`{spec.name}`: {message}")
        return model


def param_names(spec: ActionSpec[Any]) -> frozenset[str]:
    """Return the parameters of an action, as they are written."""
    model: type[ActionParams] = spec.params
    return _names(model)


@lru_cache(maxsize=256)
def _names(model: type[ActionParams]) -> frozenset[str]:
    return frozenset(info.alias or name for name, info in model.model_fields.items())


def dump(model: ActionParams) -> dict[str, Any]:
    """Return parameters as they stand in an order: JSON, only what was written."""
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True)


def class_of(spec: ActionSpec[Any], model: ActionParams) -> ActionClass:
    """Return how the action may fail with these parameters."""
    return spec.classify(model) if spec.classify else spec.action_class


def validated(spec: ActionSpec[Any], value: dict[str, Any]) -> ActionParams:
    """Return rendered parameters as the action's model. Raises ValueError in one line."""
    try:
        model: ActionParams = spec.params.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return model
