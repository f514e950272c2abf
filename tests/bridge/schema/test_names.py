"""Subjects, units, ids and plates: the small languages that everything else is filed under."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import PayloadError
from bridge.schema.base import stable_id
from bridge.schema.plates import canonical_plate
from bridge.schema.subjects import MAX_TOKEN, Subjects, escape, unescape
from bridge.schema.units import format_duration, parse_duration, parse_size
from tests.bridge.schema.test_event import plate


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20))
def test_any_name_becomes_one_token_and_comes_back(name: str) -> None:
    """Escaping is lossless and leaves nothing that NATS would read as structure."""
    token = escape(name)
    assert unescape(token) == name
    assert token != "_"
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789%-")


def test_none_has_a_token_of_its_own() -> None:
    """A lone `_` is none; a channel called `_` is not."""
    assert escape(None) == "_"
    assert unescape("_") is None
    assert escape("_") == "%5F"


@pytest.mark.parametrize("name", ["", "x" * (MAX_TOKEN + 1), "가" * 70])
def test_what_cannot_be_filed_is_refused(name: str) -> None:
    """No empty token, none without bound."""
    with pytest.raises(PayloadError):
        escape(name)


def test_an_event_has_one_subject() -> None:
    """Site, source, kind and channel, in fixed places."""
    subjects = Subjects("home")
    assert subjects.event(plate()) == "vms.home.event.nvr1.plate.read.1"
    assert subjects.event(plate(subject=None)) == "vms.home.event.nvr1.plate.read._"
    assert subjects.event(plate(source="home/gate.north")) == "vms.home.event.gate%2Enorth.plate.read.1"
    assert subjects.events(kind="plate.read") == "vms.home.event.*.plate.read.*"


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("250ms", 0.25), ("1h30m", 5400), ("7d", 604800), ("1.5s", 1.5), ("1m 30s", 90)]
)
def test_durations_carry_their_unit(text: str, seconds: float) -> None:
    """What people write, in seconds."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["30", "", "s", "-5s", "30 seconds", "1h30"])
def test_a_duration_without_unit_is_refused(text: str) -> None:
    """A bare number is a trap."""
    with pytest.raises(ValueError, match="write a number with its unit"):
        parse_duration(text)


@given(st.integers(min_value=1, max_value=10**10))
def test_a_duration_is_written_the_way_it_is_read(milliseconds: int) -> None:
    """Formatting and parsing agree."""
    value = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(value)) == value


def test_sizes() -> None:
    """Units are powers of 1,024."""
    assert [parse_size(t) for t in ("5GiB", "256KiB", "64 MB", "100")] == [5 * 1024**3, 262144, 64 * 1024**2, 100]


def test_ids_depend_on_where_the_parts_end() -> None:
    """`ab`+`c` is not `a`+`bc`."""
    assert stable_id("ab", "c") != stable_id("a", "bc")
    assert stable_id("ab", "c") == stable_id("ab", "c")


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [("12-ab 345", "12AB345"), ("12가 3456", "12가3456"), ("ＡＢ１２", "AB12"), ("B·AB 12", "BAB12")],
)
def test_plates_have_one_form(raw: str, canonical: str) -> None:
    """Case, width and separators do not matter; letters do."""
    assert canonical_plate(raw) == canonical
