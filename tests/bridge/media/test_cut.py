"""The window of a clip, proven by the clocks in its pictures."""

from __future__ import annotations

import itertools
from pathlib import Path

import av
import pytest

from bridge.errors import ActionRejectedError, ActionUnavailableError
from bridge.media.clip import cut
from bridge.media.job import Accuracy, Limits, Span
from tests.bridge.media.conftest import Recorder
from tests.bridge.media.footage import Footage, at, job, packets, real_clip, shown

FRAME = 1 / 25
SOURCES = [
    pytest.param(Footage(), ".mp4", id="mp4"),
    pytest.param(Footage(bframes=3), ".mp4", id="mp4-bframes"),
    pytest.param(Footage(bframes=3, audio=True), ".mp4", id="mp4-bframes-audio"),
    pytest.param(Footage(bframes=3, open_gop=True), ".mp4", id="mp4-open-gop"),
    pytest.param(Footage(first_pts=77), ".mp4", id="mp4-late-pts"),
    pytest.param(Footage(), ".ts", id="ts"),
    pytest.param(Footage(bframes=3, audio=True, first_pts=3600), ".ts", id="ts-bframes-audio"),
    pytest.param(Footage(bframes=2), ".mkv", id="mkv-bframes"),
    pytest.param(Footage(bframes=2), ".flv", id="flv-bframes"),
    pytest.param(Footage(codec="libx265", bframes=2), ".mp4", id="h265"),
    pytest.param(Footage(codec="libx265", bframes=2), ".ts", id="h265-ts"),
]


@pytest.mark.parametrize(("footage", "suffix"), SOURCES)
class TestWindow:
    """One piece, a window inside it."""

    def test_keyframe_is_never_shorter_than_asked(
        self, footage: Footage, suffix: str, recorded: Recorder, out: Path
    ) -> None:
        """The first picture is a keyframe at or before the begin, the last reaches the end."""
        result = cut(job(out, recorded(footage, suffix), begin=3.5, end=6.5, event=5))
        pictures = shown(out)
        assert 3.5 - 1 - FRAME <= pictures[0].clock <= 3.5
        assert 6.5 <= pictures[-1].clock + FRAME <= 6.5 + 0.5
        clocks = [round(each.clock, 3) for each in pictures]
        assert clocks == pytest.approx([clocks[0] + i * FRAME for i in range(len(clocks))], abs=1e-3)
        assert pictures[0].pts == pytest.approx(0, abs=0.002)
        assert result.covered.begin == at(pictures[0].clock)
        assert result.covered.end == at(pictures[-1].clock + FRAME)
        assert result.missing == ()
        assert result.complete
        assert result.before == pytest.approx(5 - pictures[0].clock, abs=0.002)
        assert result.after == pytest.approx(pictures[-1].clock + FRAME - 5, abs=0.002)
        assert result.main.frames == len(pictures)

    def test_an_edit_list_shows_exactly_the_window(
        self, footage: Footage, suffix: str, recorded: Recorder, out: Path
    ) -> None:
        """A player shows the first and the last picture of the window, and no other before or after."""
        result = cut(job(out, recorded(footage, suffix), begin=3.5, end=6.5, accuracy=Accuracy.EDIT_LIST))
        pictures = shown(out)
        assert pictures[0].clock == pytest.approx(3.52, abs=0.001)
        assert pictures[-1].clock == pytest.approx(6.48, abs=0.001)
        assert len(pictures) == 75
        assert result.main.lead > 0.4
        assert result.covered == Span(begin=at(3.5), end=at(6.5))
        assert result.main.duration == 3

    def test_exact_holds_only_the_window(self, footage: Footage, suffix: str, recorded: Recorder, out: Path) -> None:
        """The file begins with the picture shown at the begin and ends with the last one before the end."""
        result = cut(job(out, recorded(footage, suffix), begin=3.5, end=6.5, accuracy=Accuracy.EXACT))
        pictures = shown(out)
        assert pictures[0].clock == pytest.approx(3.48, abs=0.001)
        assert pictures[0].pts == 0
        assert pictures[-1].clock == pytest.approx(6.48, abs=0.001)
        assert len(pictures) == 76
        assert result.main.lead == 0
        assert result.main.frames == 76
        assert result.covered == Span(begin=at(3.5), end=at(6.5))

    def test_the_timeline_is_in_order(self, footage: Footage, suffix: str, recorded: Recorder, out: Path) -> None:
        """Decoding times rise and no picture is shown before it is decoded."""
        cut(job(out, recorded(footage, suffix), begin=3.5, end=6.5))
        stamps = list(packets(out))
        assert all(later[0] > earlier[0] for earlier, later in itertools.pairwise(stamps))
        assert all(pts >= dts for dts, pts in stamps)


