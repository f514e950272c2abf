"""Look at a site for `doctor`: its ports, and whether what it is to talk to can be reached. Switches nothing."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bridge.bus import existing
from bridge.bus.connect import Connection
from bridge.bus.datadir import read_json
from bridge.clock import SystemClock
from bridge.commands.findings import Finding, ok, problem, warning
from bridge.commands.tail import data_dir, in_use
from bridge.contracts import Describes, SourceContext, SystemInfo
from bridge.errors import (
    ConnectorAuthError,
    ConnectorError,
    ConnectorUnavailableError,
    StartError,
)
from bridge.safety.ownclock import shut_until

if TYPE_CHECKING:
    from bridge.config.load import Loaded
    from bridge.config.models import MqttConfig, WebhookConfig

PATIENCE = 5.0
"""Seconds for one thing outside this machine to answer."""
_CLOCK_OFF = timedelta(seconds=2)
"""A door's cause may be 10 s old at most; clocks that are further apart eat that up."""
_CURES: dict[type[ConnectorError], str] = {
    ConnectorAuthError: "check username and password, and the user's rights on the server",
    ConnectorUnavailableError: "check url, cable and firewall; is the server on?",
    ConnectorError: "check `type` and `url`, and the server's licence",
}


def ports(loaded: Loaded) -> Iterator[Finding]:
    """Whether each port that is to be opened is free, or held by the bridge that runs."""
    config = loaded.config
    folder = data_dir(loaded)
    try:
        running = in_use(folder)
        known = read_json(folder / "bus" / "server.json") if running else {}
    except StartError as error:
        yield problem("data_dir", error.cause, error.cure)
        return
    if running:
        yield ok("bridge", f"a bridge is running on {folder}")
    yield _port("http.port", config.http.host, config.http.port, ours=running)
    if config.bus.servers:
        return
    yield _port("bus.port", config.bus.host, config.bus.port, ours=known.get("port") == config.bus.port)
    if config.bus.mqtt is not None:
        wanted = config.bus.mqtt
        yield _port("bus.mqtt.port", wanted.host, wanted.port, ours=known.get("mqtt_port") == wanted.port)


def stepped(loaded: Loaded, now: datetime) -> Iterator[Finding]:
    """Whether our clock went back and keeps everything shut."""
    until = shut_until(data_dir(loaded) / "safety", now)
    if until is not None:
        told = f"it went back; nothing that moves something is done until {until:%Y-%m-%d %H:%M:%S} UTC"
        yield problem("our clock", told, "set it right and keep it so by NTP; then: vms-bridge clock accept")


def _port(setting: str, host: str, port: int, *, ours: bool) -> Finding:
    """`ours`: if it is in use, then by the bridge that runs."""
    if port == 0:
        return ok(setting, f"a free one is taken on {host}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE and ours:
                return ok(setting, f"{port} on {host} is used by the bridge that runs")
            return problem(
                setting, f"{port} on {host} cannot be opened ({error.strerror})", f"choose another {setting}"
            )
    return ok(setting, f"{port} on {host} is free")


async def reach(loaded: Loaded) -> AsyncIterator[Finding]:
    """Everything outside this machine: all at once, told in order."""
    config = loaded.config
    looks = [_source(loaded, name) for name in loaded.sources]
    looks += [_webhook(name, webhook) for name, webhook in config.webhooks.items()]
    if config.bus.servers:
        looks.append(_nats(loaded))
    if config.mqtt is not None and config.mqtt.broker == "external":
        looks.append(_broker(config.mqtt))
    for found in await asyncio.gather(*looks):
        for finding in found:
            yield finding


async def _source(loaded: Loaded, name: str) -> list[Finding]:
    about = f"source {name}"
    spec = loaded.specs[name]
    connector = spec.build(loaded.sources[name], SourceContext(loaded.config.site, name, SystemClock()))
    try:
        if not isinstance(connector, Describes):
            return [ok(about, f"{spec.name}: cannot be asked; it is heard when it speaks")]
        async with asyncio.timeout(PATIENCE):
            return _described(about, await connector.describe())
    except TimeoutError:
        return [problem(about, f"did not answer within {PATIENCE:.0f} s", _CURES[ConnectorUnavailableError])]
    except ConnectorError as error:
        return [problem(about, str(error), next(cure for kind, cure in _CURES.items() if isinstance(error, kind)))]
    finally:
        await connector.aclose()


def _described(about: str, info: SystemInfo) -> list[Finding]:
    offset = info.clock_offset
    clock = "clock not told" if offset is None else f"clock {offset.total_seconds():+.1f} s"
    found = [ok(about, f"{info.product} {info.version}, {len(info.channels)} channels, {clock}")]
    if offset is not None and abs(offset) > _CLOCK_OFF:
        cure = "set both clocks by NTP: doors refuse what is too old or from the future; then, while the bridge runs: "
        cure += f"vms-bridge clock accept {about.removeprefix('source ')}"
        found.append(warning(about, f"its clock is {offset.total_seconds():+.1f} s off ours", cure))
    return found


async def _webhook(name: str, webhook: WebhookConfig) -> list[Finding]:
    about = f"webhook {name}"
    host = urlsplit(webhook.url).hostname
    if not host:
        return [problem(about, "its url names no host", "write it as https://host/path")]
    try:
        async with asyncio.timeout(PATIENCE):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or "no answer"
        return [problem(about, f"{host} cannot be resolved ({reason})", "correct the url, or this machine's DNS")]
    return [ok(about, f"{host} is {found[0][4][0]}")]


async def _broker(config: MqttConfig) -> list[Finding]:
    where = f"{config.host}:{config.port}"
    try:
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(config.host, config.port)
    except (OSError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or f"no answer within {PATIENCE:.0f} s"
        return [
            problem("mqtt", f"{where} does not answer ({reason})", "start the broker, or correct mqtt.host and port")
        ]
    writer.close()
    return [ok("mqtt", f"{where} takes connections")]


async def _nats(loaded: Loaded) -> list[Finding]:
    bus = loaded.config.bus
    try:
        connection = Connection(bus.servers, bus.username, bus.password, "vms-bridge doctor")
        async with connection.opened(PATIENCE) as found:
            await existing.examine(found, loaded.config.site, bus)
            told = f"{found.address} is nats-server {'.'.join(map(str, found.version))} with JetStream"
            synced = [] if bus.replicas >= existing.SAFE_COPIES else [warning("nats", *existing.SYNC)]
            return [ok("nats", told), *synced]
    except StartError as error:
        return [problem("nats", error.cause, error.cure)]
