"""Lists that people and programs change while the bridge runs: one event for each change, and the engine goes by it.

A yes means that the change is written down and synced. Nothing is kept here: what counts is what the
engine has made of the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

from pydantic import JsonValue

from bridge.clock import Clock
from bridge.contracts import Emit, StateKey
from bridge.errors import ActionRejectedError
from bridge.live.events import change_event, stored
from bridge.registry import unknown
from bridge.schema.event import VmsEvent
from bridge.schema.kinds import MAX_LIST_VALUES, ListChanged
from bridge.schema.plates import canonical_plate
from rules.lists import ValueList
from rules.overlay import MAX_CHANGED, Changed, change_of, changes_of, filed
from rules.ruleset import RuleSet

APPLIED_WITHIN = 2.0
"""Seconds that we wait for the engine after a change was written down, so that who looks next sees it."""

SHOWN = 1000
"""Changed values of a list that are shown at once."""

Do = Literal["add", "remove", "reset"]
_FIELDS: dict[Do, str] = {"add": "added", "remove": "removed", "reset": "reset"}


class Decides(Protocol):
    """The engine's host."""

    @property
    def changed_lists(self) -> Mapping[str, int]:
        """How many values were changed at run time, by list."""
        ...

    def state(self) -> Mapping[StateKey, Mapping[str, Any]]:
        """Return all that is remembered."""
        ...

    def value(self, key: StateKey) -> Mapping[str, Any] | None:
        """Return one value of it."""
        ...

    def expect(self, event: str) -> asyncio.Future[None]:
        """Return what is done once the event of this id has been decided about."""
        ...


class HasRules(Protocol):
    """Who knows the rules that decide."""

    @property
    def rules(self) -> RuleSet:
        """The rules."""
        ...


async def applied(host: Decides, emit: Emit, event: VmsEvent) -> bool:
    """Write a change down; tell whether the engine has come to it already. Raises StoreUnavailableError."""
    decided = host.expect(event.id)
    try:
        await stored(emit, event)
        async with asyncio.timeout(APPLIED_WITHIN):
            await decided
    except TimeoutError:
        return False
    finally:
        decided.cancel()
    return True


class ListDesk:
    """The lists of one site."""

    def __init__(self, site: str, rules: HasRules, host: Decides, emit: Emit, clock: Clock) -> None:
        self._site, self._rules, self._host, self._emit, self._clock = site, rules, host, emit, clock

    async def change(
        self,
        name: str,
        do: Do,
        values: Sequence[str],
        who: str,
        *,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        tags: Sequence[str] = (),
        reason: str | None = None,
        via: str = "api",
    ) -> dict[str, JsonValue]:
        """Change a list; return what was done, and whether it is `applied` already.

        Raises ActionRejectedError for what cannot be, StoreUnavailableError when it is not written down.
        """
        found, now = self._get(name), self._clock.now()
        read = _values(found, values)
        if valid_until is not None and valid_until <= max(valid_from or now, now):
            raise ActionRejectedError("it would end before it begins: say a later end", "never_valid")
        if do != "add" and (valid_from is not None or tags):
            raise ActionRejectedError("a beginning and tags are for what is added", "never_valid")
        _check_tags(found, tags)
        if do != "reset":
            self._check_room(name, read)
        content = {_FIELDS[do]: read, "valid_from": valid_from, "valid_until": valid_until, "tags": tuple(tags)}
        data = ListChanged.model_validate({"list": name, "reason": reason, **content})
        done = await applied(self._host, self._emit, change_event(self._site, "list.changed", data, now, who, via))
        return {"list": name, _FIELDS[do]: list(read), "applied": done}

    def all(self) -> list[dict[str, JsonValue]]:
        """Return what lists there are."""
        changed = self._host.changed_lists
        return [
            {
                "list": name,
                "plates": found.plates,
                "file": len(found),
                "changed": changed.get(name, 0),
                "tags": [*sorted(found.tags)],
            }
            for name, found in sorted(self._rules.rules.lists.items())
        ]

    def show(self, name: str, value: str | None = None) -> dict[str, JsonValue]:
        """Return what was changed in a list, of very many the first, or what is known of one value.

        Raises ActionRejectedError.
        """
        found, now = self._get(name), self._clock.now()
        if value is None:
            changes = changes_of(self._host.state(), name, now, SHOWN)
            entries: list[JsonValue] = [_entry(one, change) for one, change in changes.items()]
            total = self._host.changed_lists.get(name, 0) if len(entries) == SHOWN else len(entries)
            return {
                "list": name, "plates": found.plates, "file": len(found), "changed": total, "entries": entries,
            }  # fmt: skip
        (value,) = _values(found, [value])
        entry = change_of(self._host.value(filed(name, value)), now)
        return {
            "list": name,
            "value": value,
            "file": found.lists(value),
            "changed": None if entry is None else _entry(value, entry),
        }

    # --- small things ----------------------------------------------------------------------------------

    def _get(self, name: str) -> ValueList:
        lists = self._rules.rules.lists
        found = lists.get(name)
        if found is None:
            raise ActionRejectedError(unknown("list", name, sorted(lists)), "unknown_list")
        return found

    def _check_room(self, name: str, values: Sequence[str]) -> None:
        changed = sum(self._host.changed_lists.values())
        if changed + len(values) <= MAX_CHANGED:
            return
        if changed + sum(self._host.value(filed(name, value)) is None for value in values) > MAX_CHANGED:
            raise ActionRejectedError(f"{MAX_CHANGED} values are changed already: reset some", "lists_full")


def _check_tags(found: ValueList, tags: Sequence[str]) -> None:
    for tag in tags:
        if tag not in found.tags:
            words = f"{unknown('tag', tag, sorted(found.tags))}; new ones belong under `tags` of the list"
            raise ActionRejectedError(words, "unknown_tag")


def _values(found: ValueList, values: Sequence[str]) -> tuple[str, ...]:
    """Return the values as the list compares them. Raises ActionRejectedError."""
    read = tuple(dict.fromkeys(canonical_plate(one) if found.plates else one for one in values))
    if not read or not all(read):
        raise ActionRejectedError("a value is empty", "bad_value")
    if len(read) > MAX_LIST_VALUES or any(len(one) > 256 for one in read):
        raise ActionRejectedError(f"at most {MAX_LIST_VALUES} values at once, of 256 characters", "bad_value")
    return read


def _entry(value: str, changed: Changed) -> JsonValue:
    content: dict[str, JsonValue] = {"value": value, "listed": changed.listed}
    for name, moment in (("valid_from", changed.valid_from), ("valid_until", changed.valid_until)):
        if moment is not None:
            content[name] = moment.isoformat()
    if changed.tags:
        content["tags"] = list(changed.tags)
    return content
