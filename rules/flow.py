"""The `then` and `on_error` of a rule: from the tree that the user wrote to a flat row of steps.

What follows what is settled here, once, as data: every step knows which others must have been gone
through before it is reached. An action holds up nobody; `wait`, `wait_for` and what is inside a
block do. The branches of `parallel` come after the same steps, and what is below it after all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from bridge.sdk import format_duration, nearest, unknown
from rules.report import Spot, shown, unknown_key
from rules.selectors import Selectors, Wanted
from rules.stepreader import RESERVED, Reserved, StepReader
from rules.steps import Block, Catch, Does, Listen, Pause, Step, Stop
from rules.whenmodel import LONGEST, WaitFor

_BESIDE = (*RESERVED, "on_error")
_BLOCK = frozenset({"with", "wait", "if", "on_error"})
_GOES_WITH: Mapping[str, frozenset[str]] = {
    "wait": frozenset({"with", "wait", "if"}),
    "wait_for": frozenset({"as", "if"}),
    "stop": frozenset({"with", "wait", "if"}),
    "do": _BLOCK,
    "parallel": _BLOCK,
}
"""What may stand beside the words that are no actions. Beside an action everything may."""
WORDS = frozenset(_GOES_WITH) - {"wait"}
"""What a step may be called besides an action."""
MOST_STEPS = 200
"""Of one rule."""
DEEPEST = 8
"""Blocks inside blocks."""


@dataclass(frozen=True, slots=True)
class _Where:
    """Where in the tree one is: what must be over before, and the `on_error` and depth one is in."""

    after: frozenset[int] = frozenset()
    handler: int | None = None
    depth: int = 0

    def inside(self, after: frozenset[int]) -> _Where:
        return replace(self, after=after, depth=self.depth + 1)


class FlowReader:
    """Reads the steps of one rule."""

    def __init__(self, reader: StepReader, selectors: Selectors) -> None:
        self._reader, self._selectors = reader, selectors
        self._steps: list[Step | None] = []
        self._root = 0
        self._words: Mapping[str, Callable[[Spot, Reserved, _Where], frozenset[int]]] = {
            "wait_for": self._listen,
            "stop": self._stop,
            "do": self._do,
            "parallel": self._parallel,
        }
        self.answers: list[Wanted] = []
        """The events that steps wait for; the role is the step's place in the row."""

    def read(self, then: Spot, on_error: Spot) -> tuple[Step, ...]:
        """Return the steps; reports what is wrong."""
        self._root = len(then.path) - 1
        if isinstance(then.value, list):  # a missing or misshapen one is reported by the model
            if not then.value:
                then.problem("`then` must say what to do: at least one action")
            self._sequence(then, _Where())
        if isinstance(on_error.value, list) and on_error.value:
            self._catch(on_error, 0, _Where())
        if len(self._steps) > MOST_STEPS:
            then.problem(f"{len(self._steps)} steps; a rule has at most {MOST_STEPS}")
        return tuple(step for step in self._steps if step is not None)

    # --- the tree -----------------------------------------------------------------------------------

    def _sequence(self, spot: Spot, where: _Where) -> frozenset[int]:
        """Read steps that follow each other; return what must be over after the last."""
        after = where.after
        for number in range(len(spot.value)):
            after = self._one(spot / number, replace(where, after=after))
        return after

    def _one(self, spot: Spot, where: _Where) -> frozenset[int]:
        """Read a step; return what must be over before the next one."""
        head = self._head(spot)
        if head is None:
            return where.after
        word = head if head in WORDS or head == "wait" else None
        if word is not None:
            for key in [key for key in _BESIDE if key in spot.value and key not in _GOES_WITH[word]]:
                (spot / key).problem(f"`{key}` does not go with `{word}`", key=True)
        elif head not in self._reader.actions:
            known = sorted([*self._reader.actions, *WORDS])
            (spot / head).problem(unknown("action", head, known), key=True)
            self._reader.reserved(spot, head, failing=where.handler is not None)
            return where.after
        beside = self._reader.reserved(
            spot, None if head == "wait" else head, failing=where.handler is not None, pausing=head == "wait"
        )
        if head == "wait":
            return self._pause(spot, beside, where)
        return (self._words[head] if word else self._act)(spot, beside, where)

    @staticmethod
    def _head(spot: Spot) -> str | None:
        """Return what the step does: an action's name, or a word of ours."""
        value = spot.value
        if not isinstance(value, dict) or not value:
            spot.problem(f"a step is an action and its parameters, like `open: main-gate`; got {shown(value)}")
            return None
        names = [name for name in value if name not in _BESIDE]
        if not names and "wait" in value:
            return "wait"
        strange = [name for name in names if nearest(name, _BESIDE)] if len(names) > 1 else []
        if strange and len(names) - len(strange) == 1:
            for name in strange:
                (spot / name).problem(unknown_key(name, _BESIDE), key=True)
            return None
        if len(names) != 1:
            many = " and ".join(f"`{name}`" for name in names) or "none"
            spot.problem(f"a step has one action, here are {many}; start each with its own `-`", key=False)
            return None
        return str(names[0])

    # --- what a step can be -------------------------------------------------------------------------

    def _act(self, spot: Spot, beside: Reserved, where: _Where) -> frozenset[int]:
        [name] = [name for name in spot.value if name not in _BESIDE]
        index = self._reserve()
        does = self._reader.act(spot / name, self._reader.actions[name], spot.value[name], beside)
        if does is not None:
            self._put(index, spot, does, beside, where)
        if "on_error" in spot.value:
            self._catch(spot / "on_error", index, where)
        return where.after

    def _pause(self, spot: Spot, beside: Reserved, where: _Where) -> frozenset[int]:
        if beside.wait > LONGEST:
            (spot / "wait").problem(f"`wait`: must not be longer than {format_duration(LONGEST)}")
        return self._put(self._reserve(), spot, Pause(), beside, where)

    def _listen(self, spot: Spot, beside: Reserved, where: _Where) -> frozenset[int]:
        index = self._reserve()
        inside = spot / "wait_for"
        value = inside.value
        if isinstance(value, dict):
            value = {key: item for key, item in value.items() if key not in RESERVED}
            for key in ("with", "wait"):
                if key in inside.value:
                    (inside / key).problem(f"`{key}` does not go with `wait_for`", key=True)
        part = inside.read(WaitFor, value=value)
        self._reader.heard(beside.name)
        if part is None:
            return where.after
        self.answers.append(self._selectors.answer(part, inside, str(index)))
        return self._put(index, spot, Listen(), replace(beside, wait=part.within), where)

    def _stop(self, spot: Spot, beside: Reserved, where: _Where) -> frozenset[int]:
        value = spot.value["stop"]
        if isinstance(value, dict):
            for key in value.keys() - _GOES_WITH["stop"]:
                (spot / "stop" / key).problem(f"unknown key `{key}`; write `stop: {{if: ...}}`", key=True)
        elif value not in (None, True):
            (spot / "stop").problem(f"`stop` takes nothing, or `if`: `stop: {{if: ...}}`; got {shown(value)}")
        return self._put(self._reserve(), spot, Stop(), beside, where)

    def _do(self, spot: Spot, beside: Reserved, where: _Where) -> frozenset[int]:
        return self._block(spot, "do", beside, where, self._sequence)

    def _parallel(self, spot: Spot, beside: Reserved, where: _Where) -> frozenset[int]:
        return self._block(spot, "parallel", beside, where, self._branches)

    def _branches(self, spot: Spot, where: _Where) -> frozenset[int]:
        """Read branches: a step each, or a list of steps. What is below comes after all of them."""
        ends = where.after
        for number in range(len(spot.value)):
            branch = spot / number
            ends |= (self._sequence if isinstance(branch.value, list) else self._one)(branch, where)
        return ends

    def _block(
        self,
        spot: Spot,
        word: str,
        beside: Reserved,
        where: _Where,
        read: Callable[[Spot, _Where], frozenset[int]],
    ) -> frozenset[int]:
        inside = spot / word
        if not isinstance(inside.value, list) or not inside.value:
            inside.problem(f"`{word}` is a list of steps, each with its own `-`; got {shown(inside.value)}")
            return where.after
        if where.depth >= DEEPEST:
            inside.problem(f"blocks inside more than {DEEPEST} blocks")
            return where.after
        first = len(self._steps)
        after = where.after
        if beside.condition is not None or beside.needs:
            gate = self._reserve()
            after = read(inside, where.inside(frozenset({gate})))
            self._put(gate, spot, Block(word, self._since(gate + 1)), beside, where)
        else:
            after = read(inside, where.inside(after))
        if "on_error" in spot.value:
            self._catch(spot / "on_error", first, where)
        return after

    def _catch(self, spot: Spot, first: int, where: _Where) -> None:
        """Read an `on_error`: it looks after the steps from `first` on that no other looks after."""
        if not isinstance(spot.value, list) or not spot.value:
            spot.problem(f"`on_error` is a list of steps, each with its own `-`; got {shown(spot.value)}")
            return
        if where.depth >= DEEPEST:
            spot.problem(f"blocks inside more than {DEEPEST} blocks")
            return
        index = self._reserve()
        for number in range(first, index):
            step = self._steps[number]
            if step is not None and step.caught is None:
                self._steps[number] = replace(step, caught=index)
        self._sequence(spot, _Where(frozenset({index}), index, where.depth + 1))
        self._steps[index] = Step(index, spot.path[self._root :], Catch(self._since(index + 1)), after=where.after)

    # --- the row ------------------------------------------------------------------------------------

    def _reserve(self) -> int:
        """Take the next place in the row."""
        self._steps.append(None)
        return len(self._steps) - 1

    def _since(self, first: int) -> frozenset[int]:
        return frozenset(range(first, len(self._steps)))

    def _put(self, index: int, spot: Spot, does: Does, beside: Reserved, where: _Where) -> frozenset[int]:
        """Fill a place; return it, for those that come after it."""
        self._steps[index] = Step(
            index,
            spot.path[self._root :],
            does,
            beside.name,
            beside.needs,
            beside.wait,
            beside.condition,
            where.after,
            beside.sees,
            handler=where.handler,
        )
        return frozenset({index})
