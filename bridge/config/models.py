"""What a user may write in `bridge.yaml`. Every default is the safe one; every field says what it means.

The sources' own fields belong to their connectors and are checked against the connector's model.
"""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, field_validator

from bridge.config.base import Model, Name, Port, Zone
from bridge.config.outputs import DoorConfig, OutputConfig
from bridge.config.safety import SafetyConfig
from bridge.schema.units import Duration, Size

__all__ = [
    "ApiClient",
    "BridgeConfig",
    "BusConfig",
    "ClipsConfig",
    "DoorConfig",
    "HttpConfig",
    "LogConfig",
    "Model",
    "MqttConfig",
    "MqttListener",
    "Name",
    "OutputConfig",
    "Port",
    "PushClient",
    "SafetyConfig",
    "WebhookConfig",
    "Zone",
]


class MqttListener(Model):
    """The embedded server's MQTT 3.1.1 listener. It is off unless this section is there."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(1883, description="Port; 0 takes a free one.")
    username: str = Field("mqtt", description="Name that clients log in with.")
    password: SecretStr | None = Field(
        None, description="Their password; without one a random one is made and kept in the data directory."
    )


class BusConfig(Model):
    """Where events are written down: the embedded nats-server, or servers of your own."""

    servers: tuple[str, ...] = Field(
        (),
        description="URLs (`nats`, `tls`, `ws` or `wss`) of an existing NATS cluster; empty: embedded. There "
        "`sync_interval: always` must stand in the `jetstream` section, or `replicas` be 3 on three machines: a stock "
        "server syncs every 2 minutes, and a power cut then loses acknowledged events. The bridge cannot see which.",
    )
    username: str | None = Field(None, description="For existing servers.")
    password: SecretStr | None = Field(None, description="For existing servers.")
    replicas: int = Field(1, ge=1, le=5, description="Copies of every stream on an existing cluster; 3 is usual.")
    binary: str = Field("auto", description="Path of nats-server; `auto` takes the one installed with the bridge.")
    host: str = Field("127.0.0.1", description="Address the embedded server listens on.")
    port: Port = Field(0, description="Its port; 0 takes a free one.")
    sync: Literal["always"] | Duration = Field(
        "always", description="When the disk is synced. Anything but `always` loses acknowledged events in a power cut."
    )
    mqtt: MqttListener | None = Field(None, description="Open the MQTT listener of the embedded server.")
    keep: Duration = Field(timedelta(days=7), description="How long events are kept, once they are decided on.")
    max_bytes: Size = Field(5 * 1024**3, description="How much room events may take.")

    @field_validator("servers")
    @classmethod
    def _speak_nats(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        for url in servers:
            scheme, found, _ = url.partition("://")
            if found and scheme.lower() not in _NATS_SCHEMES:
                raise ValueError(f"write them as nats://host:4222; the schemes are {', '.join(_NATS_SCHEMES)}")
        return servers


_NATS_SCHEMES = ("nats", "tls", "ws", "wss")
"""What the NATS client can speak."""


class PushClient(Model):
    """Somebody who may push events to us. A device that pushes to a TS server needs no change."""

    username: str | None = Field(None, description="For HTTP Basic and TS-API `auth=`; default: the client's name.")
    password: SecretStr | None = Field(None, description="For HTTP Basic and TS-API `auth=`.")
    token: SecretStr | None = Field(None, description="For `Authorization: Bearer` and `X-API-Key`.")
    secret: SecretStr | None = Field(
        None, description="`whsec_…`: it signs its requests as Standard Webhooks says; each then counts once."
    )
    secrets: tuple[SecretStr, ...] = Field((), description="Several secrets while they are being changed.")
    source: Name | None = Field(None, description="The source its events are filed under; default: the client's name.")
    topics: tuple[str, ...] | None = Field(None, description="Topics it may push; default: all of the format.")
    channels: tuple[str, ...] | None = Field(
        None, description="Channels, devices or lots that it may speak for; default: all."
    )
    twin_of: tuple[Name, ...] = Field(
        (),
        description="Sources that hear the same: of a reader that pushes to a server and to the bridge. What comes by "
        "both is one event; without this a push is never taken for another source's.",
    )
    zone: Zone | None = Field(None, description="Zone of times without offset; default: the site's.")
    repeats: Duration = Field(
        timedelta(hours=12),
        ge=timedelta(0),
        le=timedelta(days=7),
        description="So long after the same content, without a time, it may be sent again because our answer was lost: "
        "it is an event, and opens nothing. At least a minute; 0s: it never sends anything twice.",
    )

    @field_validator("secret", "secrets")
    @classmethod
    def _can_sign(cls, value: SecretStr | tuple[SecretStr, ...] | None) -> SecretStr | tuple[SecretStr, ...] | None:
        for secret in (value,) if isinstance(value, SecretStr) else value or ():
            try:
                key = base64.b64decode(secret.get_secret_value().removeprefix("whsec_"), validate=True)
            except ValueError:
                raise ValueError("is not `whsec_` and base64") from None
            if len(key) < _SHORTEST_KEY:
                raise ValueError(f"is shorter than {_SHORTEST_KEY} bytes: make one with `openssl rand -base64 24`")
        return value


_SHORTEST_KEY = 16
"""Bytes of a signing secret; Standard Webhooks says 24 to 64, some senders make shorter ones."""


class HttpTls(Model):
    """The certificate that the HTTP port shows. Read at start: a new one counts after a restart."""

    cert_file: Path = Field(description="Certificate and what signed it, PEM.")
    key_file: Path | None = Field(None, description="Its key, PEM; without it, it stands in `cert_file`.")
    ca_file: Path | None = Field(
        None, description="Take connections only from who shows a certificate of this authority."
    )


class ApiClient(Model):
    """Somebody who may command the bridge over HTTP."""

    token: SecretStr = Field(description="For `Authorization: Bearer` and `X-API-Key`.", min_length=16)
    role: Literal["viewer", "operator", "admin"] = Field(
        "viewer",
        description="`viewer` looks. `operator` opens, agrees and stops, changes lists and the mode. "
        "`admin` also lets go what was stopped, and reads rule files.",
    )
    lists: tuple[Name, ...] | None = Field(
        None, description="Lists that it may change, if its role may at all; default: all."
    )


class HttpConfig(Model):
    """The one HTTP port: push, health, metrics."""

    host: str = Field("127.0.0.1", description="Address to listen on; loopback unless you say otherwise.")
    port: Port = Field(8480, description="Port; 0 takes a free one.")
    tls: HttpTls | None = Field(None, description="Serve HTTPS instead of HTTP.")
    push: dict[Name, PushClient] = Field(default_factory=dict, description="Who may push, by name.")
    api: dict[Name, ApiClient] = Field(default_factory=dict, description="Who may command doors, by name.")
    allow_query_auth: bool = Field(
        False,
        description="Accept `?token=` and `?apikey=` too; they end up in other programs' logs. `?auth=` is always "
        "accepted: many TS-API devices can do nothing else.",
    )
    max_body: Size = Field(256 * 1024, description="A larger body is refused with 413.")
    max_connections: int = Field(256, ge=1, description="Connections at once.")
    max_per_address: int = Field(16, ge=1, description="Connections at once from one address.")
    metrics: bool = Field(True, description="Serve /metrics.")

    @property
    def longest_repeats(self) -> timedelta:
        """How long what was pushed without a time must be known again."""
        return max((client.repeats for client in self.push.values()), default=timedelta(0))


class WebhookConfig(Model):
    """Somebody to tell, by name."""

    url: str = Field(description="Where to POST; http or https.")
    secret: SecretStr | None = Field(None, description="`whsec_…`, for the Standard Webhooks signature.")
    secrets: tuple[SecretStr, ...] = Field((), description="Several secrets while they are being changed.")
    headers: dict[str, SecretStr] = Field(default_factory=dict, description="Headers to add.")
    allow_private: bool = Field(False, description="Allow private, loopback and link-local addresses.")
    timeout: Duration = Field(timedelta(seconds=15), description="Give up on one try after this.")
    ca_file: Path | None = Field(None, description="Trust this certificate authority too.")


class MqttCommands(Model):
    """What may be changed by messages of the broker. Whoever may publish these topics there may do it."""

    lists: tuple[Name, ...] = Field((), description="Lists, by `<prefix>/<site>/list/<list>/set`.")
    mode: bool = Field(False, description="The mode of the site, by `<prefix>/<site>/mode/set`.")


class MqttConfig(Model):
    """The broker to publish to."""

    broker: Literal["embedded", "external"] = Field("external", description="`embedded` needs `bus.mqtt`.")
    host: str = Field("127.0.0.1", description="Where the broker is.")
    port: Port = Field(1883, description="Its port; 8883 is usual with TLS.")
    username: str | None = Field(None, description="Name to log in with.")
    password: SecretStr | None = Field(None, description="Password to log in with.")
    tls: bool = Field(False, description="Use TLS.")
    ca_file: Path | None = Field(None, description="Trust this certificate authority.")
    client_id: str | None = Field(None, description="Default: made from site and instance, and kept.")
    prefix: str = Field("vms", pattern=r"^[^#+/\x00$][^#+\x00]*$", description="First level of every topic we publish.")
    version: Literal["auto", "3.1.1", "5"] = Field("auto", description="MQTT version.")
    queue: int = Field(10_000, ge=1, description="Messages kept while the broker is away.")
    commands: MqttCommands = Field(default_factory=MqttCommands, description="What may be changed from there.")


class ClipsConfig(Model):
    """Where clips go and when they leave."""

    dir: Path | None = Field(None, description="Folder; default `clips` in the data directory.")
    keep: Duration = Field(timedelta(days=30), description="Clips are deleted after this.")
    max_bytes: Size = Field(20 * 1024**3, description="The oldest leave when there are more.")
    workers: int = Field(1, ge=1, le=16, description="Worker processes that cut.")


class LogConfig(Model):
    """What the bridge says about itself."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Leave out what matters less.")
    format: Literal["auto", "json", "text"] = Field("auto", description="`auto`: text in a terminal, JSON elsewhere.")


