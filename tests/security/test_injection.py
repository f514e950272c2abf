"""No text from outside becomes more than a text, wherever it ends up."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from paho.mqtt.client import topic_matches_sub
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from bridge.actions.mqtt_client import check_topic
from bridge.bus import stored
from bridge.bus.kv import key_of, parts_of
from bridge.bus.pull import scan
from bridge.commands.events import describe
from bridge.errors import ActionRejectedError, PayloadError
from bridge.media.manifest import folder_of, stem_of
from bridge.runtime.log import configure
from bridge.runtime.metrics import Metrics
from bridge.runtime.redact import Redactor
from bridge.schema.event import VmsEvent
from bridge.schema.subjects import Subjects, unescape
from bridge.schema.text import Place, escape_for
from tests.bridge.bus.helpers import NOW, event, running_bus
from tests.security.hostile import texts

TEXTS = texts()


def test_there_are_enough() -> None:
    """Five hundred at least."""
    assert len(TEXTS) >= 500


def test_no_text_leaves_its_topic_level() -> None:
    """One level stays one level, matches what one level matches, and nothing of the server's own."""
    for text in TEXTS:
        value = escape_for(Place.TOPIC, text)
        topic = check_topic(f"gate/{value}/plate")
        assert topic_matches_sub("gate/+/plate", topic), text
        assert not topic_matches_sub("$SYS/#", topic)
        assert len(topic.split("/")) == 3
        assert not set(value) & set("+#$\0")
        try:
            alone = check_topic(value)
        except ActionRejectedError:
            continue
        assert not alone.startswith("$")


def test_no_text_leaves_its_subject_token() -> None:
    """Every name is one token and comes back as it was, or is refused."""
    filed = 0
    for text in TEXTS:
        for content in ({"subject": text}, {"source": f"home/{text}"}, {"type": f"custom.{text}"}):
            try:
                one = event(1, **content)  # type: ignore[arg-type]
                subject = Subjects("home").event(one)
            except (PayloadError, ValidationError, UnicodeEncodeError):
                continue
            filed += 1
            tokens = subject.split(".")
            assert len(tokens) == 7, text
            assert all(re.fullmatch(r"[A-Za-z0-9_%-]+", token) for token in tokens), text
            assert tokens[:3] == ["vms", "home", "event"]
            assert unescape(tokens[6]) == one.subject
    assert filed >= len(TEXTS)


def test_no_text_leaves_its_key() -> None:
    """Parts of keys come back as they were."""
    for text in TEXTS:
        try:
            key = key_of("a", text, "b")
        except (PayloadError, UnicodeEncodeError):
            continue
        assert len(key.split(".")) == 3
        assert parts_of(key) == ("a", text, "b")


def test_no_text_leaves_its_header() -> None:
    """A client that checks takes the value, and it is one line of ASCII."""
    for text in TEXTS:
        value = escape_for(Place.HEADER, text)
        assert value.isascii()
        assert not re.search(r"[\x00-\x1f\x7f]", value)
        request = httpx.Request("POST", "http://h/", headers={"x-plate": value, "x-other": "1"})
        assert [name for name, _ in request.headers.multi_items()].count("x-plate") == 1


def test_no_text_leaves_its_part_of_a_url() -> None:
    """Neither of the path nor of the query; host and the parameters beside it stay."""
    for text in TEXTS:
        value = escape_for(Place.URL, text)
        parts = urlsplit(f"https://example.org/plates/{value}/x?plate={value}&safe=1")
        assert parts.netloc == "example.org"
        assert parts.path.count("/") == 3
        assert set(parse_qs(parts.query, keep_blank_values=True)) == {"plate", "safe"}
        assert parts.fragment == ""


def test_no_text_leaves_its_folder() -> None:
    """As part of a name that a user writes around it, and as the id of a clip."""
    root = PurePosixPath("/clips")
    for text in TEXTS:
        value = escape_for(Place.FILE, text)
        assert PurePosixPath(f"{value}.mp4").name == f"{value}.mp4"
        assert value not in ("", ".", "..")
        assert "/" not in value
        assert "\\" not in value
        stem = stem_of(text.encode(errors="replace").decode(), NOW)
        path = root / folder_of(stem) / f"{stem}.mp4"
        assert re.fullmatch(r"[A-Za-z0-9_-]+", stem), text
        assert ".." not in path.parts