@pytest.mark.parametrize("accuracy", list(Accuracy))
def test_sound_keeps_step_with_the_pictures(accuracy: Accuracy, recorded: Recorder, out: Path) -> None:
    """The audio track covers the shown pictures, to within two audio frames."""
    piece = recorded(Footage(bframes=3, audio=True))
    result = cut(job(out, piece, begin=3.5, end=6.5, accuracy=accuracy))
    with av.open(str(out)) as container:
        sound = [frame for frame in container.decode(audio=0) if frame.time is not None]
    assert result.main.audio == "aac"
    assert sound[0].time == pytest.approx(0, abs=0.05)
    assert sound[-1].time + 1024 / 48_000 >= 3 - 0.05


@pytest.mark.parametrize("name", ["bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4", "carphone_distorted.mp4"])
@pytest.mark.parametrize("accuracy", list(Accuracy))
def test_real_footage_gives_a_playable_clip(name: str, accuracy: Accuracy, recorded: Recorder, out: Path) -> None:
    """Every picture of a clip from real footage decodes, and it lasts as long as it says."""
    piece = recorded().model_copy(update={"path": real_clip(name)})
    result = cut(job(out, piece, begin=1.2, end=3.1, accuracy=accuracy))
    with av.open(str(out)) as container:
        pictures = list(container.decode(video=0))
        rate = container.streams.video[0].average_rate
    assert not any(frame.is_corrupt for frame in pictures)
    assert len(pictures) / rate == pytest.approx(result.main.duration, abs=0.1)
    assert result.complete


@pytest.mark.parametrize(("begin", "end", "missing"), [(-5, 3, (-5, 0)), (8, 15, (10, 15))])
def test_a_window_half_outside_says_what_is_missing(
    begin: float, end: float, missing: tuple[float, float], recorded: Recorder, out: Path
) -> None:
    """What the footage does not reach is reported, the rest is there."""
    result = cut(job(out, recorded(), begin=begin, end=end))
    assert result.missing == (Span(begin=at(missing[0]), end=at(missing[1])),)
    assert not result.complete


@pytest.mark.parametrize(("begin", "end"), [(-20, -10), (20, 30)])
def test_a_window_outside_all_footage_is_unavailable(begin: float, end: float, recorded: Recorder, out: Path) -> None:
    """No footage is worth another try: the recorder may not have closed the file yet."""
    with pytest.raises(ActionUnavailableError, match="no footage of the asked time"):
        cut(job(out, recorded(), begin=begin, end=end))
    assert not out.exists()


def test_a_moov_is_at_the_front(recorded: Recorder, out: Path) -> None:
    """A browser can start before it has the whole file."""
    cut(job(out, recorded(), begin=2, end=8))
    data = out.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_a_clip_larger_than_allowed_is_refused(recorded: Recorder, out: Path) -> None:
    """The size limit ends the job and leaves nothing behind."""
    with pytest.raises(ActionRejectedError, match="larger than 20000 bytes"):
        cut(job(out, recorded(), begin=0, end=10, limits=Limits(max_bytes=20_000)))
    assert not out.exists()


def test_a_window_longer_than_allowed_is_refused(recorded: Recorder, out: Path) -> None:
    """The length limit is checked before anything is opened."""
    with pytest.raises(ActionRejectedError, match="is longer than the 60 s allowed"):
        cut(job(out, recorded(), begin=0, end=100, limits=Limits(max_seconds=60)))


def test_an_existing_file_is_not_overwritten(recorded: Recorder, out: Path) -> None:
    """A finished clip stays as it is."""
    out.write_bytes(b"evidence")
    with pytest.raises(ActionRejectedError, match="exists already"):
        cut(job(out, recorded(), begin=2, end=4))
    assert out.read_bytes() == b"evidence"
