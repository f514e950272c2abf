"""Why a rule fired, or the first condition that did not hold: what was wanted and what was seen.

A trace is a value. It is made of what the engine had in its hands anyway, so the one of a rule that
did not fire costs next to nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from pydantic import JsonValue
from pydantic_core import to_jsonable_python

from bridge.sdk import stable_id

Outcome = Literal["fired", "unmet", "inconclusive", "queued", "resumed", "dropped"]
"""`inconclusive`: nobody can know, as a source was not heard.
`queued`: it will fire when the firing before it is over; `fired` comes then.
`resumed`: a step that waited for another one went on.
`dropped`: what waited ended, with its rule or for a newer firing."""


class Trace(NamedTuple):
    """One look of one rule at one event."""  # a named tuple, as thousands are made a second

    rule: str
    version: str
    outcome: Outcome
    seq: int
    event: str
    at: datetime
    """The log's time."""
    key: str | None = None
    """What the rule tells its firings apart by; None if it did not come to that."""
    condition: str | None = None
    """The first condition that did not hold: `match.score`, `during`, `cooldown`, `if`, ..."""
    wanted: str | None = None
    seen: Any = None
    orders: tuple[str, ...] = ()
    """Ids of the orders made; in shadow, of those that would have been."""
    failed: tuple[str, ...] = ()
    """Steps that gave no order because a value was absent or unusable, and why."""
    skipped: tuple[str, ...] = ()
    """Steps whose own `if` did not hold."""
    shadow: bool = False
    taken: tuple[str, ...] = ()
    """Steps whose own `if` held, `wait_for` that were answered, `on_error` that were told of a failure."""

    looked: Mapping[str, JsonValue] | None = None
    """The values that an expression which did not hold looked at, by what it calls them."""

    @property
    def fired(self) -> bool:
        """The rule fired."""
        return self.outcome == "fired"

    @property
    def id(self) -> str:
        """The same for the same look, however often it is made again."""
        return stable_id(self.rule, self.version, self.seq, self.event, self.key, self.outcome, self.condition)

    def as_json(self) -> dict[str, JsonValue]:
        """Return it as JSON, without what is empty; `words` is what a person reads."""
        empty = {"shadow": False, "orders": (), "failed": (), "skipped": (), "taken": ()}
        fields = self._asdict().items()
        kept = {name: value for name, value in fields if value is not None and empty.get(name, fields) != value}
        return {"id": self.id, "fired": self.fired, "words": str(self), **to_jsonable_python(kept)}

    def __str__(self) -> str:
        if self.outcome in ("unmet", "inconclusive"):
            verdict = "did not fire" if self.outcome == "unmet" else "is inconclusive"
            return f"rule {self.rule} {verdict}: {self.condition}: wanted {self.wanted}, {saw(self.seen, self.looked)}"
        made = ", ".join(self.orders) or "no orders"
        notes = "".join(f"; {note}" for note in (*self.failed, *self.skipped))
        return f"rule {self.rule} {self.outcome}{' in shadow' if self.shadow else ''}: {made}{notes}"


def saw(seen: Any, looked: Mapping[str, JsonValue] | None = None) -> str:
    """Return what was seen in words, with the values that led to it."""
    values = ", ".join(f"{name} is {_show(value, quoted=True)}" for name, value in (looked or {}).items())
    return f"saw {_show(seen)}{f' ({values})' if values else ''}"


def _show(value: Any, *, quoted: bool = False) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and not quoted:
        return value
    return json.dumps(to_jsonable_python(value), ensure_ascii=False)
