"""The event: what it accepts, what it writes, and that it is CloudEvents."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import jsonschema
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat
from pydantic import ValidationError

from bridge.schema.event import RAW_LIMIT, Origin, VmsEvent
from bridge.schema.kinds import PAYLOADS, Custom, PlateRead

NOON = datetime(2026, 1, 10, 12, 0, tzinfo=UTC)


def plate(**changes: object) -> VmsEvent:
    fields: dict[str, object] = {
        "id": "e1",
        "type": "plate.read",
        "source": "home/nvr1",
        "subject": "1",
        "time": NOON,
        "timequality": "device",
        "received": NOON,
        "origin": Origin.LIVE,
        "via": "ws",
        "data": {"plate": "12AB345", "plate_raw": "12-ab 345", "score": 97},
    }
    return VmsEvent.model_validate(fields | changes)


def test_an_event_reads_back_as_it_was_written() -> None:
    """What `encode` wrote, `decode` gives."""
    event = plate(raw='{"plateNo": "12-ab 345"}', correlation="c1")
    assert VmsEvent.decode(event.encode()) == event


def test_the_payload_is_the_model_of_the_kind() -> None:
    """`data` is typed by `type`."""
    assert isinstance(plate().data, PlateRead)
    assert isinstance(plate(type="custom.doorbell", data={"pressed": True}).data, Custom)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"type": "plate.raed"}, "unknown kind"),
        ({"type": "custom."}, "unknown kind"),
        ({"data": {"plate": "X"}}, "plate_raw"),
        ({"data": {"plate": "X", "plate_raw": "X", "colour": "red"}}, "colour"),
        ({"time": datetime(2026, 1, 10, 12)}, "timezone"),  # noqa: DTZ001 - a naive time is the point
        ({"source": "nvr1"}, "pattern"),
        ({"raw": "x" * (RAW_LIMIT + 1)}, "raw\n  String should have at most"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_wrong_event_is_refused_and_the_reason_named(changes: dict[str, object], says: str) -> None:
    """Nothing half-right gets into the log."""
    with pytest.raises(ValidationError, match=says):
        plate(**changes)


def test_times_are_kept_in_utc() -> None:
    """An offset is understood and not kept."""
    event = plate(time=datetime(2026, 1, 10, 13, 0, tzinfo=timezone(timedelta(hours=1))))
    assert event.time == NOON
    assert event.time.tzinfo is UTC


def test_the_cloudevents_sdk_reads_it() -> None:
    """Structured JSON, extension attributes and all."""
    message = HTTPMessage(headers={"content-type": "application/cloudevents+json"}, body=plate(raw="{}").encode())
    event = from_structured_event(message, JSONFormat())
    assert event.get_id() == "e1"
    assert event.get_type() == "plate.read"
    assert event.get_extension("timequality") == "device"
    assert event.get_data()["plate"] == "12AB345"


def test_the_schema_knows_every_kind() -> None:
    """The exported JSON Schema accepts what we write and refuses a wrong field of a kind."""
    schema = VmsEvent.model_json_schema()
    validator = jsonschema.Draft202012Validator(schema)
    good = json.loads(plate().encode())
    validator.validate(good)
    assert not validator.is_valid(good | {"data": {"plate": 1, "plate_raw": "x"}})
    assert not validator.is_valid(good | {"type": "no.such"})
    assert {rule["if"]["properties"]["type"]["const"] for rule in schema["allOf"]} == set(PAYLOADS)


def test_every_kind_and_field_is_described() -> None:
    """The reference pages are made from these words."""
    for kind, model in PAYLOADS.items():
        assert model.__doc__, kind
        assert kind.count(".") == 1
