"""Bring back to idle whatever was taken away from it, whatever happens in between.

The debt is written to a local file and synced before anything leaves idle; when it is due the
release is sent and tried again until the device confirms it. What is owed from before a restart is
released at once, before anything may leave idle again. None of this needs the bus, and within one
run none of it trusts the wall clock.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args

from bridge.clock import Clock
from bridge.contracts import ControlsPtz, Services, SwitchesRelays
from bridge.crashpoint import crash_point
from bridge.errors import ActionError, ActionRejectedError, ActionUnavailableError, StartError
from bridge.safety.journal import JsonLines
from bridge.safety.reasons import Reason, refusal
from bridge.uncancelled import uncancelled

_LOG = logging.getLogger(__name__)

RETRY = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds between tries of a release; the last one for ever."""
SEND_LIMIT = 10.0
"""Seconds one try of a release may take."""
LATE = 5.0
"""Seconds after which people hear of a release that is not confirmed; a device that was only busy has taken it."""
STOP_GRACE = 5.0
"""Seconds for releasing everything when the bridge stops; what is left is released at the next start."""
_COMPACT_AT = 2000
_SILENT = "no answer yet"
_CURE = "give the bridge's user the right to read it; it says which outputs must be switched back"


Kind = Literal["relay", "ptz"]


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """What leaves idle: a relay, or a camera that moves."""

    kind: Kind
    source: str
    channel: str
    relay: str = ""
    idle_on: bool = False
    """For a relay: whether idle means switched on."""

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind, self.source, self.channel, self.relay) if part)


async def send_release(services: Services, target: Target) -> None:
    """Send the release once; it is confirmed when this returns. Raises ActionError."""
    if target.kind == "ptz":
        await services.source(target.source, ControlsPtz).ptz_stop(target.channel)
    else:
        relays = services.source(target.source, SwitchesRelays)
        await relays.switch_relay(target.channel, target.relay, target.idle_on)


