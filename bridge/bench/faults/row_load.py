"""L1 and L2: a steady load and a burst, through 100 rules of which one event in twenty sets one off."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from .common import rank
from .doors import DoorSite
from .ledger import Kept, Ledger, messages, stored_plates
from .load import Load
from .outcome import Control, Outcome
from .receiver import Receiver, tell
from .site import NAME, Process, Site

RATE = 1000.0
RULES = 100
EVERY = 20
"""One event in so many sets a rule off."""
ORDER_P50, ORDER_P99, TOLD_P99 = 0.020, 0.150, 0.300
"""Seconds from sending an event to its stored order, and to the receiver's being told."""
DRAINED = 60.0
"""Seconds from the end of a burst until everything that it set off is done."""
MAX_AGE = 3.0
"""Seconds after which an opening is too late, in the burst."""
_STALL = 5.0


def steady(folder: Path, seconds: int, seed: int, *, timed: bool = True) -> Outcome:
    """Push 1,000 events a second. Not `timed`: on a machine that does other things too, how fast is not judged."""
    outcome = _steady(folder / "site", seconds, RATE)
    if not timed:
        outcome.problems = [problem for problem in outcome.problems if "p50" not in problem and "p99" not in problem]
    control = _steady(folder / "control", 3, RATE / 4, stall=2.0)
    showed = f"event to order p99 {control.figures['order_p99_ms']:.0f} ms"
    outcome.control = Control("a bridge that is let run (stopped for 2 s)", showed, bool(control.problems))
    return outcome


def _steady(folder: Path, seconds: int, rate: float, stall: float = 0.0) -> Outcome:
    folder.mkdir()
    site, ledger = Site(folder), Ledger(folder / "acked")
    outcome = Outcome("L1", f"{RULES} rules, 1 event in {EVERY} sets one off", f"{seconds} s at {rate:.0f}/s")
    with Receiver() as receiver:
        site.write(rules=_rules(), webhooks={"office": receiver.config()})
        with site.bridge() as process:
            site.wait_ready(process)
            memory = site.rss(process)
            load = Load(
                site.http_port, ledger, batch=20, senders=4, rate=rate, most=int(rate * seconds), name=_hit_or_miss
            )
            with load, _stalled(process, stall):
                finished = load.finish(seconds * 3 + 20)
            expected = {plate for plate in load.sent if plate.startswith("HIT")}
            _settle(lambda: expected <= {hook.plate for hook in receiver.hooks}, 30)
            orders = asyncio.run(_order_times(site.data_dir))
            grown = site.rss(process) - memory
            site.stop(process)
    kept = Kept.compare(ledger.acked, stored_plates(site.data_dir))
    told = {hook.plate: hook.at for hook in reversed(receiver.hooks)}
    ordering = [orders[plate] - load.sent[plate] for plate in expected if plate in orders]
    telling = [told[plate] - load.sent[plate] for plate in expected if plate in told]
    outcome.count(ledger, kept)
    outcome.figures = {
        "order_p50_ms": rank(ordering, 0.5) * 1e3,
        "order_p99_ms": rank(ordering, 0.99) * 1e3,
        "told_p99_ms": rank(telling, 0.99) * 1e3,
        "grown_mib": grown,
    }
    outcome.none_lost()
    outcome.hold(finished, "the rate was not held")
    outcome.hold(len(ordering) == len(expected), f"{len(expected) - len(ordering)} orders are missing")
    outcome.hold(len(telling) == len(expected), f"{len(expected) - len(telling)} were not told")
    outcome.hold(rank(ordering, 0.5) <= ORDER_P50, f"event to order p50 {rank(ordering, 0.5) * 1e3:.0f} ms")
    outcome.hold(rank(ordering, 0.99) <= ORDER_P99, f"event to order p99 {rank(ordering, 0.99) * 1e3:.0f} ms")
    outcome.hold(rank(telling, 0.99) <= TOLD_P99, f"event to receiver p99 {rank(telling, 0.99) * 1e3:.0f} ms")
    return outcome


def burst(folder: Path, events: int, seed: int) -> Outcome:
    """Push so many events as fast as they are taken, the bridge being stopped for a while in the middle."""
    outcome = _burst(folder / "site", events, MAX_AGE)
    control = _burst(folder / "control", 2_000, 30.0)
    showed = "; ".join(control.problems) or "nothing"
    outcome.control = Control(f"the doors' max_age of {MAX_AGE:.0f} s (30 s instead)", showed, control.wrong > 0)
    return outcome


