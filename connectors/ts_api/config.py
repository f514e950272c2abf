"""What a user writes about a TS-API server. Only values and their checks: nothing here connects."""

from __future__ import annotations

import re
from datetime import UTC, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, SecretStr, field_validator, model_validator

from bridge.sdk import ConnectorConfig, Duration, Size

from .times import zone_of

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
MIB = 1024 * 1024


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than 0s")
    return value


Wait = Annotated[Duration, AfterValidator(_positive)]


class TsApiConfig(ConnectorConfig):
    """A TS-CMS, TS-NVR, TS-LPR or TS-IVR server."""

    # A refused value may be a URL with a password in it; the error names the field, not the value.
    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["ts-api"] = Field("ts-api", description="The kind of source: `ts-api`.")
    url: str = Field(
        description="Scheme, host and port of the server's web interface, nothing more: `https://nvr.example:443`.",
        examples=["http://192.168.0.100", "https://nvr.example:8443"],
    )
    dialect: Literal["auto", "v0", "v1"] = Field(
        "auto", description="API to speak. `auto`: v1 if `api_key` is given and the server has it, otherwise v0."
    )
    username: str | None = Field(None, min_length=1, description="User of the server; v0 needs one.")
    password: SecretStr | None = Field(None, description="The user's password.")
    api_key: SecretStr | None = Field(
        None, description="v1 API key with the rights remote, playback, control and dataExport."
    )
    credentials: Literal["auto", "api_key", "login"] = Field(
        "auto", description="What to show v1: the API key, or a login with user and password. `auto`: the key if given."
    )

    ca_file: Path | None = Field(None, description="Certificates (PEM) to trust instead of the system's.")
    fingerprint: str | None = Field(
        None, description="SHA-256 of the server's own certificate, in hex; the way to trust a self-signed one."
    )
    insecure: bool = Field(
        False, description="Trust any certificate. Shown as a flaw in health for as long as it is on."
    )

    topics: tuple[str, ...] | None = Field(
        None, min_length=1, description="Event topics to listen to. Without it: all that the server offers."
    )
    channels: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="Only these channels, for events that belong to a channel. Empty: all."
    )
    zone: str | None = Field(
        None, min_length=1, description="Time zone of the server (`Europe/Berlin`), if it reports a wrong one."
    )
    language: str | None = Field(
        None,
        pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*$",
        description="Language of the server's messages, as `en-US`. Without it: the server's own.",
    )
    keep_raw: bool = Field(True, description="Keep the original message in each event.")
    invert_y: bool = Field(
        False, description="The cameras tilt the wrong way. The guide's +y is down; some devices take it as up."
    )

    ping_interval: Wait = Field(timedelta(seconds=3), description="Between two of our pings on an event socket.")
    ping_patience: Wait = Field(
        timedelta(seconds=3), description="A socket that answers pings is dead when it is silent so long after one."
    )
    close_timeout: Wait = Field(timedelta(seconds=1), description="How long to wait for a polite end of a socket.")
    link_dead_after: Wait = Field(
        timedelta(seconds=75), description="A socket that does not answer pings is dead after so long without anything."
    )
    open_timeout: Wait = Field(
        timedelta(seconds=10), description="To connect an event socket and hear its first message."
    )
    connect_timeout: Wait = Field(timedelta(seconds=5), description="To connect for a request.")
    request_timeout: Wait = Field(timedelta(seconds=10), description="For a whole request, from connecting to the end.")
    command_timeout: Wait = Field(
        timedelta(seconds=4), description="For a command to a camera; the server answers before the camera acts."
    )
    download_timeout: Wait = Field(timedelta(seconds=30), description="Longest silence while a recording is fetched.")
    max_requests: int = Field(8, ge=1, le=64, description="Requests at the same time.")
    max_downloads: int = Field(4, ge=1, le=64, description="Recordings fetched at the same time.")
    message_limit: Size = Field(8 * MIB, ge=64 * 1024, description="Largest event message taken.")
    answer_limit: Size = Field(8 * MIB, ge=64 * 1024, description="Largest answer to a request taken.")

    @field_validator("url")
    @classmethod
    def _only_a_server(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError:
            raise ValueError("is not a URL; write it as http://host:port") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must begin with http:// or https:// and name a host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("must not hold credentials; write `username` and `password` beside it")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("must end after host and port")
        if re.search(r"[^\w.:\[\]-]", parts.netloc):
            raise ValueError("names a host with characters no host has")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        if value is not None and zone_of(value) is UTC and value.strip().upper() not in ("UTC", "GMT", "Z"):
            raise ValueError("is no time zone; write an IANA name (Europe/Berlin) or an offset (UTC+01:00)")
        return value

    @field_validator("fingerprint")
    @classmethod
    def _sha256(cls, value: str | None) -> str | None:
        if value is None:
            return None
        plain = value.lower().removeprefix("sha256:").replace(":", "").replace(" ", "")
        if not _FINGERPRINT.fullmatch(plain):
            raise ValueError("must be 64 hex digits, with or without colons: openssl x509 -noout -fingerprint -sha256")
        return plain

    @field_validator("username")
    @classmethod
    def _no_colon(cls, value: str | None) -> str | None:
        if value is not None and ":" in value:
            raise ValueError("must not hold a colon: the server splits user and password there")
        return value

    def only_channels(self) -> frozenset[str] | None:
        """Return the channels that the user wants; None: all."""
        return frozenset(map(str, self.channels)) or None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("`username` and `password` belong together")
        if self.username is None and self.api_key is None:
            raise ValueError("give `username` and `password`, or `api_key`")
        if self.credentials == "api_key" and self.api_key is None:
            raise ValueError("`credentials: api_key` needs `api_key`")
        if (self.credentials == "login" or self.dialect == "v0") and self.username is None:
            raise ValueError("v0 and `credentials: login` need `username` and `password`")
        if sum((self.ca_file is not None, self.fingerprint is not None, self.insecure)) > 1:
            raise ValueError("`ca_file`, `fingerprint` and `insecure` exclude each other")
        return self
