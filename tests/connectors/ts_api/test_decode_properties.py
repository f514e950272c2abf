"""Whatever comes: a refusal with a reason or sound events, the same ones each time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.sdk import PayloadError, PushItem, VmsEvent
from connectors.ts_api.decode import Decoded, decode, decode_parts
from connectors.ts_api.push import PUSH
from connectors.ts_api.rows import Log, read_page
from connectors.ts_api.stream import MessageStream
from connectors.ts_api.topics import TOPICS
from connectors.ts_api.twins import live_keys
from connectors.ts_api.values import decoded
from tests.connectors.ts_api.recorded import RECEIVED, SEOUL, context, load, manifest

EVENTS = ["currentStatus", "statusChanged", "nameChanged", "channelSwapped", "videoStreamReady", "callStart", "callEnd"]
WORDS = [*TOPICS, *EVENTS, "face", "http://u:p@h/a?auth=x", "%0D%0A", "2018-06-27T10:42:06.575-05:00", "\ud800", "1,2"]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(WORDS)
    | st.sampled_from([10**400, -(10**18), 1, 0])
)


def members_of(value: Any) -> set[str]:
    """Return every member name anywhere in a message."""
    if isinstance(value, dict):
        return set(value).union(*(members_of(item) for item in value.values()))
    return set().union(*(members_of(item) for item in value)) if isinstance(value, list) else set()


SAMPLES = [(name, load(name)) for name in manifest()]
LIVE_SAMPLES = [
    (name, sample) for name, sample in SAMPLES if name.startswith(("event.", "v1.ws.events.")) and ".subscr" not in name
]
MEMBERS = sorted(set().union(*(members_of(sample) for _, sample in SAMPLES)))

any_json = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(MEMBERS) | st.text(max_size=8), inner, max_size=6)
    ),
    max_leaves=25,
)
LOG_SAMPLES: list[tuple[Log, Any]] = [
    ("plates", load("http.find.carNo.json")),
    ("plates", load("v1.http.lpr.log.json")),
    ("objects", load("http.find.object.json")),
    ("events", load("http.find.eventLog.json")),
]
T = TypeVar("T")
quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def attempt(act: Callable[[], T]) -> T | None:
    """Return what came of it; None if it was refused, and for a reason."""
    try:
        return act()
    except PayloadError as error:
        if not error.reason or not str(error):
            raise
        return None


def sound(events: Any) -> None:
    for event in events:
        assert VmsEvent.decode(event.encode()) == event
        live_keys(event)


def push(body: bytes) -> Sequence[PushItem]:
    return PUSH.decode(body, site="home", source="p", principal=None, received=RECEIVED, zone=SEOUL)


@st.composite
def mutated(draw: st.DrawFn, sample: Any) -> Any:
    """Return the sample with a few members dropped, replaced or added, anywhere in it."""
    message = json.loads(json.dumps(sample))
    for _ in range(draw(st.integers(1, 4))):
        place = message
        while isinstance(place, dict | list) and place:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if not isinstance(place[key], dict | list) or not place[key] or draw(st.booleans()):
                if draw(st.booleans()):
                    del place[key]
                else:
                    place[key] = draw(any_json)
                break
            place = place[key]
    return message


@quick
@given(message=any_json, connection=st.none() | st.sampled_from([*TOPICS, "other"]), snapshot=st.booleans())
def test_any_json_gives_events_or_a_refusal(message: Any, connection: str | None, snapshot: bool) -> None:
    """Nothing but PayloadError is ever raised, and what is returned can be written down."""
    sound(attempt(lambda: decode(message, context=context(topic=connection, snapshot=snapshot))) or ())


@quick
@given(data=st.data())
def test_a_spoiled_sample_gives_events_or_a_refusal(data: st.DataObject) -> None:
    """Dropped members, wrong types, in the middle of what is otherwise right."""
    name, sample = data.draw(st.sampled_from(LIVE_SAMPLES))
    message = data.draw(mutated(sample))
    found = attempt(lambda: MessageStream(context(name)).decode(message, RECEIVED))
    sound(found.events if isinstance(found, Decoded) else ())


@quick
@given(data=st.data())
def test_a_spoiled_log_gives_rows_or_refusals(data: st.DataObject) -> None:
    """One bad row is one refusal."""
    log, sample = data.draw(st.sampled_from(LOG_SAMPLES))
    message = data.draw(mutated(sample))
    page = attempt(lambda: read_page(log, message, context=context()))
    if page is not None:
        assert len(page.rows) + len(page.refused) == page.count
        sound(row.event for row in page.rows)


@quick
@given(data=st.data())
def test_a_spoiled_push_gives_an_answer_for_every_item(data: st.DataObject) -> None:
    """An event or a reason, item by item."""
    message = data.draw(mutated(load("push.array.json")) | any_json)
    items = attempt(lambda: push(json.dumps(message).encode()))
    if items is not None:
        assert len(items) == (len(message) if isinstance(message, list) else 1)
        assert all((item.event is None) == (item.reason is not None) for item in items)
        sound(item.event for item in items if item.event)


@quick
@given(body=st.binary(max_size=200))
def test_any_bytes_pushed_give_an_answer(body: bytes) -> None:
    """Most are no JSON at all."""
    attempt(lambda: push(body))


@quick
@given(data=st.data())
def test_the_same_message_gives_the_same_ids(data: st.DataObject) -> None:
    """Also when parts of it are refused."""
    _, sample = data.draw(st.sampled_from(LIVE_SAMPLES))
    message = data.draw(mutated(sample) | st.just(sample))
    first = attempt(lambda: decode_parts(message, context=context()))
    if first is not None:
        again = decode_parts(json.loads(json.dumps(message)), context=context())
        assert [event.id for event in first.events] == [event.id for event in again.events]


@quick
@given(text=st.text(min_size=1, max_size=30))
def test_percent_decoding_happens_exactly_once(text: str) -> None:
    """Whatever was encoded comes back, even if it looks encoded itself."""
    assert decoded("plates", "srcName", quote(text, safe=""), "v0") == text
    assert decoded("plates", "srcName", quote(quote(text, safe=""), safe=""), "v0") == quote(text, safe="")


@pytest.mark.parametrize(("name", "sample"), LIVE_SAMPLES, ids=[name for name, _ in LIVE_SAMPLES])
def test_every_single_missing_member_is_survived(name: str, sample: Any) -> None:
    """Each member of each sample left out once: the rest is events, or the reason names what is missing."""
    for member in sample:
        message = {key: value for key, value in sample.items() if key != member}
        try:
            sound(decode(message, context=context(name)))
        except PayloadError as error:
            reason = error.reason
        else:
            reason = "missing_field"
        assert reason in ("missing_field", "untagged"), member
