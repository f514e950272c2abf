"""Addresses stay on the configured server, whatever an answer says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.ts_api.addresses import Host, query

HOST = Host("https://nvr.example:8443")

RESOLVED = [
    ("/storage/e/100.mp4", "https://nvr.example:8443/storage/e/100.mp4"),
    ("storage/e/100.mp4", "https://nvr.example:8443/storage/e/100.mp4"),
    ("http://localhost/storage/e/100.mp4?x=1", "https://nvr.example:8443/storage/e/100.mp4?x=1"),
    ("http://192.168.0.100:80/storage/100.mp4", "https://nvr.example:8443/storage/100.mp4"),
    ("//evil.example/storage/100.mp4", "https://nvr.example:8443/storage/100.mp4"),
    ("http://user:pw@evil.example/a.mp4", "https://nvr.example:8443/a.mp4"),
    ("/event-storage/e/ch1(2).mp4", "https://nvr.example:8443/event-storage/e/ch1%282%29.mp4"),
    ("/a b%20c%zz.mp4", "https://nvr.example:8443/a%20b%20c%25zz.mp4"),
    ("rtsp://host:554/live/ch1main", "rtsp://nvr.example:554/live/ch1main"),
    ("rtmp://192.168.0.100/live/ch1main", "rtmp://nvr.example/live/ch1main"),
    ("ws://host/live?stream=ch1", "wss://nvr.example:8443/live?stream=ch1"),
    ("file:///etc/passwd", None),
    ("javascript:alert(1)", None),
    ("http://[::1", None),
    ("", None),
    ("http://host", None),
]


@pytest.mark.parametrize(("address", "resolved"), RESOLVED)
def test_an_address_is_put_on_our_server(address: str, resolved: str | None) -> None:
    """Host and scheme are ours, path and query are the answer's; streams keep their port."""
    assert HOST.resolve(address) == resolved


@given(st.text())
def test_no_text_leads_elsewhere(address: str) -> None:
    """Whatever comes, credentials go to one host."""
    resolved = HOST.resolve(address)
    allowed = ("https://nvr.example:8443/", "wss://nvr.example:8443/", "rtsp://nvr.example", "rtmp://nvr.example")
    assert resolved is None or resolved.startswith(allowed)
    assert resolved is None or resolved.isascii()
    assert resolved is None or not any(character.isspace() for character in resolved)


def test_parameters_are_written_as_the_server_reads_them() -> None:
    """Flags stand alone, lists keep their commas, everything else is encoded."""
    written = query(
        {"ch": 1, "stop": None, "move": "0.5,-1", "on": "a&off=b", "x": True, "when": "2018-02-01T14:30:15.253Z"}
    )
    assert written == "?ch=1&stop&move=0.5,-1&on=a%26off%3Db&x=true&when=2018-02-01T14%3A30%3A15.253Z"
    assert query({}) == ""
