"""Rule files that change while the bridge runs: all of them count, or none.

A change that has come to rest, or a person who asks, leads to one compilation of everything. Anything
wrong leaves the rules in force as they are, and is said in the log, in health and to who asked. What is
right is stored and named by one `rules.changed` event; from that place in the log on it decides.

What touches rules that open, switch or start something waits until a person confirms exactly this
change, also when it is found at a start. The configuration file itself is read at start only.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from bridge.clock import Clock
from bridge.config.load import Loaded
from bridge.contracts import Emit
from bridge.crashpoint import crash_point
from bridge.errors import ConfigError, Problem, StoreError, StoreUnavailableError
from bridge.files import read_file
from bridge.live.aside import aside
from bridge.live.events import change_event, stored
from bridge.live.watch import Rest, Seen, look_at
from bridge.rulebook import Actions, StoredRuleSets, compile_site, read_site
from bridge.runtime.health import HealthBook, Level
from bridge.schema.event import VmsEvent
from bridge.schema.kinds import RulesChanged
from rules.changes import Change, change_between
from rules.ruleset import Documents, RuleSet

_LOG = logging.getLogger(__name__)

PART = "rules"
"""The part of health that says how the rule files are."""
LOOK_EVERY = 1.0
"""Seconds between two looks at the files."""
NAMED = 500
"""Rules of each kind that a `rules.changed` event names."""
_SHOWN = 20
"""Problems that health shows; the log has all of them."""
_THREAD = "rule-files"
_TRIES = 5
"""Readings of files that change while they are read."""

Outcome = Literal["unchanged", "changed", "waits", "refused"]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What came of a look at the files. `waits`: for who confirms it; `refused`: `problems` says why."""

    outcome: Outcome
    rules: int
    change: Change | None = None
    problems: tuple[Problem, ...] = ()

    def as_json(self) -> dict[str, JsonValue]:
        """Return it for people and programs."""
        content: dict[str, JsonValue] = {"outcome": self.outcome, "rules": self.rules}
        if self.change is not None:
            parts = ("added", "changed", "removed", "lists", "moving")
            content |= {part: list(getattr(self.change, part)) for part in parts}
            content["ruleset"] = self.change.new if self.outcome == "changed" else self.change.old
        if self.change is not None and self.outcome == "waits":
            content["confirm"] = self.change.confirmation
        if self.problems:
            content["problems"] = [_problem(problem) for problem in self.problems]
        return content


