"""Troubles as people want to hear of them: once, together, and not at all for a blink."""

from __future__ import annotations

from bridge.runtime.troubles import CALM, SETTLE, Report, Troubles, words


def test_a_blink_is_no_outage() -> None:
    """Down for less than a moment: nobody is told."""
    troubles = Troubles()
    troubles.note("bus", up=False, now=0)
    assert troubles.look(SETTLE - 0.1) == []
    troubles.note("bus", up=True, now=SETTLE - 0.1)
    assert troubles.look(100) == []


def test_what_stays_down_is_told_once_and_so_is_its_end() -> None:
    """One report when it goes, one when it has been well for a while."""
    troubles = Troubles()
    troubles.note("bus", up=False, now=0)
    assert troubles.look(SETTLE) == [Report(True, "", ("bus",))]
    assert troubles.look(1000) == []
    assert troubles.down == {"bus"}
    troubles.note("bus", up=True, now=1000)
    assert troubles.look(1000 + CALM - 1) == []
    assert troubles.look(1000 + CALM) == [Report(False, "", ("bus",))]
    assert troubles.down == set()


def test_a_source_that_flaps_is_one_outage() -> None:
    """Up and down every two seconds for ten minutes: told once, and once when it is calm again."""
    troubles, told = Troubles(), []
    for second in range(600):
        troubles.note("source nvr1", up=second % 4 < 2, now=second)
        told += troubles.look(second)
    troubles.note("source nvr1", up=True, now=600)
    for second in range(600, 600 + int(CALM) + 1):
        told += troubles.look(second)
    assert told == [Report(True, "", ("source nvr1",), ("source nvr1",)), Report(False, "", ("source nvr1",))]


def test_many_channels_of_one_source_are_one_outage() -> None:
    """Sixty-four cameras behind one switch: one report that names them."""
    troubles = Troubles()
    names = tuple(f"source nvr1/{n:02}" for n in range(64))
    for name in names:
        troubles.note(name, up=False, now=0)
    [report] = troubles.look(SETTLE)
    assert (report.parent, report.parts) == ("source nvr1", names)
    assert words(report, {}).endswith("and 59 more: down")


def test_the_channels_of_a_dead_server_are_not_told_of() -> None:
    """The server itself is the outage."""
    troubles = Troubles()
    troubles.note("source nvr1", up=False, now=1)
    troubles.note("source nvr1/1", up=False, now=0)
    assert [report.parts for report in troubles.look(SETTLE)] == []
    assert [report.parts for report in troubles.look(SETTLE + 1)] == [("source nvr1",)]


def _told(troubles: Troubles, begin: int, end: int) -> list[Report]:
    return [report for second in range(begin, end) for report in troubles.look(second)]


SERVER, CAMERA = "source nvr1", "source nvr1/3"


def test_a_camera_that_does_not_come_back_with_its_server_is_told_of() -> None:
    """Once, when the server is well again; and its end is told like any other."""
    troubles = Troubles()
    troubles.note(SERVER, up=False, now=10)
    assert _told(troubles, 10, 100) == [Report(True, "", (SERVER,))]
    troubles.note(SERVER, up=True, now=100)
    troubles.note(CAMERA, up=False, now=101)
    assert _told(troubles, 101, 1000) == [Report(False, "", (SERVER,)), Report(True, SERVER, (CAMERA,))]
    assert troubles.down == {CAMERA}
    troubles.note(CAMERA, up=True, now=1000)
    assert _told(troubles, 1000, 2000) == [Report(False, SERVER, (CAMERA,))]


def test_a_camera_that_comes_back_with_its_server_is_not_told_of() -> None:
    """Neither that it went nor that it is back, however often it went with it."""
    troubles = Troubles()
    for second in (10, 50, 90):
        troubles.note(SERVER, up=False, now=second)
        troubles.note(CAMERA, up=False, now=second)
        assert {report.parent for report in _told(troubles, second, second + 20)} <= {""}
        troubles.note(SERVER, up=True, now=second + 20)
        troubles.note(CAMERA, up=True, now=second + 30)
    assert _told(troubles, 120, 1000) == [Report(False, "", (SERVER,))]


def test_a_camera_that_was_told_of_before_its_server_went_is_told_to_be_well() -> None:
    """Once the server is well, too."""
    troubles = Troubles()
    troubles.note(CAMERA, up=False, now=0)
    assert _told(troubles, 0, 10) == [Report(True, SERVER, (CAMERA,))]
    troubles.note(SERVER, up=False, now=10)
    troubles.note(CAMERA, up=True, now=20)
    assert _told(troubles, 10, 200) == [Report(True, "", (SERVER,))]
    troubles.note(SERVER, up=True, now=200)
    assert _told(troubles, 200, 300) == [Report(False, "", (SERVER,)), Report(False, SERVER, (CAMERA,))]


def test_a_report_says_why() -> None:
    """In words, where they are known."""
    assert words(Report(True, "", ("bus",)), {"bus": "the disk is full"}) == "bus (the disk is full): down"
    assert words(Report(True, "", ("a",), ("a",)), {}) == "a: comes and goes"
    assert words(Report(False, "", ("a", "b")), {"a": "what it says now"}) == "a, b: well again"
