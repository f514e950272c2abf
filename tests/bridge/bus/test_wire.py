"""The lines that go to the server and come from it, byte by byte."""

from __future__ import annotations

import pytest

from bridge.bus.wire import Received, encode, read_headers


def test_a_message_is_written_as_the_protocol_says() -> None:
    """`PUB` without headers, `HPUB` with them; sizes in bytes, the reply where one is wanted."""
    assert encode("a.b", b"{}", {}) == b"PUB a.b 2\r\n{}\r\n"
    assert encode("a.b", b"{}", {}, "in.1") == b"PUB a.b in.1 2\r\n{}\r\n"
    assert encode("a.b", b"", {"X": "가"}) == b"HPUB a.b 20 20\r\nNATS/1.0\r\nX: \xea\xb0\x80\r\n\r\n\r\n"


def test_a_header_stays_on_its_line() -> None:
    """An id comes from a device and may hold anything."""
    head = encode("a", b"", {"Nats-Msg-Id": "x\r\nNats-TTL: 1\r\n\r\nPUB b 0"}).partition(b"\r\n")[2]
    assert read_headers(head) == {"Nats-Msg-Id": "x  Nats-TTL: 1    PUB b 0"}


@pytest.mark.parametrize("subject", ["a b", "a\r\nPUB b 0\r\n", "a\tb", ""])
def test_what_is_no_subject_is_not_sent(subject: str) -> None:
    """It would be a line of somebody else's making."""
    with pytest.raises(ValueError, match="not a subject"):
        encode(subject, b"", {})
    with pytest.raises(ValueError, match="not a subject"):
        encode("a", b"", {}, f"{subject} c")


def test_the_servers_word_about_a_request_is_told_from_a_message() -> None:
    """A status stands on the first line; a header of that name is somebody's own."""
    no_messages = Received("a", "", b"", b"NATS/1.0 404 No Messages\r\n\r\n")
    assert (no_messages.status, no_messages.words) == ("404", "No Messages")
    beat = Received("a", "", b"", b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Stream: 7\r\n\r\n")
    assert (beat.status, beat.words, beat.headers) == ("100", "Idle Heartbeat", {"Nats-Last-Stream": "7"})
    assert Received("a", "", b"", b"NATS/1.0 503\r\n\r\n").words == ""
    sent = Received("a", "", b"x", b"NATS/1.0\r\nStatus: 404\r\n\r\n")
    assert (sent.status, sent.headers) == ("", {"Status": "404"})
    assert (Received("a", "", b"x").status, Received("a", "", b"x").headers) == ("", {})
