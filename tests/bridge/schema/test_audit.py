"""The chain of the audit trail: whatever is done to it is found, as far as anchors reach.

`VMS_BRIDGE_TAMPERINGS=20000` is the long form.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

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
from bridge.schema.event import Origin
from bridge.schema.orders import About, ActionClass
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


def judge(
    found: Trail,
    *,
    anchors: list[Anchor] = ANCHORS,
    key: bytes = KEY,
    trimmed: bool = False,
    kept: datetime | None = None,
) -> Verdict:
    """What is said of it."""
    check = TrailCheck(anchors, key, SUBJECTS, trimmed=trimmed, kept=kept)
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


def test_a_trail_that_has_left_by_its_age_is_no_damage() -> None:
    """To the last record, where nothing has ended for a year; what was anchored since must be there."""
    later = NOW + timedelta(seconds=1)
    assert judge([], trimmed=True, kept=later) == Verdict("intact", 0, 0, 0, 0)
    assert judge(TRAIL[ANCHORED:], trimmed=True, kept=later).state == "unproven"
    for kept in (NOW, None):
        verdict = judge([], trimmed=True, kept=kept)
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
    alone = TRAIL[0][1].replace(b'"action":"open"', b'"action":""')
    assert judge([(TRAIL[0][0], alone)], anchors=[]).why == "it is filed under another name than its own"


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
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.dictionaries(st.text(), v), max_leaves=12
    )
)
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


# --- what is written down is read by whoever comes after us ------------------------------------------


def test_a_record_has_the_same_bytes_for_ever() -> None:
    """Sorted, close and without what is not known, or no stored trail would hold; and so is where it is filed."""
    ended, changed = record(1, GENESIS, "refused"), change(2, "b" * 64)
    assert ended.encode().decode() == (
        '{"action":"open","action_class":"actuating","attempts":0,"causes":[],"change":0,"effect":2,'
        '"ended":"2026-01-10T12:00:01Z","message":"für Elise","n":1,"order":"o1","outcome":"refused",'
        f'"output":{{"x":1.5}},"prev":"{GENESIS}","rule":"r"}}'
    )
    assert changed.model_copy(update={"who": None}).encode().decode() == (
        '{"at":"2026-01-10T12:00:00Z","change":2,"effect":4,"event":"e2","kind":"list.changed","n":2,'
        f'"prev":"{"b" * 64}","way":"api","what":{{"added":["{2:032x}"],"list":"visitors"}}}}'
    )
    assert AuditRecord.decode(ended.encode()) == ended
    assert (entry(ended)[0], entry(changed)[0]) == (
        "vms.home.result.open.refused",
        "vms.home.result.change.list.changed",
    )
    assert (ended.at, changed.at) == (NOW + timedelta(seconds=1), NOW)


def test_a_record_concerns_the_plate_whose_hash_it_has() -> None:
    """An order's, or any that a list change names; no other, and no word that looks like it."""
    about = About(rule_version="1", origin=Origin.LIVE, occurred=NOW, received=NOW, created=NOW, plate="t1")
    ended = record(1, GENESIS).model_copy(update={"about": about})
    assert (ended.concerns("t1"), ended.concerns("t2"), record(1, GENESIS).concerns("t1")) == (True, False, False)
    for field in ("added", "removed", "reset"):
        changed = change(1, GENESIS).model_copy(update={"what": {"list": "t2", field: ["t0", "t1"], "reason": "t3"}})
        assert [changed.concerns(token) for token in ("t0", "t1", "t2", "t3")] == [True, True, False, False]
    assert not change(1, GENESIS).model_copy(update={"what": {"added": None}}).concerns("t1")