class Reloader:
    """The rule files of one site. `begin` it with what decides; then `run`, and `reload` at will."""

    def __init__(
        self,
        loaded: Loaded,
        actions: Actions,
        stored_sets: StoredRuleSets,
        emit: Emit,
        clock: Clock,
        health: HealthBook,
        rules: RuleSet,
    ) -> None:
        """`rules` is what the files gave when the bridge started, in force or not."""
        self._loaded, self._actions, self._sets = loaded, actions, stored_sets
        self._emit, self._clock, self._health = emit, clock, health
        self._site = loaded.config.site
        self._rules = self._read = rules
        self._rest: Rest | None = None
        self._config: str | None = None
        self._config_changed = False
        self._last = Reloaded("unchanged", len(rules.rules))
        self._since: datetime = clock.now()
        self._doubtful: VmsEvent | None = None
        """A change of which nobody knows whether it was stored."""
        self._lock = asyncio.Lock()
        self._asked = asyncio.Event()
        health.register(PART, needed=False)

    @property
    def rules(self) -> RuleSet:
        """The rules that decide, or are about to."""
        return self._rules

    async def begin(self, in_force: RuleSet | None) -> Reloaded:
        """Compare what the log says decides with what the files say; None before the first rules."""
        found = self._read
        self._config = await aside(lambda: _content(self._loaded.path), _THREAD)
        self._rest = Rest(await aside(lambda: look_at(self._paths(found.documents.wanted)), _THREAD))
        async with self._lock:
            if in_force is None:
                change = await asyncio.to_thread(change_between, RuleSet.empty(found.site), found)
                await self._adopt(found, replace(change, old=""), None)
                return self._say(Reloaded("changed", len(found.rules), change))
            self._rules = in_force
            return await self._offer(found, None, None)

    async def run(self) -> None:
        """Look at the files every second, and when asked to, until cancelled."""
        while True:
            try:
                await self.look()
            except StoreUnavailableError as exc:
                _LOG.warning("changed rules cannot be stored now and wait", extra={"error": str(exc)})
            except Exception:  # noqa: BLE001 - the edge of a task: what was in force stays, and the bridge goes on
                _LOG.exception("the rule files could not be looked at")
            await self._clock.sleep(LOOK_EVERY)

    def ask(self) -> None:
        """Let the files be read at the next look, whether or not they seem to have changed."""
        self._asked.set()

    async def reload(self, who: str, confirm: str | None = None) -> Reloaded:
        """Read the files now, for a person; `confirm` names the change that may move things.

        Raises StoreUnavailableError, and then the rules are as they were.
        """
        return await self._reread(who, confirm)

    def state(self) -> dict[str, JsonValue]:
        """Return what decides, and what came of the last look at the files."""
        return {
            "ruleset": self._rules.hash,
            "rules": len(self._rules.rules),
            "config_changed": self._config_changed,
            "files": {"since": self._since.isoformat(), **self._last.as_json()},
        }

    # --- looking ---------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Read the files if they have changed and are at rest, or if that was asked for."""
        asked = self._asked.is_set()
        self._asked.clear()
        seen = await aside(lambda: look_at(self._paths(self._read.documents.wanted)), _THREAD)
        assert self._rest is not None  # noqa: S101 - set by `begin`
        if asked or self._rest.changed(seen):
            await self._reread(None, None)

    def _paths(self, wanted: Sequence[Path]) -> list[Path]:
        own = [self._loaded.path] if self._loaded.path is not None else []
        try:
            files = self._loaded.rule_files()
        except ConfigError:
            files = []  # a file that is named and gone: reading says so
        return sorted({*files, *wanted, *own})

    async def _look_at_config(self) -> None:
        changed = await aside(lambda: _content(self._loaded.path), _THREAD) != self._config
        if changed and not self._config_changed:
            _LOG.warning("the configuration has changed, and is read at start only: restart the bridge to use it")
        self._config_changed = changed

    async def _reread(self, who: str | None, confirm: str | None) -> Reloaded:
        async with self._lock:
            await self._look_at_config()
            try:
                found = await aside(self._compile, _THREAD)
            except ConfigError as error:
                for problem in error.problems:
                    _LOG.error("a problem in the rule files", extra={"problem": str(problem)})
                return self._say(Reloaded("refused", len(self._rules.rules), problems=error.problems))
            self._read = found
            try:
                return await self._offer(found, who, confirm)
            except StoreUnavailableError:
                self._asked.set()  # they are at rest and would not be looked at again
                raise

    def _compile(self) -> RuleSet:
        """Read and compile everything. Raises ConfigError."""
        rules = compile_site(self._loaded, self._actions, self._documents())
        _ = rules.hash, rules.index, rules.answering  # worked out here, where nobody waits
        return rules

    def _documents(self) -> Documents:
        """Read everything, again if something changes meanwhile. Raises ConfigError."""
        assert self._rest is not None  # noqa: S101 - set by `begin`
        wanted: Sequence[Path] = self._read.documents.wanted
        for _ in range(_TRIES):
            before = look_at(self._paths(wanted))
            try:
                documents = read_site(self._loaded)
            except ConfigError:
                self._rest.read(before)
                raise
            wanted = (*documents.wanted, *wanted)
            after = look_at(self._paths(wanted))
            self._rest.read(after)
            if _agree(before, after):
                return documents
        raise ConfigError("the rule files are being written; they are read again when they rest")

    # --- taking -----------------------------------------------------------------------------------------

    async def _offer(self, found: RuleSet, who: str | None, confirm: str | None) -> Reloaded:
        """Let other rules decide, if they are other rules and nothing stands against it."""
        if found.hash == self._rules.hash:
            return self._say(Reloaded("unchanged", len(found.rules)))
        change = await asyncio.to_thread(change_between, self._rules, found)
        if change.moving and confirm != change.confirmation:
            return self._say(Reloaded("waits", len(self._rules.rules), change))
        await self._adopt(found, change, who)
        return self._say(Reloaded("changed", len(found.rules), change))

    async def _adopt(self, found: RuleSet, change: Change, who: str | None) -> None:
        await self._sets.store(found)
        crash_point("rules.stored")
        data = RulesChanged(
            ruleset=found.hash,
            rules=len(found.rules),
            previous=change.old or None,
            added=change.added[:NAMED],
            changed=change.changed[:NAMED],
            removed=change.removed[:NAMED],
            lists=change.lists[:NAMED],
        )
        event = self._doubtful
        if event is None or event.data != data:  # otherwise it may stand there: said again, it is the same event
            event = change_event(self._site, "rules.changed", data, self._clock.now(), who)
        self._doubtful = event
        await stored(self._emit, event)
        self._doubtful, self._rules = None, found
        try:
            await self._sets.prune(found.hash)
        except StoreError as error:
            _LOG.debug("rule sets that nobody needs stay for now", extra={"error": str(error)})

    # --- saying --------------------------------------------------------------------------------------------

    def _say(self, result: Reloaded) -> Reloaded:
        if result.outcome != self._last.outcome or result.change != self._last.change:
            self._since = self._clock.now()
        self._last = result
        match result.outcome:
            case "refused":
                self._flaw(
                    "broken",
                    f"the rule files cannot be used; the rules of before decide: {_listed(result.problems)}",
                    "correct the files; they are read again by themselves",
                )
            case "waits" if result.change is not None:
                change = result.change
                words = f"changed rules that open, switch or start something ({', '.join(change.moving[:_SHOWN])}) wait"
                self._flaw(
                    "confirm",
                    f"{words} to be confirmed; the rules of before decide ({change})",
                    f"vms-bridge reload --confirm {change.confirmation}",
                )
            case _ if self._config_changed:
                self._flaw(
                    "config_changed",
                    "the configuration has changed since the start, and is read at start only",
                    "restart the bridge to use it",
                )
            case _:
                self._health.set(PART, Level.UP)
        if result.outcome == "changed":
            _LOG.info("the rule files have changed and count from now on", extra={"change": str(result.change)})
        return result

    def _flaw(self, reason: str, message: str, cure: str) -> None:
        self._health.set(PART, Level.DEGRADED, reason, message, cure)


def _agree(before: Seen, after: Seen) -> bool:
    """Tell whether nothing changed that was looked at both times."""
    return all(after.get(path, seen) == seen for path, seen in before.items())


def _content(path: Path | None) -> str | None:
    try:
        return hashlib.sha256(read_file(path)).hexdigest() if path is not None else None
    except OSError:
        return None


def _problem(problem: Problem) -> JsonValue:
    return {name: getattr(problem, name) for name in ("file", "line", "column", "where", "message")}


def _listed(problems: Sequence[Problem]) -> str:
    shown = "; ".join(map(str, problems[:_SHOWN]))
    return f"{shown}; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else shown
