"""Have the server keep the footage of an event on its own side: the event trigger with a backup task.

Not repeatable: each call makes another backup. The answer comes at once with the names of files that
appear about two minutes after the last second they cover.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from pydantic import JsonValue

from bridge.sdk import ActionRejectedError, ActionUnknownError, BackupReceipt

from .system import Api, Capability, System, ordered
from .values import Dialect
from .wire import Call

# v0 guides disagree: the Korean guide has the first path, the English one the second.
_PATHS: Mapping[Dialect, Sequence[str]] = {
    "v0": ("/api/event/trigger", "/api/event-videos/trigger"),
    "v1": ("/api/v1/event/trigger",),
}
_LONGEST = timedelta(hours=1)
_READY_AFTER = timedelta(seconds=120)
"""From the end of the footage until the files can be read ("Event trigger": about 2 minutes)."""


class Backup(Capability):
    """BacksUpEvents of the contracts."""

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self._path: tuple[Dialect, str] | None = None

    async def back_up(
        self,
        channel: str,
        at: datetime,
        before: timedelta,
        after: timedelta,
        *,
        channels: Sequence[str],
        title: str,
        comment: JsonValue,
        preset: str | None,
    ) -> BackupReceipt:
        """Ask for it. Raises ActionError; ActionUnknownError if it may have been taken."""
        if max(before, after) > _LONGEST:
            raise ActionRejectedError(
                "the server keeps at most 1 h before and 1 h after an event", "invalid_parameters"
            )
        async with ordered():
            api = await self._system.api()
        chid, chids = _number(channel), list(dict.fromkeys(map(_number, (channel, *channels))))
        tasks: list[JsonValue] = []
        if preset is not None:
            tasks.append({"command": "presetGo", "token": preset})
        # Both ends are always given: v1 would take 60 minutes after the event by default.
        tasks.append(
            {"command": "eventBackup", "preAlarm": _length(before), "postAlarm": _length(after), "chids": [*chids]}
        )
        body: dict[str, JsonValue] = {
            "chid": chid,
            "timestamp": server_time(at, api.found.zone),
            "title": title,
            "comment": comment,
            "tasks": tasks,
        }
        answer = await self._trigger(api, body)
        return self._receipt(answer, at + timedelta(seconds=math.ceil(after.total_seconds())) + _READY_AFTER)

    async def _trigger(self, api: Api, body: JsonValue) -> Any:
        dialect = api.found.dialect
        known = self._path
        paths = (known[1],) if known is not None and known[0] == dialect else _PATHS[dialect]
        for place, path in enumerate(paths):
            try:
                answer = await api.rest.command(Call(path, method="PUT", body=body))
            except ActionRejectedError as exc:
                if exc.reason != "missing" or place == len(paths) - 1:
                    raise
            else:
                self._path = (dialect, path)
                return answer
        raise AssertionError("the last path returns or raises")

    def _receipt(self, answer: Any, ready_at: datetime) -> BackupReceipt:
        event = answer.get("eventId") if isinstance(answer, dict) else None
        if not isinstance(event, (int, str)) or isinstance(event, bool):
            raise ActionUnknownError("the server accepted the event, but its answer does not name it")
        urls = answer.get("videoURLs")
        paths = [self._system.host.path(url) for url in urls if isinstance(url, str)] if isinstance(urls, list) else []
        return BackupReceipt(str(event), paths, ready_at)


def server_time(at: datetime, zone: tzinfo) -> str:
    """Write a time as the guide's trigger does: the server's wall clock, without offset.

    In the hour that the clock repeats, the offset is added: without it the time would mean two.
    """
    local = at.astimezone(zone)
    repeated = local.replace(fold=0).astimezone(UTC) != local.replace(fold=1).astimezone(UTC)
    return (
        local.isoformat(timespec="milliseconds")
        if repeated
        else local.replace(tzinfo=None).isoformat(timespec="milliseconds")
    )


def _length(value: timedelta) -> str:
    return f"{max(0, math.ceil(value.total_seconds()))}s"


def _number(channel: str) -> int:
    if not channel.isascii() or not channel.isdigit():
        raise ActionRejectedError(f"{channel!r} is not a channel number", "invalid_channel")
    return int(channel)
