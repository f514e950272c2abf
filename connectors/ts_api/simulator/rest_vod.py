"""Video: live addresses, recorded files, stills, event clips and the live HLS stream.

Searching recorded video follows the guide: one second from `when` unless `duration` says more, ten
files unless `limit` says more (at most 50), `otherwise` when nothing is there, a live entry when `when`
is less than a minute ago and `nolive` is absent. A file can be fetched when its last picture has been
filmed.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from .call import Call
from .clock_picture import from_epoch_ms
from .levels import PRODUCT_LACKS
from .parts import Message
from .recorder import Piece
from .state import Channel

_FILES, _MOST_FILES = 10, 50
_SEARCHED = timedelta(seconds=1)
_LIVE_FOR = timedelta(minutes=1)
_SEGMENTS_LISTED = 6
_PIECE = re.compile(r".*/(\d+)\.mp4")
_STREAM = re.compile(r"ch(\d+)(main|sub)")


async def vod(call: Call) -> Any:
    """Answer `/api/vod` and `/api/v1/vod`."""
    call.need_x_host()
    if call.text("when", "now") == "now" and not call.has("id"):
        return _live(call)
    if "recordings" in PRODUCT_LACKS[call.world.config.product]:
        raise HTTPException(404, "no recorded video on this product")
    return [_recorded(call, piece) if isinstance(piece, Piece) else piece for piece in _found(call)]


def _live(call: Call) -> list[Message]:
    protocols, profile = call.words("protocol"), call.text("stream")
    listed = []
    for channel in call.world.parts.channels(call.channels()):
        entry = call.world.parts.channel_name(channel, call.view)
        if not call.flag("nameonly"):
            sources = _sources(call, channel)
            entry["src"] = [
                item
                for item in sources
                if (not protocols or item["protocol"] in protocols) and profile in ("", item["profile"])
            ]
        listed.append(entry)
    return listed


def _sources(call: Call, channel: Channel) -> list[Message]:
    """Streams exist only while the camera is connected."""
    return call.view.sources(channel.chid, call.world.recorder.size(channel.chid)) if channel.connected else []


def _found(call: Call) -> list[Piece | Message]:
    recorder = call.world.recorder
    if call.has("id"):
        return list(_by_id(call))
    channels = call.numbers("ch")
    if not channels:
        raise HTTPException(400, "ch is required")
    if call.world.faults.use("vod_empty"):
        return []
    begin = call.needed_time("when")
    limit = max(1, min(call.number("limit", _FILES), _MOST_FILES))
    found: list[Piece | Message] = []
    for chid in channels:
        if chid not in call.world.site.channels or not call.client.may_reach(chid):
            continue
        pieces = recorder.pieces(chid, begin, begin + call.duration("duration", _SEARCHED), limit)
        found += pieces or _otherwise(call, chid, begin)
        if not call.flag("nolive") and timedelta(0) <= call.world.now() - begin < _LIVE_FOR:
            channel = call.world.site.channels[chid]
            found.append(call.world.parts.channel_name(channel, call.view) | {"src": _sources(call, channel)})
    return found


def _by_id(call: Call) -> list[Piece]:
    recorder, number = call.world.recorder, call.number("id", 0)
    step = 1 if call.has("next") else -1 if call.has("prev") else 0
    if not step:
        piece = recorder.piece(number)
    else:
        channels = call.numbers("ch")
        if not channels:
            raise HTTPException(400, "ch is required")
        piece = recorder.neighbour(channels[0], number, step)
    return [piece] if piece and call.client.may_reach(piece.channel) else []


def _otherwise(call: Call, chid: int, begin: datetime) -> list[Piece]:
    step = {"nearAfter": 1, "nearBefore": -1}.get(call.text("otherwise"))
    piece = call.world.recorder.nearest(chid, begin, step) if step else None
    return [piece] if piece else []


def _recorded(call: Call, piece: Piece) -> Message:
    channel = call.world.site.channels[piece.channel]
    width, height = piece.size
    return {
        "chid": piece.channel,
        "title": call.world.parts.encoded(channel.title, call.view, dots=True),
        "fileId": piece.file_id,
        "src": [
            {
                "src": call.view.url(piece.path),
                "type": "video/mp4",
                "label": f"{height}p",
                "size": [width, height],
                "timeRange": [call.view.row_stamp(piece.begin), call.view.row_stamp(piece.end)],
            }
        ],
    }


# Files


async def storage(call: Call) -> Response:
    """Serve a recorded file or a still."""
    path = call.request.url.path
    if call.world.faults.use("file_missing", path=path):
        raise HTTPException(404, "Not found")
    match = _PIECE.fullmatch(path)
    if match:
        piece = call.world.recorder.piece(int(match[1]))
        if piece is None or piece.path != path or not call.client.may_reach(piece.channel):
            raise HTTPException(404, "Not found")
        file = await call.world.recorder.piece_file(piece)
        return FileResponse(file, media_type="video/mp4")
    still = await call.world.recorder.still(path)
    if still is None:
        raise HTTPException(404, "Not found")
    return Response(still, media_type="image/jpeg")


async def event_storage(call: Call) -> Response:
    """Serve a clip of an event backup, once it is there."""
    clip = call.world.backups.clip(call.request.url.path)
    if clip is None or call.world.faults.use("file_missing", path=call.request.url.path):
        raise HTTPException(404, "Not found")
    file = await call.world.recorder.clip_file(clip.channel, clip.begin, clip.end)
    return FileResponse(file, media_type="video/mp4")


# Live


async def playlist(call: Call) -> Response:
    """Serve the HLS playlist of a stream: the last segments before now, each with its wall-clock time."""
    channel = _streaming(call)
    spans = call.world.recorder.live_segments(channel.chid, _SEGMENTS_LISTED)
    longest = max(span.end_ms - span.begin_ms for span in spans)
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:3",
        f"#EXT-X-TARGETDURATION:{-(-longest // 1000)}",
        f"#EXT-X-MEDIA-SEQUENCE:{spans[0].number}",
    ]
    for span in spans:
        lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{from_epoch_ms(span.begin_ms).isoformat(timespec='milliseconds')}")
        lines.append(f"#EXTINF:{(span.end_ms - span.begin_ms) / 1000:.3f},")
        lines.append(f"{span.number}.ts{_credentials(call)}")
    return Response("\n".join(lines) + "\n", media_type="application/vnd.apple.mpegurl")


async def segment(call: Call) -> Response:
    """Serve one MPEG-TS segment."""
    channel = _streaming(call)
    number = int(call.request.path_params["number"])
    path = await call.world.recorder.segment_file(channel.chid, number)
    if path is None:
        raise HTTPException(404, "Not found")
    return FileResponse(path, media_type="video/mp2t")


def _streaming(call: Call) -> Channel:
    match = _STREAM.fullmatch(call.request.path_params["stream"])
    channel = call.world.site.channels.get(int(match[1])) if match else None
    if channel is None or not channel.connected or not call.client.may_reach(channel.chid):
        raise HTTPException(404, "Not found")
    return channel


def _credentials(call: Call) -> str:
    """Players do not carry a playlist's query to its segments, so the lines must hold it."""
    query = call.request.url.query
    return f"?{query}" if query else ""
