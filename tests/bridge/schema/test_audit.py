"""The chain of the audit trail: whatever is done to it is found, as far as anchors reach.

`VMS_BRIDGE_TAMPERINGS=20000` is the long form.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bridge.schema.audit import (
    GENESIS,
    Anchor,
    AuditRecord,
    ChangeRecord,
    TrailCheck,
    TrailRecord,
    Verdict,
    canonical,
    digest,
    read_record,
)
from bridge.schema.orders import ActionClass
from bridge.schema.subjects import Subjects

NOW = datetime(2026, 1, 10, 12, 0, tzinfo=UTC)
KEY = b"k" * 32
SUBJECTS = Subjects("home")
LENGTH = 30
ANCHORED = 24
"""The last record that an anchor speaks for."""

Trail = list[tuple[str, bytes]]
TAMPERED = settings(max_examples=int(os.environ.get("VMS_BRIDGE_TAMPERINGS", "2000")) // 6, deadline=None)
"""A share of them for each way of doing it."""


def record(n: int, prev: str, outcome: str = "done") -> AuditRecord:
    """A record of a trail."""
    return AuditRecord.model_validate(
        {
            "order": f"o{n}", "rule": "r", "action": "open", "action_class": ActionClass.ACTUATING,
            "outcome": outcome, "ended": NOW + timedelta(seconds=n), "message": "für Elise", "output": {"x": 1.5},
            "n": n, "prev": prev, "effect": 2 * n,
        }
    )  # fmt: skip


def change(n: int, prev: str) -> ChangeRecord:
    """A record of a trail that tells of a change."""
    return ChangeRecord(
        n=n, prev=prev, change=n, effect=2 * n, event=f"e{n}", kind="list.changed", at=NOW, way="api", who="api:desk",
        what={"list": "visitors", "added": [f"{n:032x}"]},
    )  # fmt: skip


def entry(found: TrailRecord) -> tuple[str, bytes]:
    """A record as it is stored."""
    return found.filed(SUBJECTS), found.encode()


def trail(length: int = LENGTH) -> Trail:
    """A trail as the appender writes it: ends of orders, and every third record a change."""
    made: Trail = []
    prev = GENESIS
    for n in range(1, length + 1):
        made.append(entry(record(n, prev) if n % 3 else change(n, prev)))
        prev = digest(made[-1][1])
    return made


TRAIL = trail()
ANCHORS = [Anchor.sealed(KEY, n, digest(TRAIL[n - 1][1]), NOW) for n in (8, 16, ANCHORED)]


def judge(found: Trail, *, anchors: list[Anchor] = ANCHORS, key: bytes = KEY, trimmed: bool = False) -> Verdict:
    """What is said of it."""
    check = TrailCheck(anchors, key, SUBJECTS, trimmed=trimmed)
    for subject, body in found:
        check.take(subject, body)
    return check.verdict()


def test_a_whole_trail_is_unproven_after_its_last_anchor() -> None:
    """And intact when the anchor stands at its end."""
    verdict = judge(TRAIL)
    assert verdict == Verdict("unproven", LENGTH, 1, LENGTH, ANCHORED)
    assert judge(TRAIL[:ANCHORED]) == Verdict("intact", ANCHORED, 1, ANCHORED, ANCHORED)
    assert judge([], anchors=[]) == Verdict("intact", 0, 0, 0, 0)


def test_a_beginning_that_the_limits_have_dropped_is_no_damage() -> None:
    """But where they cannot have, it is."""
    assert judge(TRAIL[10:], trimmed=True) == Verdict("unproven", LENGTH - 10, 11, LENGTH, ANCHORED)
    verdict = judge(TRAIL[10:])
    assert (verdict.state, verdict.altered_at) == ("altered", 1)


@TAMPERED
@given(st.integers(0, LENGTH - 2), st.data())
def test_a_flipped_bit_is_found(place: int, data: st.DataObject) -> None:
    """Anywhere but in the last record of a tail that no anchor speaks for; and it is named."""
    subject, body = TRAIL[place]
    bit = data.draw(st.integers(0, len(body) * 8 - 1))
    flipped = bytearray(body)
    flipped[bit // 8] ^= 1 << bit % 8
    verdict = judge([*TRAIL[:place], (subject, bytes(flipped)), *TRAIL[place + 1 :]])
    assert verdict.state == "altered"
    assert verdict.altered_at is not None
    assert place <= verdict.altered_at <= place + 2


def test_a_record_that_can_be_filed_nowhere_is_found() -> None:
    """Its action has become no name at all: that is an alteration like any other, and no error of the check."""
    place = max(place for place, (_, body) in enumerate(TRAIL) if b'"action":"open"' in body)
    subject, body = TRAIL[place]
    nameless = body.replace(b'"action":"open"', b'"action":""')
    verdict = judge([*TRAIL[:place], (subject, nameless), *TRAIL[place + 1 :]])
    assert (verdict.state, verdict.altered_at) == ("altered", place + 1)


@TAMPERED
@given(st.integers(0, LENGTH - 2), st.integers(1, 5))
def test_what_was_taken_out_is_found(place: int, count: int) -> None:
    """One record or more, at the beginning or in the middle."""
    assume(place + count < LENGTH)
    verdict = judge([*TRAIL[:place], *TRAIL[place + count :]])
    assert (verdict.state, verdict.altered_at) == ("altered", place + 1)


@TAMPERED
@given(st.integers(0, LENGTH - 1), st.integers(0, LENGTH - 1))
def test_what_was_put_in_is_found(place: int, other: int) -> None:
    """A record that stood elsewhere, or one made to fit behind its neighbour."""
    copied = [*TRAIL[:place], TRAIL[other], *TRAIL[place:]]
    assert judge(copied).state == "altered"
    prev = digest(TRAIL[place - 1][1]) if place else GENESIS
    made = entry(record(place + 1, prev, "refused"))
    assert judge([*TRAIL[:place], made, *TRAIL[place:]]).state == "altered"


@TAMPERED
@given(st.integers(0, LENGTH - 1), st.integers(0, LENGTH - 1))
def test_another_order_is_found(one: int, other: int) -> None:
    """Any two records that have changed places."""
    assume(one != other)
    swapped = list(TRAIL)
    swapped[one], swapped[other] = swapped[other], swapped[one]
    verdict = judge(swapped)
    assert (verdict.state, verdict.altered_at) == ("altered", min(one, other) + 1)


@TAMPERED
@given(st.integers(0, LENGTH))
def test_a_cut_off_end_is_found_as_far_as_anchors_reach(length: int) -> None:
    """Behind the last anchor nothing can be said of what is gone, and the rest is called unproven."""
    verdict = judge(TRAIL[:length])
    if length < ANCHORED:
        assert (verdict.state, verdict.altered_at) == ("altered", length + 1)
    else:
        assert verdict.state == ("intact" if length == ANCHORED else "unproven")
        assert (verdict.last, verdict.proven) == (length, ANCHORED)


@TAMPERED
@given(st.integers(1, LENGTH))
def test_a_trail_written_anew_is_found_by_its_anchors(begin: int) -> None:
    """Whoever can write all of it can make a chain that holds; not one that an anchor spoke for."""
    forged = TRAIL[: begin - 1]
    prev = digest(forged[-1][1]) if forged else GENESIS
    for n in range(begin, LENGTH + 1):
        forged = [*forged, entry(record(n, prev, "refused"))]
        prev = digest(forged[-1][1])
    verdict = judge(forged)
    assert verdict.state == ("altered" if begin <= ANCHORED else "unproven")
    assert judge(forged, anchors=[]).state == "unproven"


def test_an_anchor_of_another_key_is_no_anchor() -> None:
    """It is told, whatever else is well."""
    forged = Anchor.sealed(b"x" * 32, 20, digest(TRAIL[19][1]), NOW)
    verdict = judge(TRAIL, anchors=[*ANCHORS, forged])
    assert (verdict.state, verdict.altered_at) == ("altered", 20)
    moved = ANCHORS[0].model_copy(update={"n": 9})
    assert judge(TRAIL, anchors=[moved]).state == "altered"


@pytest.mark.parametrize("name", ["result.open.refused", "result.change.mode.changed"])
@pytest.mark.parametrize("place", [4, 5])
def test_a_record_under_another_name_is_found(place: int, name: str) -> None:
    """Whoever counts by subject counts right, ends of orders and changes alike."""
    moved = [*TRAIL[:place], (f"vms.home.{name}", TRAIL[place][1]), *TRAIL[place + 1 :]]
    assert judge(moved).altered_at == place + 1


def test_a_record_is_read_as_what_it_is() -> None:
    """Also one from before there were records of changes, which does not say how far the log was read."""
    assert read_record(TRAIL[0][1]) == record(1, GENESIS)
    assert read_record(TRAIL[2][1]) == change(3, digest(TRAIL[1][1]))
    old = {name: value for name, value in json.loads(TRAIL[0][1]).items() if name != "change"}
    assert read_record(canonical(old)) == record(1, GENESIS)


@TAMPERED
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.dictionaries(st.text(), v)))
def test_the_canonical_form_is_one(value: object) -> None:
    """The same value in another order of keys has the same bytes, and reading them gives the value."""

    def turned(part: object) -> object:
        return {k: turned(v) for k, v in reversed(part.items())} if isinstance(part, dict) else part

    try:
        form = canonical(value)
    except UnicodeEncodeError:
        return
    assert canonical(turned(value)) == form
    assert json.loads(form) == value


def test_not_a_number_has_no_form() -> None:
    """JSON has none, and a trail must be readable everywhere."""
    with pytest.raises(ValueError, match="JSON"):
        canonical({"x": float("nan")})