@contextmanager
def logging_to(form: Any) -> Iterator[io.StringIO]:
    """The bridge's logging, into a text."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    out = io.StringIO()
    try:
        configure("debug", form, Redactor(), out)
        yield out
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        logging.captureWarnings(capture=False)


def test_no_text_makes_a_log_line_as_json() -> None:
    """One entry is one line and one object, with the level it has."""
    for text in TEXTS:
        with logging_to("json") as out:
            logging.getLogger("x").warning("said %s", text, extra={"plate": text, "more": [text, {text: text}]})
        out.getvalue().encode()  # it can be written
        lines = out.getvalue().split("\n")
        assert (len(lines), lines[1]) == (2, ""), text
        entry = json.loads(lines[0])
        assert entry["level"] == "warning"
        assert entry["logger"] == "x"


def test_no_text_makes_a_log_line_in_a_terminal() -> None:
    """One entry is one line, and the terminal obeys none of it."""
    for text in TEXTS:
        with logging_to("text") as out:
            logging.getLogger("x").warning("said %s", text, extra={"plate": text, "more": [text, {text: text}]})
        shown = out.getvalue()
        assert shown.count("\n") == 1, text
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", shown), text
        shown.encode()  # it can be written


def test_no_text_is_obeyed_when_events_are_shown() -> None:
    """What a command prints of an event is one line of what can be printed."""
    for text in TEXTS:
        try:
            one = event(1, "plate.read", subject=text, data={"plate": text, "plate_raw": text})
        except ValidationError:
            continue
        line = describe(one, NOW.tzinfo)  # type: ignore[arg-type]
        assert line.isprintable(), text


def test_no_text_makes_a_metric() -> None:
    """Whatever a label is, the page holds the families that it held, and a scraper can read it."""
    metrics = Metrics("1")
    metrics.refused("gate", "stale")
    metrics.request("/api/push", 200, 0.1)
    names = {family.name for family in text_string_to_metric_families(metrics.render().decode())}
    for text in TEXTS:
        clean = text.encode(errors="replace").decode()
        metrics.refused(clean, clean)
        metrics.request(clean, 200, 0.1)
    page = metrics.render().decode()
    assert {family.name for family in text_string_to_metric_families(page)} == names


async def test_no_text_leaves_its_message_on_the_server(tmp_path: Path) -> None:
    """Stored as events and as dead letters with headers, on the real server, each where it belongs and no more."""
    sent: list[VmsEvent] = []
    async with running_bus(tmp_path) as bus:
        intake = await bus.intake()
        for number, text in enumerate(TEXTS):
            try:
                one = event(number, "plate.read", subject=text, data={"plate": text, "plate_raw": text})
                await intake([one])
            except (ValidationError, PayloadError, UnicodeEncodeError):
                continue
            sent.append(one)
        await (await intake([event("last")]))
        buried = 0
        for text in TEXTS:
            try:
                await bus.dead.bury("message", text, text.encode(errors="replace"), {"Source": text, "Error": text})
            except (PayloadError, UnicodeEncodeError):
                continue
            buried += 1
        assert await _count(bus, "EVENTS") == len(sent) + 1
        assert await _count(bus, "ENGINE") == 0
        letters = [m for batch in [b async for b in scan(bus.connection, bus.stream("REJECTED"))] for m in batch]
        assert buried >= len(TEXTS) * 0.9
        for letter in letters:
            assert letter.subject.startswith("vms.home.dlq.message.")
            assert letter.subject.count(".") == 4
            assert set(letter.headers or {}) <= {"Vms-Source", "Vms-Error", "Nats-Msg-Id"}, letter.headers
        found = await stored.last(bus.connection, bus.stream("EVENTS"), "vms.home.event.nvr1.motion.started.1")
        assert found is not None
    assert len(sent) >= 400


async def _count(bus: Any, stream: str) -> int:
    info = await bus.connection.api(f"STREAM.INFO.{bus.stream(stream)}")
    return int(info["state"]["messages"])


OUT: dict[Place, Callable[[str], bool]] = {
    Place.TOPIC: lambda text: not topic_matches_sub("gate/+/plate", f"gate/{text}/plate") or "#" in text,
    Place.HEADER: lambda text: bool(re.search(r"[\r\n]", text)),
    Place.URL: lambda text: (
        set(parse_qs(urlsplit(f"https://h/?plate={text}&safe=1").query, keep_blank_values=True)) != {"plate", "safe"}
    ),
    Place.FILE: lambda text: PurePosixPath(f"{text}.mp4").name != f"{text}.mp4",
    Place.TEXT: lambda text: "\x1b" in text,
}
"""How a text would get out of each place."""


@pytest.mark.parametrize("place", OUT)
def test_without_escaping_many_would_get_out(place: Place) -> None:
    """The control: as they are, dozens of these texts leave their place; escaped, none."""
    assert sum(map(OUT[place], TEXTS)) >= 5
    assert not any(OUT[place](escape_for(place, text)) for text in TEXTS)
