"""What the audit trail says of an end and of a change: every field, and no plate."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bridge.bus.appender import Foreign
from bridge.bus.records import Tail, change_of, plates_of, record_of, values_of, way_of
from bridge.schema.audit import AuditRecord, ChangeRecord, digest
from bridge.schema.event import Origin, own_event
from bridge.schema.kinds import ListChanged, ModeChanged, SettingChanged, SettingsChanged
from bridge.schema.orders import About, Effect
from tests.bridge.bus.helpers import NOW, effect, result

TAIL = Tail(40, 7, "a" * 64, 30, 20)
ABOUT = About(rule_version="1", origin=Origin.LIVE, occurred=NOW, received=NOW, created=NOW, plate="12AB345")
HASHES = {"12AB345": "t1", "99ZZ999": "t2", "AB1": "t3"}


def _ended(plate: str | None = "12AB345", **said: object) -> Effect:
    about = ABOUT.model_copy(update={"plate": plate})
    return effect(1, status="ended", about=about, result=result(1, **said))


def test_the_record_of_an_order_follows_the_one_before_and_says_what_the_end_says() -> None:
    """Its place, the hash before it, how far the ledger and the log are in it; and every field of the end."""
    end = _ended(None, step="clip", reason="late", message="12AB345 waits", output={"x": ["12AB345"]})
    assert end.result is not None
    assert end.about is not None
    record = record_of(end, 33, TAIL, HASHES)
    assert record == AuditRecord(**dict(end.result), n=8, prev="a" * 64, effect=33, change=20, about=end.about)
    told = record_of(effect(1, result=result(1)), 33, TAIL, {})
    assert (told.about, told.message, told.output) == (None, None, {})


def test_a_plate_is_a_hash_wherever_it_stands() -> None:
    """In what the order was about, in words, and in names, lists and values of what the action told."""
    output = {"a": ["x 12AB345", {"12AB345": "12AB345"}], "n": 5, "none": None}
    record = record_of(_ended(message="no room for 12AB345: 12AB345", output=output), 33, TAIL, HASHES)
    assert record.about == ABOUT.model_copy(update={"plate": "t1"})
    assert record.message == "no room for t1: t1"
    assert record.output == {"a": ["x t1", {"t1": "t1"}], "n": 5, "none": None}
    assert record_of(_ended(), 33, TAIL, HASHES).message is None


@pytest.mark.parametrize(("plate", "said"), [("AB1", "AB1 was AB1"), ("AB12", "t4 was t4")])
def test_a_very_short_plate_is_not_looked_for_in_words(plate: str, said: str) -> None:
    """Too much else looks like it; four characters are enough."""
    record = record_of(_ended(plate, message=f"{plate} was {plate}"), 33, TAIL, HASHES | {"AB12": "t4"})
    assert record.message == said
    assert record.about is not None
    assert record.about.plate == {"AB1": "t3", "AB12": "t4"}[plate]


def test_what_has_not_ended_has_no_record() -> None:
    """The trail is of ends."""
    with pytest.raises(ValueError, match=r"^an order that has not ended has no result$"):
        record_of(effect(1), 33, TAIL, {})


def test_the_plates_of_orders_are_those_that_hashes_are_needed_of() -> None:
    """Once each; what is about no plate needs none."""
    bare = effect(3)
    assert plates_of([_ended(), _ended(None), bare, _ended("99ZZ999"), _ended("")]) == {"12AB345", "99ZZ999"}


def test_the_record_of_a_change_says_what_the_event_says() -> None:
    """Its place as for an order; the values of a list are hashes, in the reason too, and what is empty is left out."""
    data = ListChanged(list="residents", added=("12AB345",), removed=("99ZZ999", "AB1"), reason="12AB345, 99ZZ999, AB1")
    event = own_event("home", "list.changed", data, NOW + timedelta(seconds=1), id="e1")
    event = event.model_copy(update={"principal": "cli:anna", "received": NOW + timedelta(seconds=2)})
    assert values_of(event) == {"12AB345", "99ZZ999", "AB1"}
    assert change_of(event, 44, TAIL, HASHES) == ChangeRecord(
        n=8, prev="a" * 64, change=44, effect=30, event="e1", kind="list.changed", at=NOW + timedelta(seconds=2),
        way="cli", who="cli:anna",
        what={"list": "residents", "added": ["t1"], "removed": ["t2", "t3"], "reason": "t1, t2, AB1"},
    )  # fmt: skip
    reset = own_event("home", "list.changed", ListChanged(list="residents", reset=("12AB345",)), NOW)
    assert change_of(reset, 44, TAIL, HASHES).what == {"list": "residents", "reset": ["t1"]}


def test_a_change_that_is_of_no_list_is_told_as_it_is() -> None:
    """A mode is no plate, whatever it is called; what is not known is left out, however deep it stands."""
    data = SettingsChanged(confirm="c", changes=(SettingChanged(setting="dry_run", now="true"),))
    changed = change_of(own_event("home", "settings.changed", data, NOW), 44, TAIL, {})
    assert changed.what == {"confirm": "c", "changes": [{"setting": "dry_run", "now": "true"}]}
    event = own_event("home", "mode.changed", ModeChanged(mode="12AB345", reason="12AB345"), NOW)
    assert values_of(event) == set()
    assert change_of(event, 44, TAIL, {}).what == {"mode": "12AB345", "reason": "12AB345"}


@pytest.mark.parametrize(
    ("kind", "via", "principal", "way"),
    [
        ("list.changed", "rule", "rule tidy", "rule"),
        ("list.changed", "rule", None, "rule"),
        ("rules.changed", "bridge", None, "file"),
        ("settings.changed", "bridge", None, "file"),
        ("mode.changed", "bridge", None, "bridge"),
        ("mode.changed", "api", "api:desk", "api"),
        ("rules.changed", "api", "cli:anna", "cli"),
        ("mode.changed", "mqtt", "mqtt", "mqtt"),
        ("mode.changed", "mqtt", "mqtt:panel", "mqtt"),
        ("command.given", "api", "event:panel", "input"),
        ("command.given", "api", "anna", "api"),
    ],
)
def test_how_a_change_was_asked_for(kind: str, via: str, principal: str | None, way: str) -> None:
    """By what stands before the name of who asked; nobody's, it was a file that was saved, or the bridge itself."""
    event = own_event("home", "mode.changed", ModeChanged(mode="away"), NOW)
    assert way_of(event.model_copy(update={"type": kind, "via": via, "principal": principal})) == way


def test_the_tail_moves_on_with_each_record() -> None:
    """One message further, to the record's place and hash, and to what the record says is in the trail."""
    record = record_of(_ended(None), 33, TAIL, {})
    body = record.encode()
    assert TAIL.after(record, body) == Tail(41, 8, digest(body), 33, 20)


def test_what_a_person_does_about_a_foreign_record() -> None:
    """Which one it is, and the command that takes it away, in full."""
    foreign = Foreign("VMS-home-RESULTS", 7)
    assert (
        str(foreign) == "record 7 of the audit trail is not one: somebody else has written it, and nothing is appended"
    )
    assert "`nats stream rmm VMS-home-RESULTS 7`" in foreign.cure