class BridgeConfig(Model):
    """Who we are, and one section for each part."""

    site: Name = Field("site", description="Name of this place; first part of every subject and event source.")
    zone: Zone = Field("UTC", description="The site's time zone: schedules, and times without offset.")
    latitude: float | None = Field(None, ge=-90, le=90, description="For sunrise and sunset.")
    longitude: float | None = Field(None, ge=-180, le=180, description="For sunrise and sunset.")
    data_dir: Path = Field(Path("data"), description="Everything the bridge must not forget.")
    dry_run: bool = Field(False, description="Decide and record everything, do nothing.")
    bus: BusConfig = Field(default_factory=BusConfig, description="Where events are written down.")
    http: HttpConfig = Field(default_factory=HttpConfig, description="The HTTP port, and who may push to it.")
    sources: dict[Name, dict[str, Any]] = Field(
        default_factory=dict,
        repr=False,  # as written: which of it is secret, only the connectors' models know
        description="The systems to listen to, by name; `type` says what each is, the rest is up to that type.",
    )
    outputs: dict[Name, OutputConfig] = Field(default_factory=dict, description="Relays that may be switched.")
    doors: dict[Name, DoorConfig] = Field(default_factory=dict, description="What lets people in.")
    safety: SafetyConfig = Field(default_factory=SafetyConfig, description="What holds for everything that can move.")
    webhooks: dict[Name, WebhookConfig] = Field(default_factory=dict, description="Whom to tell over HTTP.")
    mqtt: MqttConfig | None = Field(None, description="The MQTT broker to publish to.")
    clips: ClipsConfig = Field(default_factory=ClipsConfig, description="Where clips go and when they leave.")
    modes: tuple[Name, ...] = Field(
        (), description="Modes that the site may be in: `[home, away, night]`; empty: whatever somebody sets."
    )
    rules: tuple[str, ...] = Field(
        ("rules/*.yaml",),
        description="Rule files; patterns, beside this file. "
        "A file that is named must be there; a pattern written here that matches none is a warning.",
    )
    log: LogConfig = Field(default_factory=LogConfig, description="What the bridge says about itself.")

    @property
    def tzinfo(self) -> ZoneInfo:
        """The site's zone."""
        return ZoneInfo(self.zone)
