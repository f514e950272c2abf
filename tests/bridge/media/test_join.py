"""Several pieces become one clip: order, overlaps, holes, changes and broken files."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import av
import pytest

from bridge.errors import ActionRejectedError, ActionUnavailableError
from bridge.media.clip import cut
from bridge.media.job import Accuracy, PieceFile, Span
from tests.bridge.media.conftest import Recorder
from tests.bridge.media.footage import Footage, Shown, at, job, packets, shown

FRAME = 1 / 25
KINDS = [
    pytest.param(0, ".mp4", id="mp4"),
    pytest.param(3, ".mp4", id="mp4-bframes"),
    pytest.param(0, ".ts", id="ts"),
    pytest.param(3, ".ts", id="ts-bframes"),
]


def clocks(path: Path) -> list[float]:
    """Return the clocks of the pictures a player shows."""
    return [each.clock for each in shown(path)]


def steps(pictures: list[Shown]) -> set[float]:
    """Return the different distances between pictures, in the file and by the clock, in seconds."""
    pairs = itertools.pairwise(pictures)
    return {round(distance, 2) for a, b in pairs for distance in (b.pts - a.pts, b.clock - a.clock)}


@pytest.mark.parametrize(("bframes", "suffix"), KINDS)
@pytest.mark.parametrize("accuracy", list(Accuracy))
def test_adjacent_pieces_become_one_file(
    bframes: int, suffix: str, accuracy: Accuracy, recorded: Recorder, out: Path
) -> None:
    """Over two joins no picture is lost or doubled, whatever order the pieces come in."""
    pieces = [recorded(Footage(begin=begin, seconds=4, bframes=bframes), suffix) for begin in (4, 0, 8)]
    result = cut(job(out, *pieces, begin=2.5, end=10.5, accuracy=accuracy))
    pictures = shown(out)
    assert steps(pictures) == ({0.04, 0.02} if accuracy is Accuracy.EXACT else {0.04})
    assert pictures[0].clock <= 2.52
    assert pictures[-1].clock + FRAME >= 10.5 - FRAME
    assert result.missing == ()
    assert len(result.parts) == 1
    assert result.pieces_used == (1, 0, 2)
    stamps = list(packets(out))
    assert all(later[0] > earlier[0] for earlier, later in itertools.pairwise(stamps))


@pytest.mark.parametrize(("bframes", "suffix"), KINDS)
def test_a_small_hole_keeps_wall_clock_time(bframes: int, suffix: str, recorded: Recorder, out: Path) -> None:
    """Over a hole of 3 s the picture is held: three seconds later in the clip is three seconds later in life."""
    first = recorded(Footage(begin=0, seconds=4, bframes=bframes), suffix)
    second = recorded(Footage(begin=7, seconds=4, bframes=bframes), suffix)
    result = cut(job(out, first, second, begin=2, end=9))
    pictures = shown(out)
    assert all(each.clock - pictures[0].clock == pytest.approx(each.pts, abs=0.003) for each in pictures)
    assert result.missing == (Span(begin=at(4), end=at(7)),)
    assert len(result.parts) == 1


def test_a_large_hole_begins_a_new_part(recorded: Recorder, out: Path) -> None:
    """A player does not stand still for half a minute; the part with the event is the primary one."""
    first, second = recorded(Footage(seconds=4)), recorded(Footage(begin=34, seconds=4))
    result = cut(job(out, first, second, begin=2, end=36, event=35))
    assert [part.path.name for part in result.parts] == ["clip.mp4", "clip.2.mp4"]
    assert clocks(result.parts[1].path)[0] == 34
    assert result.missing == (Span(begin=at(4), end=at(34)),)
    assert result.primary == 1
    assert (result.before, result.after) == (pytest.approx(1), pytest.approx(1, abs=0.1))


def test_another_resolution_begins_a_new_part(recorded: Recorder, out: Path) -> None:
    """Both parts play, nothing of the window is left out, and the result says why there are two."""
    small, large = recorded(Footage(seconds=4)), recorded(Footage(begin=4, seconds=4, width=640, height=480))
    result = cut(job(out, small, large, begin=2, end=7))
    assert [(part.width, part.height) for part in result.parts] == [(320, 240), (640, 480)]
    assert clocks(result.parts[0].path)[-1] == pytest.approx(4 - FRAME)
    assert clocks(result.parts[1].path)[0] == 4
    assert result.missing == ()
    assert [note.code for note in result.notes] == ["parameters"]


def test_the_same_size_with_other_parameters_begins_a_new_part(recorded: Recorder, out: Path) -> None:
    """One MP4 track holds one set of decoder parameters; B-frames are in them."""
    first, second = recorded(Footage(seconds=4)), recorded(Footage(begin=4, seconds=4, bframes=3))
    result = cut(job(out, first, second, begin=2, end=7))
    assert len(result.parts) == 2
    assert len(clocks(result.parts[1].path)) >= 75


@pytest.mark.parametrize(("bframes", "suffix"), KINDS)
@pytest.mark.parametrize("overlap", [0.12, 1.5, 2.0])
def test_overlapping_pieces_show_every_moment_once(
    bframes: int, suffix: str, overlap: float, recorded: Recorder, out: Path
) -> None:
    """Pictures rise in time over the overlap; at most two are lost where the later piece takes over."""
    first = recorded(Footage(seconds=5, bframes=bframes), suffix)
    second = recorded(Footage(begin=5 - overlap, seconds=5, bframes=bframes), suffix)
    result = cut(job(out, first, second, begin=2, end=8))
    taken = clocks(out)
    if overlap > 0.2:
        assert all(later > earlier for earlier, later in itertools.pairwise(taken))
        assert max(later - earlier for earlier, later in itertools.pairwise(taken)) <= 3.01 * FRAME
    assert result.missing == ()
    assert len(result.parts) == 1
    assert taken[-1] >= 8 - FRAME


def test_a_piece_inside_another_is_not_used(recorded: Recorder, out: Path) -> None:
    """The longer piece has all of it."""
    long, short = recorded(Footage(seconds=10)), recorded(Footage(begin=4, seconds=2))
    result = cut(job(out, short, long, begin=1, end=10.2))
    assert result.pieces_used == (1,)
    assert [note.code for note in result.notes] == ["covered"]
    assert result.complete


def test_a_window_in_the_middle_of_a_group_is_reached_from_the_piece_before(
    recorded: Recorder, out: Path, tmp_path: Path
) -> None:
    """Segments cut anywhere: the pictures before the first keyframe need the last group of the previous segment."""
    whole = recorded(Footage(seconds=8, gop=50, bframes=2), ".ts")
    first, second = _split(whole, tmp_path, 5.0)
    result = cut(job(out, first, second, begin=5.2, end=7))
    pictures = shown(out)
    assert pictures[0].clock == pytest.approx(4.0, abs=0.001)
    assert steps(pictures) == {0.04}
    assert result.missing == ()


def _split(piece: PieceFile, folder: Path, where: float) -> tuple[PieceFile, PieceFile]:
    """Cut a transport stream in two between two packets, wherever they are in their group."""
    paths = [folder / "first.ts", folder / "second.ts"]
    with av.open(str(piece.path)) as source:
        stream = source.streams.video[0]
        outs = [av.open(str(path), "w", format="mpegts") for path in paths]
        targets = [each.add_stream_from_template(stream, opaque=True) for each in outs]
        origin = stream.start_time * stream.time_base
        for packet in source.demux(stream):
            if packet.size:
                number = packet.dts * stream.time_base - origin >= where
                packet.stream = targets[number]
                outs[number].mux(packet)
        for each in outs:
            each.close()
    starts = []
    for path in paths:
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            starts.append(float(video.start_time * video.time_base))
    begin = starts[1] - starts[0]
    return (
        PieceFile(path=paths[0], begin=at(0), end=at(begin)),
        PieceFile(path=paths[1], begin=at(begin), end=at(8)),
    )


class TestBroken:
    """Pieces that cannot be used, wholly or partly."""

    def test_a_broken_piece_is_skipped_when_others_have_footage(
        self, recorded: Recorder, out: Path, tmp_path: Path
    ) -> None:
        """The clip is made from the rest, with a note and the missing stretch."""
        good = recorded(Footage(seconds=4))
        bad = good.model_copy(update={"path": tmp_path / "bad.mp4", "begin": at(4), "end": at(8)})
        bad.path.write_bytes(good.path.read_bytes()[:3000])
        result = cut(job(out, good, bad, begin=2, end=6))
        assert result.missing == (Span(begin=at(4), end=at(6)),)
        assert [(note.code, note.piece) for note in result.notes] == [("unreadable", 1)]

    def test_an_empty_piece_is_skipped(self, recorded: Recorder, out: Path, tmp_path: Path) -> None:
        """A recorder's file of no bytes is a note, not a failure."""
        empty = PieceFile(path=tmp_path / "empty.mp4", begin=at(4), end=at(8))
        empty.path.touch()
        result = cut(job(out, recorded(Footage(seconds=4)), empty, begin=2, end=6))
        assert result.notes[0].text == "the recording is empty"

    def test_only_broken_pieces_is_an_error_that_says_why(self, out: Path, tmp_path: Path) -> None:
        """Another copy may be better, so it is worth another try."""
        bad = PieceFile(path=tmp_path / "bad.mp4", begin=at(0), end=at(8))
        bad.path.write_bytes(b"\0\0\0\x20ftypisom" + b"\0" * 500)
        with pytest.raises(ActionUnavailableError, match="no usable footage: the recording cannot be opened"):
            cut(job(out, bad, begin=2, end=6))
        assert list(tmp_path.iterdir()) == [bad.path]

    @pytest.mark.parametrize("suffix", [".mp4", ".ts"])
    def test_a_piece_cut_short_is_used_up_to_there(
        self, suffix: str, recorded: Recorder, out: Path, tmp_path: Path
    ) -> None:
        """A download that broke off gives its pictures; the rest is missing."""
        whole = recorded(Footage(seconds=8, gop=10), suffix)
        source = tmp_path / f"whole{suffix}"
        if suffix == ".mp4":
            _faststart(whole.path, source)
        else:
            shutil.copy(whole.path, source)
        short = whole.model_copy(update={"path": tmp_path / f"short{suffix}"})
        data = source.read_bytes()
        short.path.write_bytes(data[: len(data) * 3 // 4])
        result = cut(job(out, short, begin=1, end=8))
        assert 4 < clocks(out)[-1] < 7.8
        assert len(result.missing) == 1
        assert result.missing[0].end == at(8)

    def test_a_note_of_pieces_that_are_no_video(self, recorded: Recorder, out: Path, tmp_path: Path) -> None:
        """An error page that was saved as a piece does not end the job while others have the footage."""
        page = PieceFile(path=tmp_path / "page.mp4", begin=at(0), end=at(20))
        page.path.write_text("<html>502 Bad Gateway</html>")
        result = cut(job(out, page, recorded(), begin=2, end=6))
        assert result.complete
        assert result.notes[0].text == "the recording is an HTML or XML page"
        with pytest.raises(ActionRejectedError, match="an HTML or XML page"):
            cut(job(tmp_path / "other.mp4", page, begin=2, end=6))


def _faststart(source: Path, target: Path) -> None:
    with (
        av.open(str(source)) as given,
        av.open(str(target), "w", format="mp4", container_options={"movflags": "faststart"}) as made,
    ):
        stream = given.streams.video[0]
        copy = made.add_stream_from_template(stream, opaque=True)
        for packet in given.demux(stream):
            if packet.size:
                packet.stream = copy
                made.mux(packet)


def test_a_hole_inside_a_piece_is_reported(recorded: Recorder, out: Path, tmp_path: Path) -> None:
    """A recorder that lost its camera for three seconds kept writing one file."""
    whole = recorded(Footage(seconds=10))
    holed = whole.model_copy(update={"path": tmp_path / "holed.mp4"})
    with av.open(str(whole.path)) as given, av.open(str(holed.path), "w", format="mp4") as made:
        stream = given.streams.video[0]
        copy = made.add_stream_from_template(stream, opaque=True)
        for packet in given.demux(stream):
            if packet.size and not 4 <= packet.pts * stream.time_base < 7:
                packet.stream = copy
                made.mux(packet)
    result = cut(job(out, holed, begin=2, end=9))
    assert result.missing == (Span(begin=at(4), end=at(7)),)


def test_streams_a_clip_cannot_take_are_noted(recorded: Recorder, out: Path, tmp_path: Path) -> None:
    """Sound in a codec that MP4 players do not know is left out, in words."""
    piece = PieceFile(path=tmp_path / "pcm.mkv", begin=at(0), end=at(4))
    with av.open(str(recorded(Footage(seconds=4)).path)) as given, av.open(str(piece.path), "w") as made:
        copy = made.add_stream_from_template(given.streams.video[0], opaque=True)
        sound = made.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=8000)
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        frame.sample_rate, frame.pts = 8000, 0
        made.mux(sound.encode(frame))
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = copy
                made.mux(packet)
    result = cut(job(out, piece, begin=1, end=3))
    assert [(note.code, note.text) for note in result.notes] == [("stream_left_out", "audio pcm_s16le")]
    assert result.main.audio is None


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("accuracy", list(Accuracy))
@pytest.mark.parametrize(("begin", "parts"), [(1.5, [320, 640]), (4.5, [640]), (5.5, [640])])
def test_a_change_inside_a_stream_begins_a_new_part(
    codec: str, accuracy: Accuracy, begin: float, parts: list[int], recorded: Recorder, out: Path, tmp_path: Path
) -> None:
    """A camera set to another resolution in the middle of a transport stream: all pictures, in files that play."""
    halves = [
        recorded(Footage(seconds=4, first_pts=10, codec=codec, bframes=2), ".ts"),
        recorded(Footage(begin=4, seconds=4, first_pts=14, codec=codec, bframes=2, width=640, height=480), ".ts"),
    ]
    stream = PieceFile(path=tmp_path / "changing.ts", begin=at(0), end=at(8))
    stream.path.write_bytes(b"".join(half.path.read_bytes() for half in halves))
    result = cut(job(out, stream, begin=begin, end=6.5, accuracy=accuracy))
    assert [part.width for part in result.parts] == parts
    taken = [clock for part in result.parts for clock in clocks(part.path)]
    assert taken[0] <= begin + FRAME
    assert taken[-1] >= 6.5 - 2 * FRAME
    assert all(later - earlier < 2.1 * FRAME for earlier, later in itertools.pairwise(taken))
    assert result.missing == ()
    assert result.pieces_used == (0,)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"changing.ts", "clip.mp4", "clip.2.mp4"} - ({"clip.2.mp4"} if len(parts) == 1 else set())


