"""What no single field can know: whether the parts of a configuration fit together. Pure; nothing is opened."""

from __future__ import annotations

import base64
import binascii
import inspect
import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_type_hints
from urllib.parse import urlsplit

from pydantic import SecretStr

from bridge.config.models import BridgeConfig, DoorConfig, PushClient, WebhookConfig
from bridge.config.outputs import Protected
from bridge.contracts import ConnectorSpec, SwitchesRelays
from bridge.registry import unknown
from bridge.schema.kinds import PAYLOADS, payload_model
from bridge.schema.state import BRIDGE
from bridge.schema.units import format_duration
from bridge.yamlfile import YamlPath, dotted

MAX_PULSE = timedelta(seconds=30)
MAX_WITHIN = timedelta(seconds=10)
MAX_DOOR_AGE = timedelta(seconds=60)
HOLD_OFF = timedelta(seconds=15)
SECRET_BYTES = range(24, 65)
"""Bytes of a Standard Webhooks signing secret; the specification's own bounds."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not fit, and where it is written. A warning does not stop the bridge."""

    path: YamlPath
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Names:
    """What the file names, whether or not each of it is otherwise right."""

    top: frozenset[str]
    sources: frozenset[str]
    outputs: frozenset[str]


def findings(config: BridgeConfig, names: Names, specs: Mapping[str, ConnectorSpec[Any]]) -> Iterator[Finding]:
    """Yield everything that does not fit together. `specs` gives the connector of each source that has a known one."""
    yield from _place(config, names)
    yield from _own_name(config, names)
    yield from _outputs(config, names, specs)
    for name, door in config.doors.items():
        yield from _door(config, ("doors", name), door, names)
    for name, webhook in config.webhooks.items():
        yield from _webhook(("webhooks", name), webhook)
    yield from _safety(config, names)
    yield from _bus(config)
    yield from _push(config, names)
    yield from _ports(config)


def _place(config: BridgeConfig, names: Names) -> Iterator[Finding]:
    for one, other in (("latitude", "longitude"), ("longitude", "latitude")):
        if getattr(config, one) is not None and other not in names.top:
            yield Finding((one,), f"needs {other} beside it")


def _own_name(config: BridgeConfig, names: Names) -> Iterator[Finding]:
    """Yield whatever would be filed under the bridge's own name, and be taken for what it tells of itself."""
    said = f"{BRIDGE!r} is the bridge's own name; choose another"
    if BRIDGE in names.sources:
        yield Finding(("sources", BRIDGE), said)
    for name, client in config.http.push.items():
        if client.source == BRIDGE:
            yield Finding(("http", "push", name, "source"), said)
        elif client.source is None and name == BRIDGE:
            yield Finding(("http", "push", name), f"{said}, or say source: …")


def _outputs(config: BridgeConfig, names: Names, specs: Mapping[str, ConnectorSpec[Any]]) -> Iterator[Finding]:
    named: dict[tuple[str, str, str], str] = {}
    for name, output in config.outputs.items():
        path = ("outputs", name, "source")
        if output.source not in names.sources:
            yield Finding(path, unknown("source", output.source, names.sources))
        elif output.source in specs and switches_relays(specs[output.source]) is False:
            yield Finding(path, f"{output.source!r} is of type {specs[output.source].name!r}, which switches no relays")
        if output.max_on <= timedelta(0):
            yield Finding(("outputs", name, "max_on"), "must be more than 0s")
        first = named.setdefault((output.source, output.channel, output.relay), name)
        if first != name:
            yield Finding(("outputs", name, "relay"), f"is {first!r} already, whose limits would not hold for this")


def switches_relays(spec: ConnectorSpec[Any]) -> bool | None:
    """Tell whether a connector's objects switch relays; None where its spec does not say what it builds."""
    built = spec.build if inspect.isclass(spec.build) else _returned(spec.build)
    if not inspect.isclass(built) or getattr(built, "_is_protocol", False):
        return None
    return issubclass(built, SwitchesRelays)


def _returned(build: Any) -> Any:
    try:
        return get_type_hints(build).get("return")
    except (NameError, TypeError):  # names that exist only while type checking
        return None


def _door(config: BridgeConfig, path: YamlPath, door: DoorConfig, names: Names) -> Iterator[Finding]:
    output = config.outputs.get(door.output)
    if door.output not in names.outputs:
        yield Finding((*path, "output"), unknown("output", door.output, names.outputs))
    elif output is not None and output.output_class != "actuating":
        yield Finding((*path, "output"), f"{door.output!r} is declared {output.output_class}; a door's is actuating")
    for key, value, most in (("pulse", door.pulse, MAX_PULSE), ("max_age", door.max_age, MAX_DOOR_AGE)):
        if not timedelta(0) < value <= most:
            yield Finding((*path, key), f"must be more than 0s and at most {format_duration(most)}")
    if output is not None and output.max_on < door.pulse <= MAX_PULSE:
        yield Finding((*path, "pulse"), f"is longer than max_on of {door.output!r}, {format_duration(output.max_on)}")
    if output is not None and output.model_fields_set & Protected.model_fields.keys():
        yield Finding((*path, "output"), f"{door.output!r} has limits of its own; write them at the door")
    contact = door.confirmed_by
    if contact is not None and not timedelta(0) < contact.within <= MAX_WITHIN:
        words = f"must be more than 0s and at most {format_duration(MAX_WITHIN)}"
        yield Finding((*path, "confirmed_by", "within"), words)
    if door.per_hour < door.per_minute:
        yield Finding((*path, "per_hour"), "is less than per_minute")


