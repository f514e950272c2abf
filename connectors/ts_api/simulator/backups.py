"""Event triggers and the clips they leave: answered at once, on disk minutes later. TS-API guide 0.9.20.

A clip covers event - preAlarm to event + postAlarm of one channel. It is named by the server's local
time and can be fetched some two minutes after its last picture; `backup_scale` shortens the wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field

from . import eventtypes
from .logbook import EventRow
from .times import Duration

if TYPE_CHECKING:
    from .world import World

_LONGEST = timedelta(hours=1)
_DRIVE_V0, _DRIVE_V1 = "e", "c"


class Task(BaseModel):
    """One thing a trigger asks for."""

    model_config = ConfigDict(extra="ignore")

    command: str
    token: str = ""
    pre_alarm: Duration = Field(timedelta(minutes=5), alias="preAlarm", le=_LONGEST)
    post_alarm: Duration = Field(timedelta(hours=1), alias="postAlarm", le=_LONGEST)
    chids: tuple[int, ...] = ()


class Trigger(BaseModel):
    """The body of an event trigger."""

    model_config = ConfigDict(extra="ignore")

    chid: int
    timestamp: str = ""
    title: str = ""
    comment: Any = None
    tasks: tuple[Task, ...] = ()


@dataclass(frozen=True)
class Clip:
    """One file of an event backup."""

    path: str
    channel: int
    begin: datetime
    end: datetime
    ready: datetime


@dataclass
class Backups:
    """The event storage of one world."""

    world: World
    _clips: dict[str, Clip] = field(default_factory=dict)

    def trigger(self, wanted: Trigger, at: datetime, *, v1: bool) -> tuple[int, list[str]]:
        """Log an event and plan its clips; return the event's id and the clips' paths."""
        param: dict[str, Any] = {"title": wanted.title} if wanted.title else {}
        if wanted.comment is not None:
            param["comment"] = wanted.comment
        row = EventRow(0, eventtypes.USER_DEFINED, 0, at, None, param, wanted.title or None, (wanted.chid,))
        row = self.world.log.add_event(row, own=True)  # its answer names it: two triggers are two events
        paths = []
        for task in wanted.tasks:
            if task.command == "eventBackup":
                paths += self._planned(wanted.chid, task, at, v1=v1)
        return row.id, paths

    def clip(self, path: str) -> Clip | None:
        """Return a clip that has appeared on disk, by its path."""
        clip = self._clips.get(unquote(path))
        return clip if clip and self.world.now() >= clip.ready else None

    def _planned(self, main: int, task: Task, at: datetime, *, v1: bool) -> list[str]:
        chids = list(task.chids) or [main]
        if not v1 and main not in chids:
            chids.insert(0, main)  # v0 always includes the channel of the event
        delay = self.world.config.backup_delay + task.post_alarm
        paths = []
        for chid in chids:
            if chid not in self.world.site.channels:
                continue
            path = self._free_path(chid, at, v1=v1)
            ready = at + delay * self.world.config.backup_scale
            self._clips[path] = Clip(path, chid, at - task.pre_alarm, at + task.post_alarm, ready)
            paths.append(path)
        return paths

    def _free_path(self, chid: int, at: datetime, *, v1: bool) -> str:
        local = at.astimezone(self.world.zone)
        drive = _DRIVE_V1 if v1 else _DRIVE_V0
        stem = f"/event-storage/{drive}/{local:%Y%m%d}/{local:%H%M%S}/ch{chid}-{local:%Y%m%d-%H%M%S}"
        path, number = f"{stem}.mp4", 1
        while path in self._clips:
            number += 1
            path = f"{stem}({number}).mp4"
        return path