def test_footage_that_ends_before_the_window_is_no_footage(recorded: Recorder, out: Path, tmp_path: Path) -> None:
    """A recorder claims ten seconds and has five: the last pictures before the window are not a clip of it."""
    claimed = recorded(Footage(seconds=5)).model_copy(update={"end": at(10)})
    with pytest.raises(ActionUnavailableError, match="no footage of the asked time"):
        cut(job(out, claimed, begin=7, end=9))
    assert list(tmp_path.iterdir()) == []
    result = cut(job(out, claimed, recorded(Footage(begin=10, seconds=4)), begin=7, end=12))
    assert clocks(out)[0] == 10
    assert result.missing == (Span(begin=at(7), end=at(10)),)


def test_sound_goes_on_over_a_join(recorded: Recorder, out: Path) -> None:
    """The audio track of two pieces has no hole and nothing twice, to within an audio frame."""
    pieces = [recorded(Footage(begin=begin, seconds=4, bframes=3, audio=True)) for begin in (0, 4)]
    cut(job(out, *pieces, begin=1, end=7))
    with av.open(str(out)) as container:
        stream = container.streams.audio[0]
        times = [float(p.pts * stream.time_base) for p in container.demux(stream) if p.size]
    assert {round(later - earlier, 3) for earlier, later in itertools.pairwise(times)} <= {0.021, *_up_to(0.043)}
    assert times[-1] - times[0] >= 5.9


def _up_to(limit: float) -> set[float]:
    return {round(thousandth / 1000, 3) for thousandth in range(11, round(limit * 1000) + 1)}


def test_many_short_segments_are_joined(recorded: Recorder, out: Path) -> None:
    """Twelve one-second segments, as of HLS, become one file without a seam."""
    pieces = [recorded(Footage(begin=begin, seconds=1, gop=25), ".ts") for begin in range(12)]
    result = cut(job(out, *pieces, begin=0.5, end=11.5))
    assert steps(shown(out)) == {0.04}
    assert len(result.pieces_used) == 12
