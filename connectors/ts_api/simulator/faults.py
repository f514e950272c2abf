"""Everything that can be made to go wrong, by name, while the simulator runs.

A fault is set, optionally for a number of uses or a time, and cleared. The places it strikes ask for it
by name; nothing else in the simulator knows why.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .times import Duration

FaultName = Literal[
    "silent",
    "half_open",
    "duplicate",
    "reorder",
    "truncate",
    "garbage",
    "refuse",
    "bad_gateway",
    "delay",
    "wrong_host",
    "big_snapshot",
    "vod_empty",
    "file_missing",
    "growing_log",
    "late_rows",
    "shrinking_log",
    "control",
    "stuck_relay",
    "skew",
]

MEANINGS: dict[FaultName, str] = {
    "silent": "Event sockets stay open but send neither messages nor pings; what happens meanwhile is lost.",
    "half_open": "Event sockets stop reading and writing for good, without closing; new ones too.",
    "duplicate": "Each event message is sent `copies` times.",
    "reorder": "Event messages change places in pairs.",
    "truncate": "Event messages end in the middle.",
    "garbage": "A text that is not JSON comes before each event message.",
    "refuse": "Event sockets are refused: `mode` drop, 401, 403, 404, 503 or close.",
    "bad_gateway": "REST answers are a proxy's HTTP 502 page.",
    "delay": "REST answers come `wait` later.",
    "wrong_host": "Absolute addresses name another host.",
    "big_snapshot": "The channel snapshot has 144 channels and exactly `size` bytes.",
    "vod_empty": "No recorded files are found.",
    "file_missing": "Recorded files are listed but answer 404.",
    "growing_log": "Each query of the event or object log is preceded by a new row, so pages shift.",
    "late_rows": "Plates and objects are written into their log `wait` after they were told.",
    "shrinking_log": "Each log query is preceded by the end of the `copies` oldest rows of that log: retention.",
    "control": "Device commands answer `code` (`channel` and `command` narrow it).",
    "stuck_relay": "Relays accept commands and do not switch (`channel` narrows it).",
    "skew": "The server's clock is off by `by` seconds: in its events, its recordings and the Date of its answers.",
}


class Fault(BaseModel):
    """One fault and how it is limited."""

    model_config = ConfigDict(extra="forbid")

    name: FaultName = Field(description="Which fault.")
    times: int | None = Field(None, ge=1, description="Ends after so many uses.")
    lasts: Duration | None = Field(None, description="Ends after this time.")
    path: str = Field("", description="REST faults: only paths that begin so.")
    channel: int | None = Field(None, description="Device faults: only this channel.")
    command: Literal["ptz", "preset", "relay", "aux", "reboot"] | None = Field(
        None, description="Device faults: only this command."
    )
    code: int = Field(-9, ge=-9, le=-1, description="Device faults: the answer.")
    copies: int = Field(2, ge=2, le=100, description="For duplicate and shrinking_log.")
    wait: Duration = Field(timedelta(seconds=1), description="For delay and late_rows.")
    mode: Literal["drop", "401", "403", "404", "503", "close"] = Field("drop", description="For refuse.")
    by: float = Field(60, ge=-1e9, le=1e9, description="For skew: seconds ahead; negative is behind.")
    size: int = Field(8 * 1024 * 1024, ge=1024, description="For big_snapshot, in bytes.")


class Faults:
    """The faults in force."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._active: dict[FaultName, tuple[Fault, float | None]] = {}
        self._watchers: list[Callable[[Fault], None]] = []

    def watch(self, call: Callable[[Fault], None]) -> None:
        """Have a function called with each fault that is set."""
        self._watchers.append(call)

    def set(self, name: FaultName | Fault, **limits: object) -> Fault:
        """Put a fault in force, replacing one of the same name."""
        fault = name if isinstance(name, Fault) else Fault.model_validate({"name": name, **limits})
        ends = self._monotonic() + fault.lasts.total_seconds() if fault.lasts is not None else None
        self._active[fault.name] = (fault.model_copy(), ends)
        for call in self._watchers:
            call(fault)
        return fault

    def clear(self, name: FaultName | None = None) -> None:
        """End a fault, or all."""
        if name is None:
            self._active.clear()
        else:
            self._active.pop(name, None)

    def active(self) -> list[Fault]:
        """Return the faults in force."""
        return [fault for name in list(self._active) if (fault := self.get(name))]

    def get(self, name: FaultName) -> Fault | None:
        """Return a fault in force without using it up."""
        fault, ends = self._active.get(name, (None, None))
        if fault and ends is not None and self._monotonic() >= ends:
            self.clear(name)
            return None
        return fault

    def use(self, name: FaultName, *, path: str = "", channel: int | None = None, command: str = "") -> Fault | None:
        """Return a fault that strikes here, counting the use; None when none does."""
        fault = self.get(name)
        if fault is None or not path.startswith(fault.path):
            return None
        if fault.channel not in (None, channel) or fault.command not in (None, command):
            return None
        if fault.times is not None:
            fault.times -= 1
            if fault.times == 0:
                self.clear(name)
        return fault
