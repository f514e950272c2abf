"""When a failed order is tried again. Pure: the class, how often it was tried, and what the far side asked for."""

from __future__ import annotations

import random
from datetime import timedelta

from bridge.schema.orders import ActionClass

_M, _H = 60.0, 3600.0

_LASTING = (0.5, 2.0, 5.0, 30.0, 5 * _M, 30 * _M, 2 * _H, 5 * _H, 10 * _H, 14 * _H, 20 * _H, 24 * _H)
"""The example of Standard Webhooks 1.0, with quick tries before it for what is only restarting."""
_QUICK = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""For what is worth nothing when it is late."""
_STUBBORN = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""For releases: the last one for ever."""

SCHEDULE: dict[ActionClass, tuple[float, ...]] = {
    ActionClass.ACTUATING: _QUICK,
    ActionClass.TRANSIENT: _QUICK,
    ActionClass.RELEASING: _STUBBORN,
    ActionClass.INFORMATION: _LASTING,
    ActionClass.VENDOR_START: _LASTING,
}
"""Seconds before the second, third, ... try; the last one repeats."""

MAX_RETRY_AFTER = timedelta(hours=1)
"""Nobody may ask us to stay away longer."""
_FLOOR = 60.0
JITTER = 0.2
"""Delays are spread by this part to both sides, so that what failed together does not come back together."""
ASKED_JITTER = 0.05
"""A delay that was asked for is spread by this part, and never shortened."""


def delay_before(
    attempt: int, action_class: ActionClass, retry_after: timedelta | None = None, *, spread: float | None = None
) -> timedelta:
    """Return how long to wait before the try after number `attempt`, counted from 1.

    What the far side asks for is honoured up to `MAX_RETRY_AFTER`, but it cannot have us come back
    in a hurry for ever: after the first tries at least a minute passes. `spread` is the place in
    the jitter, -1 to 1; random unless given.
    """
    place = random.uniform(-1, 1) if spread is None else spread
    steps = SCHEDULE[action_class]
    planned = steps[min(attempt, len(steps)) - 1]
    if retry_after is not None:
        asked = max(min(retry_after, MAX_RETRY_AFTER), timedelta(0)).total_seconds()
        if asked >= min(planned, _FLOOR):
            return timedelta(seconds=asked * (1 + ASKED_JITTER * abs(place)))
        planned = min(planned, _FLOOR)
    return timedelta(seconds=planned * (1 + JITTER * place))
