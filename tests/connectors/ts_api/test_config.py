"""A wrong configuration is refused with words that help, and without repeating secrets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.ts_api.config import TsApiConfig

from .support import config

PIN = ":".join(["AB"] * 32)

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"url": "nvr.example"}, "must begin with http:// or https:// and name a host"),
    ({"url": "ftp://nvr.example"}, "must begin with http:// or https:// and name a host"),
    ({"url": "http://[::1"}, "is not a URL"),
    ({"url": "http://nvr.example:99999"}, "is not a URL"),
    ({"url": "http://admin:hunter2@nvr.example"}, "must not hold credentials"),
    ({"url": "http://nvr.example/api"}, "must end after host and port"),
    ({"url": "http://nvr.example?x=1"}, "must end after host and port"),
    ({"url": "http://nvr example"}, "names a host with characters no host has"),
    ({"password": None}, "`username` and `password` belong together"),
    ({"username": None, "password": None}, "give `username` and `password`, or `api_key`"),
    ({"username": "a:b"}, "must not hold a colon"),
    ({"credentials": "api_key"}, "`credentials: api_key` needs `api_key`"),
    ({"username": None, "password": None, "api_key": "k", "dialect": "v0"}, "need `username` and `password`"),
    ({"fingerprint": "AB:CD"}, "must be 64 hex digits"),
    ({"fingerprint": PIN, "insecure": True}, "exclude each other"),
    ({"zone": "Mars/Olympus"}, "is no time zone"),
    ({"ping_interval": "0s"}, "must be longer than 0s"),
    ({"channels": [0]}, "greater than or equal to 1"),
    ({"topics": []}, "at least 1 item"),
    ({"language": "en_US&auth=x"}, "match pattern"),
    ({"surprise": 1}, "Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("values", "words"), WRONG)
def test_what_is_wrong_is_said(values: dict[str, Any], words: str) -> None:
    """Each mistake has its own sentence; no value is repeated."""
    with pytest.raises(ValidationError) as caught:
        config(**values)
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "CANARY" not in str(caught.value)


def test_every_field_is_described() -> None:
    """The reference page is made from the descriptions."""
    assert [name for name, field in TsApiConfig.model_fields.items() if not field.description] == []


def test_secrets_do_not_show() -> None:
    """Printing a configuration tells nobody the password."""
    assert "CANARY" not in repr(config(api_key="CANARY-api-key"))


def test_values_are_put_into_one_form() -> None:
    """A slash at the end, upper case and colons make no difference."""
    read = config(url="HTTPS://NVR.example:8443/", fingerprint=f"SHA256:{PIN}", ping_interval="250ms")
    assert read.url == "https://nvr.example:8443"
    assert read.fingerprint == "ab" * 32
    assert read.ping_interval == timedelta(milliseconds=250)
    assert config(url="http://[::1]:80").url == "http://[::1]:80"


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "UTC-05:00"])
def test_zones_are_taken_in_every_form(zone: str) -> None:
    """A name, or the offset form that servers themselves use."""
    assert config(zone=zone).zone == zone