def _burst(folder: Path, events: int, max_age: float) -> Outcome:
    folder.mkdir()
    site, ledger = DoorSite(folder, doors=12), Ledger(folder / "acked")
    outcome = Outcome("L2", f"a burst, with the bridge stopped for {_STALL:.0f} s", f"{events:,} events")
    with site.device() as port, Receiver() as receiver:
        site.write_doors(port)
        _rewrite(site, receiver, max_age)
        with site.bridge() as process:
            site.wait_ready(process)
            load = Load(site.http_port, ledger, batch=100, senders=8, most=events, name=_rare_hit)
            began = time.monotonic()
            with load:
                _settle(lambda: load.acked >= events // 2, 120)
                _doors_while_stopped(site, process)
                finished = load.finish(120)
            rate, ended = events / (time.monotonic() - began - _STALL), time.monotonic()
            expected = {plate for plate in load.sent if plate.startswith("HIT")}
            _settle(lambda: expected <= {hook.plate for hook in receiver.hooks} and site.idle(), DRAINED * 2)
            drained = time.monotonic() - ended
            site.stop(process)
    kept = Kept.compare(ledger.acked, stored_plates(site.data_dir))
    missing = len(expected - {hook.plate for hook in receiver.hooks})
    pushed = {push.plate.replace("P", "r"): push.when for push in site.pushes}
    ons = {e["token"]: e["at"] - pushed[e["token"]] for e in site.happened() if e.get("action") == "on"}
    late = [age for age in ons.values() if age > MAX_AGE + 1]
    outcome.count(ledger, kept)
    outcome.wrong = len(late)
    outcome.figures = {"rate": rate, "drained_s": drained, "opened": len(ons), "pushes_for_doors": len(pushed)}
    outcome.none_lost()
    outcome.hold(finished, "the burst was not taken")
    outcome.hold(missing == 0, f"{missing} were not told")
    outcome.hold(not late, f"{len(late)} doors were opened late, up to {max(late, default=0):.1f} s")
    outcome.hold(drained <= DRAINED, f"it took {drained:.0f} s to drain")
    return outcome


def _rewrite(site: DoorSite, receiver: Receiver, max_age: float) -> None:
    """Give the doors their age and the site the rules of the load beside its own."""
    path = site.folder / "bridge.yaml"
    config = json.loads(path.read_text())
    for each in config["doors"].values():
        each["max_age"] = f"{max_age:g}s"
    config["webhooks"]["office"] = receiver.config()
    path.write_text(json.dumps(config))
    rules = [
        rule | {"then": rule["then"][:1]} for rule in json.loads((site.folder / "rules.yaml").read_text())["rules"]
    ]
    (site.folder / "rules.yaml").write_text(json.dumps({"rules": [*rules, *_rules()]}))


def _doors_while_stopped(site: DoorSite, process: Process) -> None:
    """Stop the bridge, knock at half of the doors meanwhile, and at the other half when it goes on."""
    half = site.doors // 2
    before = ThreadPoolExecutor(half)
    process.send_signal(signal.SIGSTOP)
    work = [before.submit(site.push) for _ in range(half)]
    time.sleep(_STALL)
    process.send_signal(signal.SIGCONT)
    for each in work:
        each.result(60)
    for _ in range(half):
        site.push()
    before.shutdown()


@contextmanager
def _stalled(process: Process, seconds: float) -> Iterator[None]:
    """Stop the bridge for a while in the middle."""
    timer = threading.Thread(target=_stall, args=(process, seconds), daemon=True)
    if seconds:
        timer.start()
    yield
    if seconds:
        timer.join()


def _stall(process: Process, seconds: float) -> None:
    time.sleep(1.0)
    process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    process.send_signal(signal.SIGCONT)


def _settle(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until it holds, or not: what is missing then is counted."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)


def _hit_or_miss(_prefix: str, sender: int, number: int) -> str:
    """Return a plate of its own; every so many-th names the rule that it sets off."""
    if number % EVERY == EVERY - 1:
        return f"HIT{number // EVERY % RULES:02d}N{sender:02d}{number:07d}"
    return f"MISS{sender:02d}N{number:07d}"


def _rare_hit(_prefix: str, sender: int, number: int) -> str:
    """Return a plate for the burst: one in a hundred sets a rule off, so that receivers are not what is measured."""
    if number % 100 == 99:
        return f"HIT{number // 100 % RULES:02d}N{sender:02d}{number:07d}"
    return f"MISS{sender:02d}N{number:07d}"


def _rules() -> list[dict[str, object]]:
    return [
        {
            "id": f"tell-{number:02d}",
            "when": {"kind": "plate.read"},
            "match": {"plate": {"glob": f"HIT{number:02d}N*"}},
            "then": [tell("hit", "office")],
        }
        for number in range(RULES)
    ]


async def _order_times(data_dir: Path) -> dict[str, float]:
    """Return when the order for each plate was stored, by the server's own clock."""
    found = await messages(data_dir, "ENGINE", f"vms.{NAME}.order.>")
    return {json.loads(body)["trigger"]["data"]["plate"]: at for _, body, at in found if body}
