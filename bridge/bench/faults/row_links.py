"""F7: every way a link can be bad, on every link at once: event socket, push, webhook, MQTT."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

from .broker import Listener, broker
from .common import FaultError, both, wait_for
from .ledger import Ledger, stored
from .load import Load
from .outcome import Control, Outcome
from .proxy import TOXICS, Kind, Proxy, Toxic
from .receiver import Receiver, tell
from .site import Site
from .video import VideoSystem

NOTICED = 10.0
"""Seconds until a half-open event socket is seen to be dead,"""
_UNNOTICED = 20.0
"""and after how many nobody waits for that any longer."""
_HOLD = 2.0
"""Seconds that a link stays bad; a half-open one until that is noticed."""
_QUIET = 60.0
"""Seconds until everything that was held up has arrived."""
BREAKING = ("reset", "half_open", "cut", "refuse")
"""Toxics that end connections: each is at least one outage."""


def measure(folder: Path, rounds: int, seed: int, kinds: Collection[Kind] = ()) -> Outcome:
    """Spoil the links with all eight toxics, or some, so many times, each time in another order."""
    half_open = tuple(toxic for toxic in TOXICS if toxic.kind == "half_open")
    toxics = tuple(toxic for toxic in TOXICS if toxic.kind in kinds or not kinds)
    outcome, control = both(
        lambda: _Links(folder / "site", seed).run(rounds, toxics),
        lambda: _Links(folder / "control", seed, ping="60s").run(1, half_open),
    )
    showed = "; ".join(control.found) or "nothing"
    outcome.control = Control("pings on the event socket", showed, bool(control.found))
    return outcome


class _Links:
    def __init__(self, folder: Path, seed: int, ping: str = "3s") -> None:
        folder.mkdir()
        self._folder, self._seed, self._ping = folder, seed, ping
        self._chance = random.Random(seed)
        self._site, self._ledger = Site(folder), Ledger(folder / "acked")
        self._noticed: list[float] = []
        self._caught_up: list[float] = []

    def run(self, rounds: int, toxics: tuple[Toxic, ...]) -> Outcome:
        """Spoil, heal, and wait until everything has arrived; then compare."""
        outcome = Outcome("F7", "bad links: socket, push, webhook, MQTT", f"{rounds} x {len(toxics)} toxics x 4 links")
        with ExitStack() as stack:
            video, receiver = stack.enter_context(VideoSystem()), stack.enter_context(Receiver())
            listener = stack.enter_context(broker(self._folder))
            targets = (video.port, self._site.http_port, receiver.port, listener.port)
            links = [stack.enter_context(Proxy(port, self._seed + n)) for n, port in enumerate(targets)]
            self._write(receiver, links)
            with self._site.bridge() as process:
                self._site.wait_ready(process)
                self._until_up()
                load = Load(links[1].port, self._ledger, batch=2, senders=1, rate=6.0)
                with load:
                    for _ in range(rounds):
                        for toxic in self._chance.sample(toxics, len(toxics)):
                            self._one(outcome, toxic, links, load, receiver, listener)
                self._told(outcome, receiver, listener)
                self._site.stop(process)
        self._judge(outcome, receiver, listener, video, rounds * sum(toxic.kind in BREAKING for toxic in toxics))
        return outcome

    def _write(self, receiver: Receiver, links: list[Proxy]) -> None:
        mqtt = {"mqtt": {"topic": "faults/plates", "payload": {"p": "{{ event.data.plate }}"}}}
        self._site.write(
            rules=[{"id": "all", "when": {"kind": "plate.read"}, "then": [tell("hook", "office"), mqtt]}],
            webhooks={"office": receiver.config(links[2].port, timeout="3s")},
            mqtt={"port": links[3].port, "version": "3.1.1"},
            sources={
                "cam": {
                    "type": "ts-api",
                    "url": f"http://127.0.0.1:{links[0].port}",
                    "dialect": "v0",
                    "username": "admin",
                    "password": "admin",
                    "topics": ["LPR"],
                    "ping_interval": self._ping,
                }
            },
        )

    def _one(
        self, outcome: Outcome, toxic: Toxic, links: list[Proxy], load: Load, receiver: Receiver, listener: Listener
    ) -> None:
        for link in links:
            link.spoil(toxic)
        began = time.monotonic()
        if toxic.kind == "half_open":
            self._notice(outcome)
        time.sleep(max(0.0, began + _HOLD - time.monotonic()))
        for link in links:
            link.heal()
        healed = time.monotonic()
        wait_for(lambda: load.first_yes_after(healed) is not None, 30, lambda: f"no yes after {toxic.kind}")
        self._until_up()
        self._told(outcome, receiver, listener)
        self._caught_up.append(time.monotonic() - healed)

    def _notice(self, outcome: Outcome) -> None:
        try:
            seconds = wait_for(lambda: self._site.metrics().get("source_up") == 0, _UNNOTICED)
        except FaultError:
            seconds = _UNNOTICED
            outcome.hold(False, f"a half-open event socket is not noticed within {seconds:.0f} s")
        self._noticed.append(seconds)

    def _until_up(self) -> None:
        wait_for(lambda: self._site.metrics().get("source_up") == 1, 60, lambda: "the source does not come back")

    def _told(self, outcome: Outcome, receiver: Receiver, listener: Listener) -> None:
        """Wait until what is promised by now has reached both."""
        wanted = set(self._ledger.acked)

        def missing() -> tuple[int, int]:
            return len(wanted - {hook.plate for hook in receiver.hooks}), len(wanted - set(listener.plates))

        end = time.monotonic() + _QUIET
        while any(missing()) and time.monotonic() < end:
            time.sleep(0.1)
        outcome.hold(not any(missing()), f"not told of in {_QUIET:.0f} s (webhook, MQTT): {missing()}")

    def _judge(
        self, outcome: Outcome, receiver: Receiver, listener: Listener, video: VideoSystem, outages: int
    ) -> None:
        events = stored(self._site.data_dir)
        plates = Counter(event["data"]["plate"] for event in events if event["type"] == "plate.read")
        seen = {plate for plate in plates if plate.startswith("W")}
        lost = sum(event["type"] == "source.lost" for event in events)
        gaps = sum(event["type"] == "source.gap" for event in events)
        ids: defaultdict[str, set[str]] = defaultdict(set)
        for hook in receiver.hooks:
            ids[hook.plate].add(hook.id)
        outcome.injected = self._ledger.offered + len(video.sent)
        outcome.acked = len(self._ledger.acked)
        outcome.lost = sum(plate not in plates for plate in self._ledger.acked)
        outcome.doubled = sum(times - 1 for times in plates.values())
        outcome.wrong = sum(len(names) > 1 for names in ids.values())
        outcome.figures = {
            "half_open_noticed_s": max(self._noticed, default=0.0),
            "caught_up_max_s": max(self._caught_up),
            "outages": lost,
            "gaps": gaps,
            "read_on_the_socket": len(seen),
            "repeated_hooks": len(receiver.hooks) - len(ids),
            "repeated_mqtt": sum(listener.plates.values()) - len(listener.plates),
        }
        outcome.none_lost()
        outcome.hold(seen <= set(video.sent), "a plate is stored that nobody sent")
        outcome.hold(bool(seen), "nothing was read on the socket: the run has shown nothing")
        outcome.hold(outcome.wrong == 0, f"{outcome.wrong} events were told under several ids")
        # A gap is told when the source's log has been read for the second time, minutes later: not all are there yet.
        outcome.hold(gaps <= lost, f"{lost} outages and {gaps} gaps")
        outcome.hold(lost >= outages, f"{lost} outages seen of at least {outages}")
        outcome.in_time(max(self._noticed, default=0) <= NOTICED, "a half-open event socket is noticed late")
