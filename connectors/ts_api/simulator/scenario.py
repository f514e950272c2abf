"""Scripted happenings: a YAML list of timed steps, checked whole before it starts.

    name: gate
    steps:
      - {at: 2s, event: {topic: LPR, channel: 1, plateNo: 12AB345, direction: entry}}
      - {at: 5s, event: {topic: motionChanges, channel: 3, motion: true}, repeat: 3, every: 2s}
      - {at: 6s, fault: {name: silent, lasts: 3s}}
      - {at: 9s, clear: silent, note: the link is back}

Every mistake is reported as `file:line:column: where: what`, all of them at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from bridge.sdk import ConfigError, Problem

from .faults import Fault, FaultName
from .happenings import Happening
from .times import Duration


class Step(BaseModel):
    """Something at a time: an event, a fault set or cleared, or just a note."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: Duration = Field(description="When, from the start of the scenario.")
    event: Happening | None = Field(None, description="What happens.")
    fault: Fault | None = Field(None, description="Fault to set.")
    clear: FaultName | None = Field(None, description="Fault to clear.")
    note: str = Field("", description="Said in the log and in `/_sim/scenario`.")
    repeat: int = Field(1, ge=1, le=100_000, description="How many times.")
    every: Duration = Field(timedelta(seconds=1), description="Pause between repetitions.")

    @model_validator(mode="after")
    def _does_something(self) -> Step:
        if not (self.event or self.fault or self.clear or self.note):
            raise ValueError("a step needs one of event, fault, clear, note")
        return self


class Scenario(BaseModel):
    """A named list of steps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Shown while it plays.")
    description: str = Field("", description="What it is for.")
    speed: float = Field(1, gt=0, description="2 plays twice as fast.")
    steps: tuple[Step, ...] = Field(description="What happens, in any order.")

    @field_validator("steps")
    @classmethod
    def _has_steps(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        if not steps:
            raise ValueError("a scenario needs at least one step")
        return steps

    def timeline(self) -> list[tuple[timedelta, Step]]:
        """Return every repetition of every step in order of time."""
        moments = [(step.at + step.every * turn, step) for step in self.steps for turn in range(step.repeat)]
        return sorted(moments, key=lambda moment: moment[0])


def shipped(name: str) -> Path:
    """Return the path of a scenario that comes with the simulator, such as `demo`."""
    return Path(str(files(__package__).joinpath("scenarios", f"{name}.yaml")))


def load(path: Path) -> Scenario:
    """Read a scenario file; a ConfigError holds every problem found."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ConfigError([Problem(str(path), 0, 0, "", f"cannot be read: {exc.strerror}")]) from exc
    return parse(text, str(path))


def parse(text: str, name: str = "scenario") -> Scenario:
    """Read a scenario from YAML text; `name` stands for the file in problems."""
    yaml = YAML(typ="rt")
    yaml.allow_duplicate_keys = False
    try:
        tree = yaml.load(text)
    except MarkedYAMLError as exc:
        mark = exc.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise ConfigError([Problem(name, line, column, "", exc.problem or "not YAML")]) from exc
    except YAMLError as exc:
        raise ConfigError([Problem(name, 1, 1, "", "not YAML")]) from exc
    try:
        return Scenario.model_validate(tree)
    except ValidationError as exc:
        raise ConfigError([_problem(name, tree, error) for error in exc.errors()]) from exc


def _problem(name: str, tree: Any, error: Any) -> Problem:
    where, (line, column) = _locate(tree, error["loc"])
    return Problem(name, line, column, where, error["msg"].removeprefix("Value error, "))


def _locate(tree: Any, loc: Sequence[str | int]) -> tuple[str, tuple[int, int]]:
    """Follow a pydantic location into the YAML as far as it goes; model names on the way are skipped."""
    node, place, words = tree, (1, 1), ""
    for key in loc:
        if isinstance(node, CommentedSeq) and isinstance(key, int) and key < len(node):
            line, column = node.lc.item(key)
            words += f"[{key}]"
        elif isinstance(node, CommentedMap) and key in node:
            line, column = node.lc.key(key)
            words += f".{key}" if words else str(key)
        else:
            if isinstance(node, CommentedMap) and key == loc[-1]:
                words += f".{key}" if words else str(key)
            continue
        node, place = node[key], (line + 1, column + 1)
    return words, place


class Player:
    """Plays one scenario. `done` counts the steps taken; `now_playing` is the last note."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        happen: Callable[[Happening], None],
        set_fault: Callable[[Fault], object],
        clear_fault: Callable[[FaultName], object],
    ) -> None:
        self.scenario = scenario
        self.done, self.total, self.note = 0, len(scenario.timeline()), ""
        self._happen, self._set, self._clear = happen, set_fault, clear_fault

    async def run(self, speed: float = 1) -> None:
        """Play it to the end; `speed` multiplies the scenario's own."""
        loop = asyncio.get_running_loop()
        started, factor = loop.time(), speed * self.scenario.speed
        for at, step in self.scenario.timeline():
            await asyncio.sleep(max(0, started + at.total_seconds() / factor - loop.time()))
            self._take(step)
            self.done += 1

    def _take(self, step: Step) -> None:
        self.note = step.note or self.note
        if step.clear:
            self._clear(step.clear)
        if step.fault:
            self._set(step.fault)
        if step.event:
            self._happen(step.event)
