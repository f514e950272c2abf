"""Named places where a test may kill the process, as a power cut would.

Between any two writes something can die. The places where that matters have names; the crash
tests run the bridge once for each name and compare what is left with an independent ledger. With
the variable unset, and it is set nowhere else, a point costs one comparison with None.
"""

from __future__ import annotations

import os
import signal

POINTS: tuple[str, ...] = (
    "engine.owned",
    "engine.read",
    "rules.stored",
    "engine.adopted",
    "engine.stepped",
    "engine.traced",
    "engine.ordered",
    "engine.ahead",
    "engine.long",
    "engine.copied",
    "engine.committed",
    "engine.acked",
    "engine.undecided",
    "engine.ticked",
    "effect.taken",
    "effect.gated",
    "effect.claimed",
    "effect.armed",
    "effect.acted",
    "effect.waiting",
    "effect.found",
    "effect.buried",
    "effect.recorded",
    "effect.told",
    "effect.acked",
    "release.due",
    "release.sent",
    "release.confirmed",
    "audit.read",
    "audit.told",
    "audit.appended",
)
"""Every point there is, in the order of an event's life. A test holds that each is placed exactly once."""

_ARMED, _, _COUNT = os.environ.get("VMS_BRIDGE_CRASH_AT", "").partition(":")
_left = {_ARMED: int(_COUNT or 1)} if _ARMED else None


def crash_point(name: str) -> None:
    """Die here, without any clean-up, if `VMS_BRIDGE_CRASH_AT` is `name` or `name:<nth time>`."""
    if _left is None or name not in _left:
        return
    _left[name] -= 1
    if _left[name] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
