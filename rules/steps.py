"""The steps of a rule, flattened: what each does, and what must be over before it is reached.

`then` is a tree (blocks, branches, handlers), but nothing of the tree is left when it runs: a block
became a step that others come after, a handler one that its steps come after and that only a failure
lets go. So a firing is a set of steps it has not gone through yet, and going on is one pass over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from bridge.sdk import ActionClass, ActionParams, ActionSpec, YamlPath
from rules.expressions import Expression
from rules.templates import Params

DEFAULT_WAIT = timedelta(minutes=5)
"""How long a step waits for those it names in `with`, if it does not say."""
WATCHED = timedelta(days=7)
"""How long an `on_error` looks at the orders before it; by then each has long come to its end."""
NOT_HELD = ": `if` did not hold"
"""How a note ends about a step that was left out because of its own condition."""
FAILED = "failed"
"""Under this name the steps of an `on_error` see what went wrong."""


@dataclass(frozen=True, slots=True, eq=False)
class Act:
    """Make an order. Holds up nobody."""

    spec: ActionSpec[Any]
    params: Params
    fixed: dict[str, Any] | None = None
    """The finished parameters, if nothing in them depends on the event."""
    fixed_class: ActionClass | None = None

    @property
    def word(self) -> str:
        """What it is called."""
        return self.spec.name

    @property
    def action_class(self) -> ActionClass:
        """How it may fail, as far as that is known before an event comes."""
        return self.fixed_class or self.spec.action_class


@dataclass(frozen=True, slots=True)
class Pause:
    """Let time pass, or wait for the end of other steps; what comes after it waits too."""

    word = "wait"


@dataclass(frozen=True, slots=True)
class Listen:
    """Wait for an event; what comes after it waits too."""

    word = "wait_for"


@dataclass(frozen=True, slots=True)
class Block:
    """Go on with the steps in it, or with none of them."""

    word: str
    members: frozenset[int]


@dataclass(frozen=True, slots=True)
class Stop:
    """Reach no other step."""

    word = "stop"


@dataclass(frozen=True, slots=True)
class Catch:
    """Is passed when a step that it looks after fails; the steps in it come after it. Nobody else does."""

    members: frozenset[int]
    word = "on_error"


Does = Act | Pause | Listen | Block | Stop | Catch


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One thing that a rule does."""

    index: int
    path: YamlPath
    """Where it stands in the rule."""
    does: Does
    name: str | None = None
    needs: tuple[str, ...] = ()
    """Steps whose end it waits for."""
    wait: timedelta = DEFAULT_WAIT
    """How long at most; for a pause and a `wait_for` how long at all."""
    condition: Expression | None = None
    after: frozenset[int] = frozenset()
    """Steps that must have been gone through before it is reached."""
    sees: tuple[str, ...] = ()
    """Steps whose results its expressions may look at."""
    caught: int | None = None
    """The `on_error` that is told when it fails."""
    handler: int | None = None
    """The `on_error` that it is part of."""

    @property
    def label(self) -> str:
        """What traces call it: `then[3].do[0] webhook`."""
        keys = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.path)
        return f"{keys.removeprefix('.')} {self.does.word}"

    @property
    def holds(self) -> bool:
        """Waits by itself when it is reached, not for others."""
        return isinstance(self.does, Listen) or (isinstance(self.does, Pause) and not self.needs)


def never_reached(steps: Sequence[Step]) -> list[Step]:
    """Return the steps that a `stop` without a condition always ends before."""
    before: dict[int, set[int]] = {}
    for step in steps:
        before[step.index] = set(step.after).union(*(before.get(index, ()) for index in step.after))
    stops = {step.index for step in steps if isinstance(step.does, Stop) and step.condition is None}
    # What is in a block may be passed by, with the `stop` in it.
    groups = [step.does.members for step in steps if isinstance(step.does, (Block, Catch))]

    def ends(stop: int, step: Step) -> bool:
        return all(step.index in members for members in groups if stop in members)

    return [step for step in steps if any(ends(stop, step) for stop in stops & before[step.index])]


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
