"""A plate is found in what anybody wrote, however they wrote it; other plates are not."""

from __future__ import annotations

import json
from urllib.parse import quote_plus, urlencode

import pytest

from bridge.bus.naming import Naming
from bridge.http.body import sound_items

PLATE = "12가3456"
ESCAPED = json.dumps({"plateNo": PLATE})


@pytest.mark.parametrize(
    "body",
    [
        PLATE,
        "12 가 3456",
        "１２가３４５６",
        "12\u1100\u11613456",
        ESCAPED,
        ESCAPED.replace("ac00", "AC00"),
        json.dumps({"body": ESCAPED}),
        json.dumps({"body": json.dumps({"body": ESCAPED})}),
        ESCAPED[: ESCAPED.index("6") + 1],
        json.dumps({"text": f"seen:\n{PLATE}\tat the gate"}),
        json.dumps({"text": f"seen:\n{PLATE}\tat the gate"}, ensure_ascii=False),
        urlencode({"plate": PLATE, "gate": 1}),
        quote_plus("x 12 가-3456"),
        "<plate>12&#xAC00;3456</plate>",
        "<plate>12&#44032;3456</plate>",
        PLATE.encode("cp949"),
        PLATE.encode("utf-16-le"),
        PLATE.encode("utf-16"),
        PLATE.encode("utf-16-be"),
        b"\xff\x00" + ESCAPED.encode(),
    ],
)
def test_a_plate_is_found_however_it_is_written(body: str | bytes) -> None:
    """With and without escapes, once and again, in a form, as XML, in other encodings, and where it was cut."""
    assert Naming(PLATE).within(body if isinstance(body, bytes) else body.encode())


@pytest.mark.parametrize(
    "body",
    [
        "112가3456",
        "12가34567",
        "12나3456",
        json.dumps("12가34567"),
        "12\\ub0983456",
        "12&#xAC01;3456",
        "12가....3456",
        "",
    ],
)
def test_another_plate_is_not(body: str) -> None:
    """Nor one that is longer, or written too far apart to be one."""
    assert not Naming(PLATE).within(body.encode())


@pytest.mark.parametrize(
    "body",
    [
        "12ab345z",
        "１２ａｂ３４５ｚ",
        urlencode({"plate": "12 AB 345 Z"}).encode(),
        "12AB345Z".encode("utf-16-le"),
        "12AB345Z".encode("utf-16-be"),
        "12AB345Z&#x110000;",
        "&#1114112;12AB345Z",
        "&#9999999;12AB&#x110000;345Z&#xFFFFFF;",
    ],
)
def test_a_plate_of_plain_letters_is_found_too(body: str | bytes) -> None:
    """In small ones, in encodings in which it is UTF-8 as well, and beside numbers that stand for no sign."""
    assert Naming("12AB345Z").within(body if isinstance(body, bytes) else body.encode())


def test_a_number_that_stands_for_a_sign_is_that_sign() -> None:
    """Also for the very last one: it is no separator."""
    assert not Naming("12AB345Z").within(b"12AB&#x10FFFF;345Z")


def test_other_signs_have_a_wide_form_too() -> None:
    """From the first to the last one that has: what is on a list need not be a plate."""
    assert Naming("A~1!").within("Ａ～１！".encode())


def test_what_was_taken_out_of_a_push_is_found() -> None:
    """As the dead letters have it."""
    _, [flaw] = sound_items(f'{{"plateNo":"{PLATE}","plateNo":"{PLATE}"}}'.encode())
    assert Naming(PLATE).within(flaw.raw.encode())


def test_letters_with_marks_are_found_in_old_encodings() -> None:
    """As in Munich."""
    assert Naming("MÜAB123").within("Kennzeichen MÜ-AB 123".encode("latin-1"))


@pytest.mark.parametrize(
    "body", [b"\\" * 300_000, b"&#" * 150_000, b"%" * 300_000, b"1" * 300_000, b"&#1" + b"1" * 9_000]
)
def test_nothing_that_was_sent_keeps_it_long(body: bytes) -> None:
    """It is read in one go: no text takes time in its square, which would be hours here."""
    assert not Naming(PLATE).within(body)
