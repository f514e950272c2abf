"""What may move things, as it is configured, beside what a person last agreed to. What was changed waits.

The configuration is read at the start only. What it says then about doors, outputs and `safety` is compared,
field by field, with the copy kept in `safety/settings.json`: what a change concerns stays at idle until
somebody agrees to exactly this change by its number. The first start of a data directory agrees to itself; where
the copy is gone or damaged later, nobody has agreed to anything.
Pure but for that file; whoever wants to move something asks it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bridge.clock import Clock
from bridge.config.models import BridgeConfig
from bridge.errors import StartError
from bridge.safety.journal import write_synced
from bridge.safety.reasons import Reason, refusal

_LOG = logging.getLogger(__name__)

FILE = "settings.json"
_TELLS = {"alerts", "heartbeat"}
"""Of `safety`: whom we tell, which moves nothing."""

Form = Mapping[str, str]
"""Every setting that differs from its default, by its path: `doors/main-gate/mode` to `act`."""


@dataclass(frozen=True, slots=True)
class Changed:
    """One setting. None: its default, or that the thing is not there."""

    setting: str
    was: str | None
    now: str | None

    def __str__(self) -> str:
        was, now = ("default" if value is None else value for value in (self.was, self.now))
        return f"{self.setting}: {was} → {now}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A change that nobody has agreed to yet."""

    confirm: str
    """The number that agrees to it."""
    changes: tuple[Changed, ...]
    everything: bool
    """It concerns all that moves."""
    outputs: frozenset[str]
    """The outputs it concerns by themselves."""


class Place(NamedTuple):
    """Where an output is, and which of its positions is idle: `on` or `off`."""

    source: str
    channel: str
    relay: str
    idle: str


class Settings:
    """What may move things at one site. Let it `load` before anything asks."""

    def __init__(self, config: BridgeConfig, folder: Path, clock: Clock) -> None:
        self._now, self._path, self._clock = form_of(config), folder / FILE, clock
        self._agreed: Form = {}
        self.waits: Waiting | None = None
        self.lost = False
        """The copy was there and is not any more, or cannot be understood: somebody must look why."""

    async def load(self, *, first: bool) -> None:
        """Compare with what was agreed to. At the `first` start of a data directory that is what there is.

        Raises StartError.
        """
        try:
            self._agreed = await self._found(first=first)
        except OSError as exc:
            raise StartError(f"{self._path} cannot be used: {exc.strerror}", "look at the disk and its rights") from exc
        self.waits = waiting(self._agreed, self._now)
        for change in self.waits.changes if self.waits else ():
            _LOG.warning("a setting of what moves was changed and waits", extra={"change": str(change)})

    def hold_all(self) -> bool:
        """Tell whether a change waits that concerns everything; the gate asks."""
        return self.waits is not None and self.waits.everything

    def hold(self, output: str) -> bool:
        """Tell whether a change waits that concerns this output, or its door."""
        return self.waits is not None and output in self.waits.outputs

    def place(self, output: str) -> Place | None:
        """Return where an output is, as somebody last agreed to it; None if nobody ever did."""
        said = [self._agreed.get(f"outputs/{output}/{field}") for field in Place._fields]
        known = [field for field in said if field is not None]
        return Place(*known) if len(known) == len(said) else None

    async def agree(self, confirm: str, who: str, reason: str) -> Waiting:
        """Let the change of this number count. Raises ActionRejectedError when another waits, or none; and OSError."""
        if self.waits is None:
            raise refusal(Reason.NOT_PENDING, "no changed setting waits")
        if confirm != self.waits.confirm:
            raise refusal(Reason.UNCONFIRMED, f"the change that waits is {self.waits.confirm}")
        await self._write(who, reason)
        agreed, self.waits, self._agreed, self.lost = self.waits, None, self._now, False
        _LOG.warning("changed settings of what moves count from now on", extra={"principal": who, "reason": reason})
        return agreed

    async def _found(self, *, first: bool) -> Form:
        try:
            return await asyncio.to_thread(self._read)
        except FileNotFoundError:
            if first:
                await self._write("first start", "there was nothing before")
                return self._now
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        self.lost = True
        _LOG.error("what was agreed to is gone or cannot be read: every setting of what moves waits")
        return {}

    def _read(self) -> Form:
        content = json.loads(self._path.read_bytes())
        return {str(path): str(value) for path, value in content["agreed"].items()}

    async def _write(self, who: str, reason: str) -> None:
        said = {"agreed": self._now, "principal": who, "reason": reason, "at": self._clock.now().isoformat()}
        await asyncio.to_thread(write_synced, self._path, json.dumps(said, indent=1).encode())


def form_of(config: BridgeConfig) -> Form:
    """Return what a configuration says about what moves. A default that nobody wrote is not in it."""
    said = config.model_dump(mode="json", by_alias=True, exclude_defaults=True, include=_CONCERNED)
    for name in _TELLS:
        said.get("safety", {}).pop(name, None)
    return dict(_flat(said))


_CONCERNED = {"dry_run", "doors", "outputs", "safety"}


def waiting(agreed: Form, now: Form) -> Waiting | None:
    """Return what has to be agreed to, and what it concerns; None when nothing has changed."""
    paths = sorted(path for path in agreed.keys() | now.keys() if agreed.get(path) != now.get(path))
    if not paths:
        return None
    outputs: set[str] = set()
    everything = False
    for part, name in {_owner(path) for path in paths}:
        if part == "outputs":
            outputs.add(name)
        elif part == "doors":  # the one it had as well: without its door, rules could switch that by themselves
            outputs |= {form[f"doors/{name}/output"] for form in (agreed, now) if f"doors/{name}/output" in form}
        else:
            everything = True
    number = hashlib.sha256(json.dumps([dict(agreed), dict(now)], sort_keys=True).encode()).hexdigest()[:12]
    changes = tuple(Changed(path, agreed.get(path), now.get(path)) for path in paths)
    return Waiting(number, changes, everything, frozenset(outputs))


def _owner(path: str) -> tuple[str, str]:
    """Return the section, and what it is about in there: a door or an output by its name, which may have dots."""
    part, _, rest = path.partition("/")
    return part, rest.partition("/")[0]


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _flat(part, f"{path}/{name}" if path else str(name))
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
