"""What the audit trail says: of an order that has ended, and of a change that decides. Pure.

Plates, and whatever else is on a list, are replaced by their keyed hashes before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import JsonValue

from bridge.schema.audit import LIST_VALUES, AuditRecord, ChangeRecord, TrailRecord, Way, digest
from bridge.schema.event import VmsEvent
from bridge.schema.kinds import ListChanged
from bridge.schema.orders import Effect, Result

CHANGES = ("list.changed", "mode.changed", "rules.changed", "settings.changed", "command.given")
"""The bridge's own events that are in the trail: what decides was changed, and what people told it to do."""

_SHORT = 4
"""A plate of fewer characters is not looked for in texts: too much else would look like it."""
_WAYS: dict[str, Way] = {"api": "api", "cli": "cli", "mqtt": "mqtt", "event": "input"}
"""How somebody asked, by what stands before the name of a principal."""


class Tail(NamedTuple):
    """Where the trail ends, and how far in the ledger and in the log that is."""

    seq: int
    """The last sequence of the stream, which the next write must name."""
    n: int
    hash: str
    effect: int
    """The last effect record that is in it."""
    change: int
    """The last event that is in it."""

    def after(self, record: TrailRecord, body: bytes) -> Tail:
        """Return where it ends once a record follows."""
        return Tail(self.seq + 1, record.n, digest(body), record.effect, record.change)


def record_of(effect: Effect, seq: int, tail: Tail, hashes: Mapping[str, str]) -> AuditRecord:
    """Return the record of an order that has ended, the next after `tail`, its plate replaced by its keyed hash."""
    result, about = effect.result, effect.about
    if result is None:
        raise ValueError("an order that has not ended has no result")
    plate = about.plate if about else None
    if about is not None and plate is not None:
        about = about.model_copy(update={"plate": hashes[plate]})
    fields = {name: getattr(result, name) for name in Result.model_fields}
    if plate is not None:
        fields["message"] = _without(result.message, plate, hashes[plate])
        fields["output"] = _without(result.output, plate, hashes[plate])
    return AuditRecord(**fields, n=tail.n + 1, prev=tail.hash, effect=seq, change=tail.change, about=about)


def change_of(event: VmsEvent, seq: int, tail: Tail, hashes: Mapping[str, str]) -> ChangeRecord:
    """Return the record of a change, the next after `tail`, the values of a list replaced by their keyed hashes."""
    what: dict[str, JsonValue] = event.data.model_dump(mode="json", exclude_none=True)
    for plate in values_of(event):
        what["reason"] = _without(what.get("reason"), plate, hashes[plate])
    if isinstance(event.data, ListChanged):
        what |= {field: [hashes[value] for value in getattr(event.data, field)] for field in LIST_VALUES}
    return ChangeRecord(
        n=tail.n + 1,
        prev=tail.hash,
        change=seq,
        effect=tail.effect,
        event=event.id,
        kind=event.type,
        at=event.received,
        way=way_of(event),
        who=event.principal,
        what={name: value for name, value in what.items() if value not in (None, [])},
    )


def plates_of(effects: Iterable[Effect]) -> set[str]:
    """Return the plates that records of these orders need the hashes of."""
    return {effect.about.plate for effect in effects if effect.about and effect.about.plate}


def values_of(event: VmsEvent) -> set[str]:
    """Return what the record of a change needs the hashes of: the values of a list, plates or not."""
    data = event.data
    return {*data.added, *data.removed, *data.reset} if isinstance(data, ListChanged) else set()


def way_of(event: VmsEvent) -> Way:
    """Return how a change was asked for."""
    if event.via == "rule":
        return "rule"
    if event.principal is None:
        return "file" if event.type in ("rules.changed", "settings.changed") else "bridge"
    return _WAYS.get(event.principal.partition(":")[0], "api")


def _without(value: JsonValue, plate: str, token: str) -> Any:
    """Return a value in which a plate's hash stands for the plate."""
    if isinstance(value, str):
        return _swapped(value, plate, token)
    if isinstance(value, list):
        return [_without(item, plate, token) for item in value]
    if isinstance(value, dict):
        return {_swapped(name, plate, token): _without(item, plate, token) for name, item in value.items()}
    return value


def _swapped(text: str, plate: str, token: str) -> str:
    return text.replace(plate, token) if len(plate) >= _SHORT else text
