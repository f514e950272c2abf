"""How the garbage collector is set for a bridge that runs."""

from __future__ import annotations

import gc

from bridge.runtime.collector import settle


def test_what_is_there_is_taken_as_lasting_and_the_rest_looked_at_rarely() -> None:
    """Cycles are still found: the collector is calmed, not switched off."""
    before = gc.get_threshold()
    try:
        settle()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
        assert all(now >= then for now, then in zip(gc.get_threshold(), before, strict=True))
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
