"""What many live keys cost: a process of its own that starts the server on stored state, loads it, and weighs both.

Run as a module it is that process, and prints one JSON object; `weigh` fills the store and starts it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvloop

import bridge.app  # noqa: F401 - all that a running bridge has loaded
from bridge.actions import BUILTIN
from bridge.bus import store_format
from bridge.bus.bus import Bus
from bridge.bus.pull import scan
from bridge.bus.server import EmbeddedServer
from bridge.config.models import BusConfig
from bridge.contracts import Head, Known, StateKey, Step
from bridge.errors import StartError
from bridge.registry import Registry
from bridge.rulebook import action_specs
from bridge.runtime.collector import settle
from bridge.schema.subjects import Subjects
from rules.compiler import compile_rules
from rules.engine import Engine
from rules.ruleset import Documents, RuleSet, SiteSettings

SITE = "bench"
KEYS = 100_000
RULES = 1_000
_STEP = 900
_RULE = """\
  - id: plate-{number:04d}
    when: {{kind: plate.read, source: nvr1, channel: {number}}}
    per: plate
    cooldown: 30d
    then: [{{ptz: {{preset: gate}}}}]
"""
CONFIG = BusConfig(sync=timedelta(minutes=2))


@dataclass(frozen=True, slots=True)
class Weight:
    """What was found."""

    bridge_mib: float
    server_mib: float
    seconds: float
    """To read the state and make the engine of it."""
    read_seconds: float
    """To read the messages of it alone."""

    @property
    def mib(self) -> float:
        """Both processes together."""
        return self.bridge_mib + self.server_mib


async def weigh(folder: Path, keys: int) -> Weight:
    """Store so many keys, and weigh a process that has just begun on them. Raises StartError."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        await _fill(Path(place), keys)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bridge.bench.keys", place, stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )  # fmt: skip
        said, _ = await process.communicate()
        if process.returncode:
            raise StartError("the process that loads the keys failed", "run `python -m bridge.bench.keys` to see why")
        found = json.loads(said)
        if found.pop("keys") != keys:
            raise StartError("not every key was loaded", "this is a bug: please report it")
        return Weight(**found)


async def _fill(folder: Path, keys: int) -> None:
    """Store values as cooldowns make them, each key of one of the rules."""
    rules = _rules()
    rest = (datetime.now(UTC) + timedelta(days=30)).isoformat()
    store_format.claim(folder, SITE)
    async with EmbeddedServer(CONFIG, folder) as server, Bus.open(SITE, CONFIG, server) as bus:
        head = Head(seq=0, epoch=1, ruleset="")
        for begin in range(0, keys, _STEP):
            changed = {}
            for number in range(begin, min(keys, begin + _STEP)):
                rule = rules.rules[number % RULES]
                changed[StateKey(rule.id, f"P{number:06d}")] = {"version": rule.version, "rest": rest}
            head = await bus.engine_store.commit(Step(head, changed))


def _rules() -> RuleSet:
    text = "rules:\n" + "".join(_RULE.format(number=number) for number in range(RULES))
    actions = action_specs(Registry("action", BUILTIN, "vms_bridge.actions"))
    return compile_rules(Documents({"keys.yaml": text}), actions, Known(), SiteSettings(name=SITE))


def _resident(pid: int | str) -> float:
    """Return the memory of a process in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


async def load(folder: Path) -> dict[str, float]:
    """Start on what is stored, as the bridge does, and say what it took."""
    async with EmbeddedServer(CONFIG, folder) as server, Bus.open(SITE, CONFIG, server) as bus:
        rules = _rules()
        began = time.perf_counter()
        async for _ in scan(bus.connection, bus.stream("ENGINE"), [f"{Subjects(SITE).root}.state.>"]):
            pass
        read, began = time.perf_counter() - began, time.perf_counter()
        _, state = await bus.engine_store.load()
        engine = Engine(rules, state)
        seconds = time.perf_counter() - began
        keys = len(engine.state())
        del state
        settle()
        return {
            "keys": keys, "seconds": seconds, "read_seconds": read,
            "bridge_mib": _resident("self"), "server_mib": _resident(server.pid or 0),
        }  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(json.dumps(uvloop.run(load(Path(sys.argv[1])))) + "\n")
