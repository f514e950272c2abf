"""L1 and L2: a steady load and a burst, through 100 rules.

Events are pushed over connections that are kept, 20 in a request (100 in the burst), as a video management system
does that has many cameras. What is measured begins when a push was due and ends in the server's own time stamp
of the order, so it holds the way through HTTP, two synced writes and every wait between.
"""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from .common import rank
from .doors import DoorSite
from .ledger import Kept, Ledger, messages, stored_plates
from .load import Load
from .memory import Watch, grown_late
from .outcome import Control, Outcome
from .receiver import Receiver, tell
from .site import NAME, Process, Site

RATE = 1000.0
RULES = 100
EVERY = 20
"""One event in so many sets a rule off."""
ORDER_P50, ORDER_P99, TOLD_P99 = 0.020, 0.150, 0.300
"""Seconds from sending an event to its stored order, and to the receiver's being told."""
WARM_UP = 2.0
"""Seconds at the start whose times are not judged: what is used for the first time is loaded then. Losses count."""
WARM = 240
"""Seconds after which everything that has a bound has reached it. Who is at it for twice as long must be flat then:"""
FLAT = 6.0
"""MiB that the second half may take beyond the most of the first: 20 bytes an event."""
BURST = 5_000.0
"""Events a second that a burst brings. Senders who are kept waiting send the rest as soon as they may."""
DRAINED = 60.0
"""Seconds from the end of a burst, as it was to be, until all of it is stored and all that it set off is done."""
MAX_AGE = 3.0
"""Seconds after which an opening is too late, in the burst."""
_STALL = 5.0


def steady(folder: Path, seconds: int, seed: int) -> Outcome:
    """Push 1,000 events a second."""
    outcome = _steady(folder / "site", seconds, RATE)
    control = _steady(folder / "control", 5, RATE / 4, stall=2.0)
    showed = f"event to order p99 {control.figures['order_p99_ms']:.0f} ms"
    outcome.control = Control("a bridge that is let run (stopped for 2 s)", showed, bool(control.found))
    return outcome


def _steady(folder: Path, seconds: int, rate: float, stall: float = 0.0) -> Outcome:
    folder.mkdir()
    site, ledger = Site(folder), Ledger(folder / "acked")
    outcome = Outcome("L1", f"{RULES} rules, 1 event in {EVERY} sets one off", f"{seconds} s at {rate:.0f}/s")
    with Receiver() as receiver:
        site.write(rules=_rules(), webhooks={"office": receiver.config()})
        with site.bridge() as process:
            site.wait_ready(process)
            load = Load(
                site.http_port, ledger, batch=20, senders=4, rate=rate, most=int(rate * seconds), name=_hit_or_miss
            )
            with Watch(lambda: site.rss(process)) as memory:
                with load, _stalled(process, stall):
                    finished = load.finish(seconds * 1.5 + 20)
                expected = _hits(load.sent)
                _settle(lambda: expected <= {hook.plate for hook in receiver.hooks}, 30)
            server = site.server_rss()
            orders = asyncio.run(_order_times(site.data_dir))
            site.stop(process)
    outcome.count(ledger, Kept.compare(ledger.acked, stored_plates(site.data_dir)))
    outcome.none_lost()
    outcome.hold(finished, "the rate was not held")
    told = {hook.plate: hook.at for hook in reversed(receiver.hooks)}
    _judge_times(outcome, {plate: load.since[plate] for plate in expected}, orders, told)
    _judge_memory(outcome, memory, seconds)
    outcome.figures["server_mib"] = server
    return outcome


def _judge_memory(outcome: Outcome, memory: Watch, seconds: int) -> None:
    """Tell the growth of all of it and of its second half, which must be none if that came after the warm-up."""
    late = grown_late(memory.seen)
    outcome.figures |= {"grown_mib": memory.grown, "grown_late_mib": late}
    outcome.hold(late <= FLAT or seconds < 2 * WARM, f"the bridge grew by {late:.0f} MiB more in the second half")


