"""What happens at the site: each happening changes state, is written down, and is told to every client."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from . import eventtypes
from .clock_picture import to_epoch_ms
from .config import ChannelConfig
from .happenings import (
    BodyTemperature,
    Call,
    ChannelStatus,
    DetectedObject,
    Happening,
    LogRow,
    Motion,
    Opaque,
    ParkingCount,
    ParkingSpot,
    Plate,
    RecordingStatus,
)
from .logbook import EventRow, ObjectRow, PlateRow
from .recorder import folders
from .render import Occurrence
from .state import CONNECTED, Channel

if TYPE_CHECKING:
    from .world import World

_TYPE_IN_IMAGE_NAME = {"human": 1, "face": 2, "vehicle": 3}


class UnknownThingError(ValueError):
    """Something was to happen to a channel, lot, spot or row that does not exist."""


class Course:
    """The course of events of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._told_motion = {chid: channel.motion for chid, channel in world.site.channels.items()}
        self._numbers = 130
        self._still = 161_000

    def happen(self, what: Happening) -> None:
        """Let something happen: change the state, write it down, tell the clients."""
        at = what.when(self._world.now())
        match what:
            case ChannelStatus():
                self._on_channel(what, at)
            case Plate():
                self._on_plate(what, at)
            case Call():
                self._on_call(what, at)
            case LogRow():
                self._on_log_row(what, at)
            case Motion():
                self._world.channel(what.channel).motion = what.motion
                if not self._world.config.motion_tick:
                    self.tell_motion()
            case ParkingCount():
                self._on_count(what, at)
            case ParkingSpot():
                self._on_spot(what, at)
            case RecordingStatus():
                self._on_recording(what, at)
            case DetectedObject():
                self._on_object(what, at)
            case BodyTemperature():
                seen = Occurrence(what.topic, at, what, (what.channel,), number=self._number(what.obj_id))
                self._world.hub.publish(seen)
            case Opaque():
                self._world.hub.publish(Occurrence(what.topic, at, what))

    def _on_channel(self, what: ChannelStatus, at: datetime) -> None:
        concerned: tuple[int, ...] = (what.channel,)
        if what.event == "channelAdded":
            config = ChannelConfig(chid=what.channel, title=what.name)
            self._world.site.channels[what.channel] = Channel.of(config)
        elif what.event == "channelSwapped":
            self._swap(what)
            concerned = (what.channel, what.swapped_with or 0)
        elif what.event == "nameChanged":
            self._world.channel(what.channel).title = what.name
        elif what.event == "statusChanged":
            self._set_status(self._world.channel(what.channel), what.code, at)
        else:
            self._world.channel(what.channel)
        self._world.hub.publish(Occurrence(what.topic, at, what, concerned))
        if what.event == "channelRemoved":
            del self._world.site.channels[what.channel]

    def _swap(self, what: ChannelStatus) -> None:
        if what.swapped_with is None:
            raise UnknownThingError("channelSwapped needs swappedWith")
        one, other = self._world.channel(what.channel), self._world.channel(what.swapped_with)
        one.chid, other.chid = other.chid, one.chid
        self._world.site.channels |= {one.chid: one, other.chid: other}

    def _set_status(self, channel: Channel, code: int, at: datetime) -> None:
        was, channel.code = channel.connected, code
        if was != channel.connected:
            event = eventtypes.CONNECTED if code == CONNECTED else eventtypes.DISCONNECTED
            row = EventRow(0, eventtypes.CAMERA, event, at, channels=(channel.chid,))
            self._world.log.add_event(row)

    def _on_plate(self, what: Plate, at: datetime) -> None:
        if what.channel is not None:
            self._world.channel(what.channel)
        source = what.device_code or self._zone_of(what.channel)
        image = self._image(what.channel or 0, at, "plate.jpg", "") if what.image else None
        known = self._world.site.plate_sources.get(source)
        shown = (what.channel,) if what.channel is not None else ()
        for plate in (what.plate_no, *what.also):
            row = PlateRow(
                0,
                plate,
                source,
                tuple(dict.fromkeys((*shown, *(known.linked if known else ())))),
                at - what.seen_for,
                at,
                what.score,
                what.roi,
                what.direction,
                [image] if image else [],
            )
            self._write(partial(self._world.log.add_plate, row))
        self._world.hub.publish(Occurrence(what.topic, at, what, shown, image, source))

    def _zone_of(self, chid: int | None) -> str:
        for source in self._world.site.plate_sources.values():
            if source.channel == chid:
                return source.code
        return f"1-{chid or 0}-1"

    def _on_call(self, what: Call, at: datetime) -> None:
        code = eventtypes.CALL_START if what.event == "callStart" else eventtypes.CALL_END
        param = {"caller": what.caller}
        self._world.log.add_event(EventRow(0, eventtypes.EMERGENCY, code, at, param=param))
        self._world.hub.publish(Occurrence(what.topic, at, what))

    def _on_log_row(self, what: LogRow, at: datetime) -> None:
        if what.id is None:
            row = self._world.log.add_event(
                EventRow(0, what.type, what.code, at, None, what.param, what.comment, what.channels)
            )
        else:
            found = self._world.log.change_event(what.id, what.param, at)
            if found is None:
                raise UnknownThingError(f"no row {what.id} in the event log")
            row = found
        if row.type == eventtypes.SYSTEM:
            self._world.hub.publish(Occurrence("systemEvent", at, what, row.channels, row=row))

    def _on_count(self, what: ParkingCount, at: datetime) -> None:
        lot = self._world.site.lots.get(what.lot)
        if lot is None or lot.config.members:
            raise UnknownThingError(f"no parking counter {what.lot}")
        lot.own = max(0, (what.count if what.count is not None else lot.own) + what.change)
        self._world.hub.publish(Occurrence(what.topic, at, what))

    def _on_spot(self, what: ParkingSpot, at: datetime) -> None:
        spot = self._world.site.spots.get(what.spot)
        if spot is None:
            raise UnknownThingError(f"no parking spot {what.spot}")
        spot.occupied, spot.since = what.occupied, at if what.occupied else None
        spot.plate_no, spot.score, spot.ev, spot.bike = what.plate_no, what.score, what.ev, what.bike
        self._world.hub.publish(Occurrence(what.topic, at, what, (spot.config.chid,)))

    def _on_recording(self, what: RecordingStatus, at: datetime) -> None:
        channel = self._world.channel(what.channel)
        channel.streaming, channel.recording = what.streaming, what.recording and not what.failed
        channel.failed_at = at if what.failed else None
        self._world.hub.publish(Occurrence(what.topic, at, what, (what.channel,)))

    def _on_object(self, what: DetectedObject, at: datetime) -> None:
        self._world.channel(what.channel)
        number = self._number(what.obj_id)
        shape = f"_s{what.size[0]}x{what.size[1]}"
        name = f"object._c{what.channel}_t{_TYPE_IN_IMAGE_NAME[what.type]}{shape}.jpg"
        image = self._image(what.channel, at, name, "object")
        row = ObjectRow(
            0,
            at,
            what.channel,
            number,
            what.type,
            what.likelihood,
            what.attributes,
            image,
            what.parent_id,
        )
        self._write(partial(self._world.log.add_object, row))
        if not what.quiet:
            self._world.hub.publish(Occurrence(what.topic, at, what, (what.channel,), image, number=number))

    def _write(self, write: Callable[[], object]) -> None:
        """Write a row into its log, now or as late as the fault says."""
        late = self._world.faults.use("late_rows")
        if late is None:
            write()
        else:
            self._world.log.write_late(self._world.now() + late.wait, write)

    def _number(self, given: int | None) -> int:
        self._numbers += 1
        return given if given is not None else self._numbers

    def _image(self, channel: int, at: datetime, name: str, folder: str) -> str:
        """Return a still's path; its name carries file id, a sequence number and epoch microseconds."""
        self._still += 1
        file_id = self._world.recorder.file_id_at(channel or 1, at)
        place = f"{folders(file_id)}/{folder}/{file_id}" if folder else folders(file_id)
        micros = to_epoch_ms(at) * 1000 + at.microsecond % 1000
        return f"/storage/e/{place}/{file_id}.{self._still}.{micros}.{name}"

    def tell_motion(self) -> None:
        """Publish what moves differently than last told."""
        now = {chid: channel.motion for chid, channel in self._world.site.channels.items()}
        changed = tuple(chid for chid, motion in now.items() if motion != self._told_motion.get(chid))
        self._told_motion = now
        if changed:
            self._world.hub.publish(Occurrence("motionChanges", self._world.now(), changed, changed))
