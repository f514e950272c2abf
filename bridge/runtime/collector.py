"""Set Python's garbage collector for a process that makes many short-lived objects beside a large, lasting heap.

By default the youngest generation is searched every 700 objects, which is every few events, and the
rules are searched again and again although they stay. That was a fifth of the CPU time of a flood.
"""

from __future__ import annotations

import gc

_THRESHOLDS = (20_000, 20, 50)
"""Objects between two looks at the youngest, and looks between those at the older two. Reference counts
free nearly everything; what is left for the collector are the cycles of failed tasks and exceptions."""


def settle() -> None:
    """Take what is there now as lasting, and look at what comes more rarely. Called when all parts are up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
