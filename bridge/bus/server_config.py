"""What the embedded server is told: one private file, made from our configuration and nothing else.

NATS reads JSON as its own configuration language, so quoting is JSON's.

Two accounts. BRIDGE is ours. MQTT clients live in MQTT, with JetStream of its own within narrow
limits: an MQTT topic `vms/home/order/…` becomes the subject `vms.home.order.…`, and in our account
it would be an order. Within BRIDGE every role has a user of its own; see `roles`.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from bridge.bus import roles, store_format
from bridge.bus.datadir import Room, read_json, write_private
from bridge.config.models import BusConfig
from bridge.errors import StartError

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


@dataclass(frozen=True, slots=True)
class Access:
    """Where and as whom to log in."""

    host: str
    port: int
    username: str
    password: SecretStr

    @property
    def address(self) -> str:
        """`host:port`, as it stands in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Identity:
    """What stays the same over restarts: ports, passwords, the server's name, and the room it was promised."""

    name: str
    nats: Access
    mqtt: Access | None
    reserved: int
    site: str | None = None
    """Whose data it is; without it there are no roles, because their subjects name it."""
    roles: Mapping[roles.Role, Access] = field(default_factory=dict)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every password, to keep them out of logs."""
        accesses = (self.nats, self.mqtt, *self.roles.values())
        return tuple(access.password.get_secret_value() for access in accesses if access is not None)


def identity(file: Path, config: BusConfig) -> Identity:
    """Return who the server is: what was remembered, and new secrets and free ports for what was not.

    Nothing is written; see `remember`. Raises StartError when a configured port is in use.
    """
    known = read_json(file)
    nats = Access(
        _ANY.get(config.host, config.host),
        _port("bus.port", config.host, config.port, known.get("port")),
        "bridge",
        SecretStr(known.get("password") or secrets.token_urlsafe(32)),
    )
    mqtt = None
    if config.mqtt is not None:
        own = config.mqtt.password.get_secret_value() if config.mqtt.password else None
        mqtt = Access(
            _ANY.get(config.mqtt.host, config.mqtt.host),
            _port("bus.mqtt.port", config.mqtt.host, config.mqtt.port, known.get("mqtt_port")),
            config.mqtt.username,
            SecretStr(own or known.get("mqtt_password") or secrets.token_urlsafe(16)),
        )
    name = known.get("name") or f"vms-bridge-{secrets.token_hex(4)}"
    site = store_format.site_of(file.parent.parent)
    users = role_users(known, nats, site)
    return Identity(name, nats, mqtt, int(known.get("reserved", 0)), site, users)


def role_users(known: Mapping[str, Any], nats: Access, site: str | None) -> dict[roles.Role, Access]:
    """Return how each role logs in: with the passwords of last time, or new ones."""
    if site is None:
        return {}
    before = known.get("roles")
    passwords = before if isinstance(before, dict) else {}
    return {
        role: Access(
            nats.host, nats.port, roles.user(role), SecretStr(str(passwords.get(role) or secrets.token_urlsafe(32)))
        )
        for role in roles.ROLES
    }


def remember(file: Path, who: Identity, reserved: int) -> None:
    """Keep the identity and what is set aside for streams, for the next start. Raises StartError."""
    content = read_json(file)
    content |= {
        "name": who.name,
        "port": who.nats.port,
        "password": who.nats.password.get_secret_value(),
        "reserved": reserved,
    }
    if who.roles:
        content["roles"] = {role: access.password.get_secret_value() for role, access in who.roles.items()}
    if who.mqtt is not None:
        content |= {"mqtt_port": who.mqtt.port, "mqtt_password": who.mqtt.password.get_secret_value()}
    write_private(file, json.dumps(content, indent=1))


def render(config: BusConfig, who: Identity, room: Room, directory: Path) -> str:
    """Return the server's configuration file."""
    users = [_user(who.nats, "STANDARD")]
    if who.site is not None:
        users += [
            _user(access, "STANDARD") | {"permissions": roles.permissions(who.site, role)}
            for role, access in who.roles.items()
        ]
    accounts: dict[str, Any] = {"BRIDGE": {"jetstream": "enabled", "users": users}}
    content: dict[str, Any] = {
        "server_name": who.name,
        "host": config.host,
        "port": who.nats.port,
        "logtime": False,
        "pid_file": str(directory / "nats-server.pid"),
        "jetstream": {
            "store_dir": str(directory),
            "max_file_store": room.store,
            "max_memory_store": 256 * 1024**2,
            "sync_interval": "always" if config.sync == "always" else f"{config.sync.total_seconds() * 1000:.0f}ms",
        },
        "accounts": accounts,
    }
    if config.mqtt is not None and who.mqtt is not None:
        limits = {"max_memory": 0, "max_file": room.mqtt, "max_streams": 16, "max_consumers": 4096}
        accounts["MQTT"] = {"jetstream": limits, "users": [_user(who.mqtt, "MQTT")]}
        content["mqtt"] = {"host": config.mqtt.host, "port": who.mqtt.port}
    return json.dumps(content, indent=1, ensure_ascii=False)


def _user(access: Access, kind: str) -> dict[str, Any]:
    return {
        "user": access.username,
        "password": access.password.get_secret_value(),
        "allowed_connection_types": [kind],
    }


def _port(setting: str, host: str, wanted: int, before: int | None) -> int:
    """Return the configured port, the one used before, or a free one."""
    if wanted:
        if not _free(host, wanted, setting):
            raise StartError(f"port {wanted} on {host} is in use", f"choose another {setting}, or 0 for a free one")
        return wanted
    if before and _free(host, before, setting):
        return before
    return _bind(host, 0)


def _free(host: str, port: int, setting: str) -> bool:
    try:
        _bind(host, port)
    except PermissionError as exc:
        raise StartError(f"port {port} needs more rights than we have", f"choose a {setting} above 1023") from exc
    except OSError as exc:
        if isinstance(exc, socket.gaierror) or "assign requested" in str(exc):
            raise StartError(f"{host} is not an address of this machine", "correct the host beside " + setting) from exc
        return False
    return True


def _bind(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the server binds: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])