@dataclass(slots=True, eq=False)
class _Debt:
    """What is owed to one target. `due` is monotonic; the lock keeps one thing at a time on its way to the device."""

    target: Target
    ids: list[str] = field(default_factory=list)
    due: float = 0.0
    paying: bool = False
    since: float | None = None
    """Since when the release is tried, monotonic; None while nothing is to be paid."""
    trouble: str = _SILENT
    """What the last try came to."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def set_due(self, due: float) -> None:
        self.due = due
        self.changed.set()

    def begin(self, now: float) -> None:
        """The release is on its way, and nothing leaves idle until it is confirmed."""
        self.paying = True
        if self.since is None:
            self.since = now

    def paid(self) -> None:
        """The device has confirmed it."""
        self.paying, self.since, self.trouble = False, None, _SILENT


class ReleaseJournal:
    """What is owed, on disk and in memory, and the tasks that pay."""

    def __init__(self, folder: Path, services: Services, clock: Clock) -> None:
        self._file = JsonLines(folder / "releases.jsonl")
        self._services = services
        self._clock = clock
        self._debts: dict[Target, _Debt] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._serving = False
        self._numbers = itertools.count(1)
        self.on_left: Callable[[str], None] | None = None
        """Told in words what is still away from idle when `run` ends."""

    def owed(self) -> Mapping[Target, int]:
        """Return what is away from idle, and by how many orders."""
        return {target: len(debt.ids) for target, debt in self._debts.items() if debt.ids}

    def overdue(self) -> Mapping[Target, str]:
        """Return what has been told for more than `LATE` seconds to go back to idle and did not confirm it, and why."""
        before = self._clock.monotonic() - LATE
        return {d.target: d.trouble for d in self._debts.values() if d.since is not None and d.since < before}

    async def load(self) -> int:
        """Read what is owed from before; all of it is due at once. Return how many targets. Raises StartError."""
        try:
            records = await asyncio.to_thread(self._file.load)
        except OSError as exc:
            raise StartError(f"{self._file.path} cannot be read ({exc.strerror})", _CURE) from exc
        for number, target in _open_debts(records):
            debt = self._debt(target)
            debt.ids.append(number)
            debt.begin(self._clock.monotonic())
        if self._debts:
            _LOG.warning("outputs were away from idle when the bridge stopped", extra={"owed": len(self.owed())})
        return len(self.owed())

    async def run(self) -> None:
        """Pay what is due until cancelled, and then everything, as far as `STOP_GRACE` allows."""
        async with asyncio.TaskGroup() as self._tasks:
            self._serving = True
            for debt in self._debts.values():
                self._start_paying(debt)
            try:
                await asyncio.Event().wait()
            finally:
                self._serving = False
                await self._pay_all()
                self._tasks = None
                await asyncio.to_thread(self._file.close)

    async def away(
        self,
        target: Target,
        order: str,
        hold: timedelta,
        permit: Callable[[], None],
        send: Callable[[], Awaitable[None]],
    ) -> None:
        """Take a target away from idle for `hold`, which counts from when the device confirmed it.

        `permit` is asked after the debt is on the disk and right before sending; it raises to stop it.
        Raises ActionRejectedError with `no_journal` if the debt cannot be written down,
        ActionUnavailableError while an earlier release is not confirmed, and what `send` raises.
        """
        if not self._serving:
            raise refusal(Reason.NO_JOURNAL, "the release journal does not run")
        debt = self._debt(target)
        _refuse_while_paying(debt)
        async with debt.lock:
            _refuse_while_paying(debt)
            number = self._next_number(order)
            try:
                await self._arm(debt, number, order, hold)
                permit()
                await send()
            except (ActionRejectedError, ActionUnavailableError):
                await self._confirm(debt, [number], "never_sent")
                raise
            except BaseException:  # a time limit, a cancellation: it may have left idle, so it goes back now
                self._pay_from(debt, self._clock.monotonic())
                raise
            self._pay_from(debt, max(debt.due, self._clock.monotonic() + hold.total_seconds()))

    async def idle(self, target: Target) -> None:
        """Bring a target back to idle now, owed or not. Raises ActionError if it did not confirm it.

        What is owed is due from then on, whoever asked: it is paid as if its time were over.
        """
        debt = self._debt(target)
        async with debt.lock:
            ids = list(debt.ids)
            try:
                await send_release(self._services, target)
            except BaseException as exc:  # a time limit, a cancellation: it may not be back
                self._not_back(debt, exc)
                raise
            debt.paid()
            await self._confirm(debt, ids, "confirmed")

    def _not_back(self, debt: _Debt, error: BaseException) -> None:
        now = self._clock.monotonic()
        if debt.ids:
            debt.paying = True
            self._pay_from(debt, now)
        elif isinstance(error, ActionRejectedError):
            return  # whoever asked does not ask again
        debt.since = now if debt.since is None else debt.since
        debt.trouble = str(error) or "no answer"

    def _debt(self, target: Target) -> _Debt:
        return self._debts.setdefault(target, _Debt(target))

    def _next_number(self, order: str) -> str:
        """Return a name for one debt; unlike any other, also after a restart."""
        return f"{order}/{self._clock.now().timestamp():.3f}/{next(self._numbers)}"

    async def _arm(self, debt: _Debt, number: str, order: str, hold: timedelta) -> None:
        now = self._clock.now()
        record = {
            "op": "arm",
            "id": number,
            "order": order,
            "at": now.isoformat(),
            "due": (now + hold).isoformat(),
            "target": asdict(debt.target),
        }
        debt.ids.append(number)
        try:
            await asyncio.to_thread(self._file.append, record)
        except OSError as exc:
            debt.ids.remove(number)
            raise refusal(Reason.NO_JOURNAL, exc.strerror or type(exc).__name__) from exc
        crash_point("effect.armed")

    def _pay_from(self, debt: _Debt, due: float) -> None:
        debt.set_due(due)
        self._start_paying(debt)

    def _start_paying(self, debt: _Debt) -> None:
        if self._tasks is not None and debt.ids and (debt.task is None or debt.task.done()):
            debt.task = self._tasks.create_task(self._pay(debt), name=f"release[{debt.target}]")

    async def _pay(self, debt: _Debt) -> None:
        failures = 0
        while debt.ids:
            await self._until_due(debt)
            crash_point("release.due")
            async with debt.lock:
                if not debt.ids or self._clock.monotonic() < debt.due:
                    continue  # released by an order, or extended by one, while we waited for the lock
                debt.begin(self._clock.monotonic())
                failures = 0 if await self._pay_once(debt) else failures + 1
                if failures:
                    debt.due = self._clock.monotonic() + RETRY[min(failures, len(RETRY)) - 1]

    async def _pay_once(self, debt: _Debt) -> bool:
        ids = list(debt.ids)
        try:
            async with asyncio.timeout(SEND_LIMIT):
                with uncancelled():
                    await send_release(self._services, debt.target)
        except (ActionError, TimeoutError) as exc:
            debt.trouble = str(exc) or "no answer"
            _LOG.error("a release is not confirmed", extra={"target": str(debt.target), "error": str(exc)})
            return False
        except Exception as exc:  # noqa: BLE001 - the edge of a task: whatever a connector raises, the release goes on
            debt.trouble = type(exc).__name__
            _LOG.exception("a release failed in an unexpected way", extra={"target": str(debt.target)})
            return False
        crash_point("release.sent")
        debt.paid()
        await self._confirm(debt, ids, "confirmed")
        crash_point("release.confirmed")
        return True

    async def _until_due(self, debt: _Debt) -> None:
        while debt.ids and (left := debt.due - self._clock.monotonic()) > 0:
            debt.changed.clear()
            sleeping = asyncio.ensure_future(self._clock.sleep(left))
            changing = asyncio.ensure_future(debt.changed.wait())
            try:
                await asyncio.wait((sleeping, changing), return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleeping.cancel()
                changing.cancel()

    async def _confirm(self, debt: _Debt, ids: list[str], how: str) -> None:
        """Strike debts off. If that cannot be written, the next start releases once more, which harms nobody."""
        debt.ids = [number for number in debt.ids if number not in ids]
        debt.changed.set()
        try:
            await asyncio.to_thread(self._strike_off, ids, how)
        except OSError as exc:
            _LOG.error("a confirmed release could not be written down", extra={"error": str(exc)})

    def _strike_off(self, ids: list[str], how: str) -> None:
        if ids:
            self._file.append({"op": "done", "ids": ids, "how": how})
        if self._file.lines > _COMPACT_AT:
            self._file.compact(_still_owed)

    async def _pay_all(self) -> None:
        for debt in self._debts.values():
            debt.set_due(self._clock.monotonic())
        paying = [debt.task for debt in self._debts.values() if debt.task is not None]
        if not paying:
            return
        _, late = await asyncio.wait(paying, timeout=STOP_GRACE)
        for task in late:
            task.cancel()
        if late:
            _LOG.error("outputs are away from idle and are released at the next start", extra={"owed": len(late)})
        for debt in self._debts.values():
            if debt.task in late and self.on_left is not None:
                self.on_left(f"{debt.target} is not back at idle, and the bridge stops: {debt.trouble}")


def _still_owed(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    still = {number for number, _ in _open_debts(records)}
    return [record for record in records if record.get("id") in still]


def _refuse_while_paying(debt: _Debt) -> None:
    if debt.paying:
        raise ActionUnavailableError(f"{debt.target} is being brought back to idle and has not confirmed it yet")


def _open_debts(records: list[dict[str, Any]]) -> list[tuple[str, Target]]:
    """Return what was armed and never struck off. A record of a form we do not know is reported and skipped."""
    owed: dict[str, Target] = {}
    for record in records:
        try:
            if record["op"] == "arm":
                target = Target(**record["target"])
                if target.kind not in get_args(Kind):
                    raise TypeError(target.kind)
                owed[str(record["id"])] = target
            else:
                for number in record["ids"]:
                    owed.pop(number, None)
        except (KeyError, TypeError):
            _LOG.error("skipped a journal record of unknown form", extra={"record": record})
    return list(owed.items())