def test_an_anchor_is_the_key_holders_word_for_one_record_at_one_time() -> None:
    """The same in every time zone; of no other key, place, hash or time; and there is none of no key."""
    anchor = Anchor.sealed(KEY, 3, "c" * 64, NOW.astimezone(timezone(timedelta(hours=2))))
    said = f"3\n{'c' * 64}\n2026-01-10T12:00:00+00:00".encode()
    assert anchor == Anchor(n=3, hash="c" * 64, at=NOW, mac=hmac.new(KEY, said, hashlib.sha256).hexdigest())
    assert anchor.genuine(KEY)
    others: list[dict[str, Any]] = [{"n": 4}, {"hash": "d" * 64}, {"at": NOW + timedelta(seconds=1)}, {"mac": "0" * 64}]
    assert not any(anchor.model_copy(update=other).genuine(KEY) for other in others)
    assert not anchor.genuine(b"x" * 32)
    assert not Anchor.sealed(b"", 3, "c" * 64, NOW).genuine(b"")


def test_a_seal_does_not_hang_on_the_time_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trail is judged elsewhere, and its machine may be moved."""
    anchor = Anchor.sealed(KEY, 3, "c" * 64, NOW)
    try:
        monkeypatch.setenv("TZ", "Asia/Seoul")
        time.tzset()
        assert Anchor.sealed(KEY, 3, "c" * 64, NOW) == anchor
        assert anchor.genuine(KEY)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("found", "at", "why"),
    [
        ([*TRAIL[:4], ("x", b"nonsense")], 5, "what is stored is not a record"),
        ([*TRAIL[:4], ("x", b'{"event":5}')], 5, "what is stored is not a record"),
        ([*TRAIL[:4], TRAIL[6]], 5, "record 7 stands where 5 belongs"),
        ([*TRAIL[:4], TRAIL[2]], 5, "record 3 stands where 5 belongs"),
        ([entry(record(1, "e" * 64))], 1, "record 1 names another hash of the one before"),
        ([*TRAIL[:4], entry(record(5, "e" * 64))], 4, "record 5 names another hash of the one before"),
        ([("vms.home.result.open.refused", TRAIL[0][1])], 1, "it is filed under another name than its own"),
    ],
)
def test_what_is_wrong_is_said_in_words_and_looked_at_no_further(found: Trail, at: int, why: str) -> None:
    """With the record it is about; what comes after it is not judged any more."""
    verdict = judge([*found, *TRAIL[:9]], anchors=[])
    good = at if why.startswith("record 5") else at - 1
    assert verdict == Verdict("altered", good, min(1, len(found)), good, 0, at, why)


def test_what_anchors_say_against_a_trail() -> None:
    """Another hash, more records than there are, two hashes for one record; or they are not this site's."""
    other = Anchor.sealed(KEY, 5, "e" * 64, NOW)
    assert judge(TRAIL, anchors=[other]) == Verdict("altered", 4, 1, 4, 0, 5, "its anchor names another hash")
    both = [Anchor.sealed(KEY, 5, digest(TRAIL[4][1]), NOW), other]
    assert judge(TRAIL, anchors=both).why == "its anchor names another hash"
    short = judge(TRAIL[:6], anchors=[ANCHORS[0]])
    assert short == Verdict("altered", 6, 1, 6, 0, 7, "the trail ends with 6, and an anchor names 8")
    foreign = Anchor.sealed(b"x" * 32, 20, digest(TRAIL[19][1]), NOW)
    verdict = judge(TRAIL, anchors=[ANCHORS[0], foreign])
    assert verdict == Verdict("altered", LENGTH, 1, LENGTH, 8, 20, "an anchor was not made with this site's key")
    assert judge(TRAIL[:6], anchors=[ANCHORS[0], foreign]).altered_at == 7  # what is gone is told first


def test_where_a_trimmed_trail_begins_nobody_minds() -> None:
    """Only there: what is missing later is damage as ever, and one that begins with 1 must begin as the first does."""
    assert judge(TRAIL, trimmed=True) == judge(TRAIL)
    assert judge(TRAIL[1:], trimmed=True) == Verdict("unproven", LENGTH - 1, 2, LENGTH, ANCHORED)
    assert judge([*TRAIL[10:14], *TRAIL[15:]], trimmed=True).altered_at == 15
    assert judge([entry(record(1, "e" * 64))], anchors=[], trimmed=True).altered_at == 1
    before = [Anchor.sealed(KEY, 3, "e" * 64, NOW)]
    assert judge(TRAIL[10:], anchors=before, trimmed=True).state == "unproven"
