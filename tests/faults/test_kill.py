"""The bridge is killed with SIGKILL, at every named point and at random ones, and the promise holds."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from tests.faults.check import Seen, faults
from tests.faults.site import BOTH, ROOT, Pusher, Site, wait_for
from tests.faults.streams import Streams

FRESH, STALE, OLD = timedelta(0), timedelta(seconds=45), timedelta(minutes=5)
KILLS = 25
"""Of each of the two random runs."""
PER_LIFE = 3
"""Pushes that are made at most for each random kill."""


def _points() -> list[str]:
    source = (ROOT / "bridge" / "crashpoint.py").read_text()
    table = re.search(r"^POINTS.*?= \((.*?)^\)", source, re.MULTILINE | re.DOTALL)
    assert table is not None
    return re.findall(r'"([a-z.]+)"', table[1])


POINTS = _points()


def _scenarios() -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """Yield where to die, at which passing of it, and what rules do.

    The engine passes its points when it adopts the rules, before any push, and again for each
    push; `engine.ordered` only for a push. The effect path is walked by doors and by webhooks, so
    each is tried alone.
    """
    for point in POINTS:
        if point == "engine.ordered":
            yield point, 1, BOTH
        elif point.startswith("engine."):
            yield point, 1, BOTH
            yield point, 3 if point == "engine.read" else 2, BOTH
        elif point.startswith("effect.") and point != "effect.armed":
            yield point, 1, ("open",)
            yield point, 1, ("webhook",)
        else:
            yield point, 1, ("open",)


UNKNOWN = {"effect.claimed": 0, "effect.armed": 0, "effect.acted": 1}
"""Where dying leaves it open whether the door was opened, and how often it was."""


def test_every_point_is_placed_exactly_once() -> None:
    """Each crash point is placed exactly once in the product's source, and none that is not in the table."""
    placed = [
        name
        for folder in ("bridge", "connectors", "rules")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name in re.findall(r'\bcrash_point\("([^"]+)"\)', path.read_text())
    ]
    assert sorted(placed) == sorted(POINTS)
    assert len(POINTS) > 10


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("point", "nth", "actions"), list(_scenarios()))
def test_killed_at_a_point(tmp_path: Path, point: str, nth: int, actions: tuple[str, ...]) -> None:
    """Killed at a named point and started again, the bridge keeps its promise."""
    site = Site(tmp_path, 3, actions)
    with site.device() as port, Pusher(site, (FRESH, OLD, FRESH)) as pusher:
        site.write(port)
        # Alone, so that it is the first order that dies there; else with others on their way.
        pusher.allow(1 if actions == ("open",) else 3)
        with site.bridge(f"{point}:{nth}") as process:
            assert process.wait(40) == -signal.SIGKILL, f"it did not die there: {site.log_tail()}"
        pusher.allow(2)
        seen = _started_and_drained(site, pusher)
    assert faults(seen) == []
    if actions == ("open",):
        opened = UNKNOWN.get(point)
        assert seen.outcomes("P1", "open") == ["done" if opened is None else "unknown"]
        assert len(seen.relay("P1", "on")) == (1 if opened is None else opened)
        assert seen.outcomes("P2", "open") == ["expired"]
        assert seen.outcomes("P3", "open") == ["done"]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("run", [1, 2])
def test_killed_at_random(tmp_path: Path, run: int) -> None:
    """Killed again and again at random moments, while it starts and while it works, the bridge keeps its promise."""
    seed = int(os.environ.get("VMS_FAULTS_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
    print(f"VMS_FAULTS_SEED={seed} (run {run})")  # shown when the test fails
    chance = random.Random(seed + run)
    ages = [chance.choice((FRESH, FRESH, FRESH, STALE, OLD)) for _ in range(KILLS * PER_LIFE)]
    site = Site(tmp_path, len(ages))
    with site.device() as port, Pusher(site, ages) as pusher:
        site.write(port)
        for _ in range(KILLS):
            pusher.allow(PER_LIFE)
            with site.bridge() as process:
                _live(site, process, chance)
        seen = _started_and_drained(site, pusher)
    assert faults(seen) == []
    ends = Counter(seen.outcomes(push.plate, "open")[0] for push in seen.pushes)
    print(f"{len(seen.lives)} lives, {len(seen.reads)} events, {len(seen.device)} things at the device, {dict(ends)}")
    # Without these the run would have shown nothing.
    assert ends["done"] >= len(ages) // 10
    assert ends["expired"] >= 1


def _live(site: Site, process: subprocess.Popen[bytes], chance: random.Random) -> None:
    """Return at a random moment: once in four times while it starts, else while it works."""
    if chance.random() < 0.25:
        moment = chance.uniform(0, 2.0)
    else:
        site.wait_ready(process)
        moment = chance.uniform(0, 0.6)
    with suppress(subprocess.TimeoutExpired):
        process.wait(moment)
        raise AssertionError(f"the bridge died by itself: {site.log_tail()}")


def _started_and_drained(site: Site, pusher: Pusher) -> Seen:
    """Start a bridge, let it do what is left, and return what was seen of the site in all its lives."""
    with site.bridge() as process:
        site.wait_ready(process)
        pusher.finish()
        streams = Streams(site.folder / "data")
        expected = {(push.plate, action) for push in site.pushes for action in site.actions}

        def drained() -> bool:
            assert process.poll() is None, f"the bridge died by itself: {site.log_tail()}"
            streams.refresh()
            told = sum(event["type"] == "action.ended" for event in streams.events)
            return len(streams.results) >= len(expected) <= told and site.idle()

        wait_for(drained, 45, lambda: f"{len(streams.results)} of {len(expected)} results; {site.log_tail()}")
        streams.refresh()
        site.stop(process)
    return Seen(site.pushes, site.happened(), streams.events, streams.results, site.lives, site.actions)
