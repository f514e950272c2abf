"""What the supervisor reports of a source is seen in health and metrics."""

from __future__ import annotations

from dataclasses import replace

from bridge.runtime.health import HealthBook, Level
from bridge.runtime.metrics import Metrics
from bridge.runtime.report import SourceReport
from bridge.runtime.supervisor import SourceState
from tests.clock import START, VirtualClock

STATE = SourceState("nvr1", up=False, since=START, code="starting", message="not connected yet")


def test_a_source_goes_through_its_states() -> None:
    """Away with a cure, up, with a flaw, and away again; the bridge stays ready all the while."""
    book, metrics = HealthBook(VirtualClock()), Metrics()
    report = SourceReport(book, metrics)
    report(STATE)
    assert report.level("nvr1") is Level.DOWN
    report(replace(STATE, code="auth", message="401"))
    part = book["source nvr1"]
    assert (part.reason, part.message, part.needed) == ("auth", "401", False)
    assert "password" in part.cure
    assert book.ready
    report(replace(STATE, up=True, code="ok"))
    assert report.level("nvr1") is Level.UP
    assert b'vms_bridge_source_up{source="nvr1"} 1.0' in metrics.render()
    flaws = (("insecure", "TLS is not verified"), ("topic", "LPR was refused"))
    report(replace(STATE, up=True, code="ok", flaws=flaws))
    part = book["source nvr1"]
    assert (part.level, part.reason) == (Level.DEGRADED, "insecure+topic")
    assert part.message == "TLS is not verified; LPR was refused"
    report(replace(STATE, code="unavailable", message="no answer"))
    assert b'vms_bridge_source_up{source="nvr1"} 0.0' in metrics.render()


def test_a_code_nobody_foresaw_is_shown_all_the_same() -> None:
    """Without a cure, with its words."""
    book = HealthBook(VirtualClock())
    SourceReport(book, Metrics())(replace(STATE, code="strange", message="how odd"))
    assert (book["source nvr1"].message, book["source nvr1"].cure) == ("how odd", "")