def _safety(config: BridgeConfig, names: Names) -> Iterator[Finding]:
    safety = config.safety
    clients = names.sources | frozenset(config.http.push)
    for index, name in enumerate(safety.trusted_clocks):
        if name not in clients:
            yield Finding(("safety", "trusted_clocks", index), unknown("source or push client", name, clients))
    for index, match in enumerate(safety.kill_on):
        if match.source not in clients:
            yield Finding(("safety", "kill_on", index, "source"), unknown("source", match.source, clients))
        if payload_model(match.kind) is None:
            yield Finding(("safety", "kill_on", index, "kind"), unknown("kind", match.kind, list(PAYLOADS)))
    for index, name in enumerate(safety.alerts):
        if name not in config.webhooks:
            yield Finding(("safety", "alerts", index), unknown("webhook", name, list(config.webhooks)))
    if config.doors and safety.hold_off < HOLD_OFF:
        words = f"is less than {format_duration(HOLD_OFF)}: right after a start less is known than doors rely on"
        yield Finding(("safety", "hold_off"), words, warning=True)


def _webhook(path: YamlPath, webhook: WebhookConfig) -> Iterator[Finding]:
    try:
        url = urlsplit(webhook.url)
        host, _ = url.hostname, url.port
    except ValueError:
        url, host = urlsplit(""), None
    if url.scheme not in ("http", "https") or not host:
        yield Finding((*path, "url"), "must begin with http:// or https:// and name a host")
    if webhook.secret is not None:
        yield from _signing_secret((*path, "secret"), webhook.secret)
    for index, secret in enumerate(webhook.secrets):
        yield from _signing_secret((*path, "secrets", index), secret)
    if webhook.timeout <= timedelta(0):
        yield Finding((*path, "timeout"), "must be more than 0s")


def _signing_secret(path: YamlPath, secret: SecretStr) -> Iterator[Finding]:
    prefix, _, encoded = secret.get_secret_value().partition("_")
    try:
        size = len(base64.b64decode(encoded, validate=True)) if prefix == "whsec" else 0
    except (binascii.Error, ValueError):
        size = 0
    if size not in SECRET_BYTES:
        yield Finding(
            path,
            f"must be `whsec_` and base64 of {SECRET_BYTES[0]} to {SECRET_BYTES[-1]} random bytes; "
            "make one with: echo whsec_$(openssl rand -base64 32)",
        )


def _bus(config: BridgeConfig) -> Iterator[Finding]:
    if config.mqtt is not None and config.mqtt.broker == "embedded" and config.bus.mqtt is None:
        yield Finding(("mqtt", "broker"), "embedded needs the listener: add the section bus.mqtt")
    if config.bus.servers and config.bus.mqtt is not None:
        yield Finding(("bus", "mqtt"), "opens the embedded server's listener, but bus.servers names other servers")
    if config.bus.sync != "always" and not config.bus.servers:
        yield Finding(("bus", "sync"), "events acknowledged since the last sync are lost in a power cut", warning=True)
    if not config.bus.servers and config.bus.replicas != 1:
        yield Finding(("bus", "replicas"), "the embedded server keeps one copy; more need bus.servers")


def _push(config: BridgeConfig, names: Names) -> Iterator[Finding]:
    usernames: dict[str, str] = {}
    tokens: dict[str, str] = {}
    signers: dict[str, str] = {}
    for name, client in config.http.push.items():
        path: YamlPath = ("http", "push", name)
        yield from _push_client(path, client)
        for index, other in enumerate(client.twin_of):
            if other not in names.sources:
                yield Finding((*path, "twin_of", index), unknown("source", other, names.sources))
        username = client.username or name
        if client.password is not None and usernames.setdefault(username, name) != name:
            yield Finding((*path, "username"), f"{username!r} is the name of {usernames[username]!r} already")
        token = client.token.get_secret_value() if client.token is not None else None
        if token is not None and tokens.setdefault(token, name) != name:
            yield Finding((*path, "token"), f"is the token of {tokens[token]!r} already; each needs its own")
        for secret in (*((client.secret,) if client.secret else ()), *client.secrets):
            key = secret.get_secret_value()
            if signers.setdefault(key, name) != name:
                yield Finding((*path, "secret"), f"is a secret of {signers[key]!r} already; each needs its own")
    if not config.http.push and not is_loopback(config.http.host):
        yield Finding(
            ("http", "host"),
            "the port is open to the network, but nobody may push: add http.push, or listen on 127.0.0.1",
            warning=True,
        )


def _push_client(path: YamlPath, client: PushClient) -> Iterator[Finding]:
    if client.password is None and client.token is None and client.secret is None and not client.secrets:
        yield Finding(path, "needs a password, a token, or a secret it signs with")
    for key, secret in (("password", client.password), ("token", client.token)):
        if secret is not None and not secret.get_secret_value():
            yield Finding((*path, key), "is empty")
    if client.username is not None and (":" in client.username or not client.username):
        yield Finding((*path, "username"), "must not be empty or hold a colon; HTTP Basic cannot carry it")


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a listener on that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ports(config: BridgeConfig) -> Iterator[Finding]:
    listeners: list[tuple[YamlPath, int]] = [(("http", "port"), config.http.port)]
    if not config.bus.servers:
        listeners.append((("bus", "port"), config.bus.port))
        if config.bus.mqtt is not None:
            listeners.append((("bus", "mqtt", "port"), config.bus.mqtt.port))
    seen: dict[int, YamlPath] = {}
    for path, port in listeners:
        if port and seen.setdefault(port, path) != path:
            yield Finding(path, f"{port} is taken by {dotted(seen[port])} already")