def _judge_times(outcome: Outcome, since: dict[str, float], orders: dict[str, float], told: dict[str, float]) -> None:
    """Compare when each plate came with when its order was stored and when the receiver was told."""
    warm = min(since.values(), default=0.0) + WARM_UP
    ordering = [orders[plate] - at for plate, at in since.items() if at >= warm and plate in orders]
    telling = [told[plate] - at for plate, at in since.items() if at >= warm and plate in told]
    outcome.figures |= {
        "order_p50_ms": rank(ordering, 0.5) * 1e3,
        "order_p99_ms": rank(ordering, 0.99) * 1e3,
        "told_p99_ms": rank(telling, 0.99) * 1e3,
        "judged": len(ordering),
    }
    never_ordered, never_told = len(since.keys() - orders), len(since.keys() - told)
    outcome.hold(bool(ordering), "nothing was sent after the warm-up")
    outcome.hold(never_ordered == 0, f"{never_ordered} orders are missing")
    outcome.hold(never_told == 0, f"{never_told} were not told")
    outcome.in_time(rank(ordering, 0.5) <= ORDER_P50, f"event to order p50 {rank(ordering, 0.5) * 1e3:.0f} ms")
    outcome.in_time(rank(ordering, 0.99) <= ORDER_P99, f"event to order p99 {rank(ordering, 0.99) * 1e3:.0f} ms")
    outcome.in_time(rank(telling, 0.99) <= TOLD_P99, f"event to receiver p99 {rank(telling, 0.99) * 1e3:.0f} ms")


def burst(folder: Path, events: int, seed: int) -> Outcome:
    """Push so many events at 5,000 a second, the bridge being stopped for a while in the middle."""
    outcome = _burst(folder / "site", events, MAX_AGE)
    control = _burst(folder / "control", 1_000, 30.0)
    showed = "; ".join(control.problems) or "nothing"
    outcome.control = Control(f"the doors' max_age of {MAX_AGE:.0f} s (30 s instead)", showed, control.wrong > 0)
    return outcome


def _burst(folder: Path, events: int, max_age: float) -> Outcome:
    folder.mkdir()
    site, ledger = DoorSite(folder, doors=12), Ledger(folder / "acked")
    outcome = Outcome(
        "L2", f"a burst, with the bridge stopped for {_STALL:.0f} s", f"{events:,} events at {BURST:,.0f}/s"
    )
    with site.device() as port, Receiver() as receiver:
        site.write_doors(port)
        _rewrite(site, receiver, max_age)
        with site.bridge() as process:
            site.wait_ready(process)
            load = Load(site.http_port, ledger, batch=100, senders=8, rate=BURST, most=events, name=_rare_hit)
            over = time.monotonic() + events / BURST
            with load:
                _settle(lambda: load.acked >= events // 2, DRAINED)
                _doors_while_stopped(site, process)
                finished = load.finish(over + DRAINED - time.monotonic())
                load.over()
            taken, expected = time.monotonic() - over, _hits(load.sent)
            done = _settle(
                lambda: expected <= {hook.plate for hook in receiver.hooks} and site.idle(),
                over + DRAINED - time.monotonic(),
            )
            drained = time.monotonic() - over
            site.stop(process)
    kept = Kept.compare(ledger.acked, stored_plates(site.data_dir))
    missing = len(expected - {hook.plate for hook in receiver.hooks})
    pushed = {push.plate.replace("P", "r"): push.when for push in site.pushes}
    ons = {e["token"]: e["at"] - pushed[e["token"]] for e in site.happened() if e.get("action") == "on"}
    late = [age for age in ons.values() if age > MAX_AGE + 1]
    outcome.count(ledger, kept)
    outcome.wrong = len(late)
    outcome.figures = {"taken_s": taken, "drained_s": drained, "opened": len(ons), "pushes_for_doors": len(pushed)}
    outcome.none_lost()
    outcome.hold(finished, "the burst was not taken")
    outcome.hold(missing == 0, f"{missing} were not told")
    outcome.hold(not late, f"{len(late)} doors were opened late, up to {max(late, default=0):.1f} s")
    outcome.hold(done, f"it was not done {drained:.0f} s after the burst")
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
    """Stop the bridge for a while, after the warm-up."""
    timer = threading.Thread(target=_stall, args=(process, seconds), daemon=True)
    if seconds:
        timer.start()
    yield
    if seconds:
        timer.join()


def _stall(process: Process, seconds: float) -> None:
    time.sleep(WARM_UP + 0.5)
    process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    process.send_signal(signal.SIGCONT)


def _settle(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until it holds, and tell whether it does: if not, what is missing is counted."""
    end = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return holds


def _hit_or_miss(_prefix: str, sender: int, number: int) -> str:
    """Return a plate of its own; one of so many, in any place of a push, names the rule that it sets off."""
    return _plate(sender, number, EVERY)


def _rare_hit(_prefix: str, sender: int, number: int) -> str:
    """Return a plate for the burst: one in a hundred sets a rule off, so that receivers are not what is measured."""
    return _plate(sender, number, 100)


def _plate(sender: int, number: int, every: int) -> str:
    turn, place = divmod(number, every)
    if place == turn % every:
        return f"HIT{turn % RULES:02d}N{sender:02d}{number:07d}"
    return f"MISS{sender:02d}N{number:07d}"


def _hits(plates: Iterable[str]) -> set[str]:
    return {plate for plate in plates if plate.startswith("HIT")}


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
