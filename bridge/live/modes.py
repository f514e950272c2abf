"""The mode of the site, as people and programs set it: each time one event, and the engine takes it from there."""

from __future__ import annotations

from typing import Any

from pydantic import JsonValue

from bridge.clock import Clock
from bridge.contracts import Emit, StateKey
from bridge.errors import ActionRejectedError
from bridge.live.events import change_event
from bridge.live.lists import Decides, applied
from bridge.registry import unknown
from bridge.schema.kinds import ModeChanged
from bridge.schema.state import BRIDGE, MODE
from rules.state import ENTITIES

HERE = StateKey(ENTITIES, BRIDGE)
"""Where the engine keeps what is known of the bridge itself."""
LONGEST = 64
"""Characters of a mode's name."""


class ModeDesk:
    """The mode of one site. `known` are the modes that it may be in; none: any."""

    def __init__(self, site: str, known: tuple[str, ...], host: Decides, emit: Emit, clock: Clock) -> None:
        self._site, self._known, self._host, self._emit, self._clock = site, known, host, emit, clock

    async def set(self, mode: str, who: str, *, reason: str | None = None, via: str = "api") -> dict[str, JsonValue]:
        """Set the mode; the same again changes nothing, and is written down all the same.

        Raises ActionRejectedError if the site knows no such mode, StoreUnavailableError when it is not written down.
        """
        if self._known and mode not in self._known:
            raise ActionRejectedError(unknown("mode", mode, sorted(self._known)), "unknown_mode")
        if not mode.strip() or len(mode) > LONGEST or not mode.isprintable():
            raise ActionRejectedError(f"a mode is a word of at most {LONGEST} characters", "bad_value")
        before, _ = self._now()
        data = ModeChanged(mode=mode, previous=before, reason=reason)
        event = change_event(self._site, "mode.changed", data, self._clock.now(), who, via)
        done = await applied(self._host, self._emit, event)
        return {"mode": mode, "previous": before, "applied": done}

    def state(self) -> dict[str, JsonValue]:
        """Return the mode, since when, and which there are."""
        mode, since = self._now()
        return {"mode": mode, "since": since, "modes": list(self._known)}

    def _now(self) -> tuple[str | None, str | None]:
        known: Any = (self._host.value(HERE) or {}).get(MODE)
        return (known["value"], known["since"]) if known else (None, None)
