"""The configuration on this machine: its files found, what is kept of it, the embedded broker's address filled in."""

from __future__ import annotations

import uuid
from pathlib import Path

from bridge.bus.server import EmbeddedServer
from bridge.config.load import Loaded
from bridge.config.models import HttpConfig, MqttConfig
from bridge.errors import StartError
from bridge.safety.journal import write_synced

_AGREED = "agreed"
"""File in the data directory, apart from what it is about, so that whoever removes that is noticed."""


def broker_of(config: MqttConfig, server: EmbeddedServer | None) -> MqttConfig:
    """Return the broker to publish to, with the embedded listener's address and credentials filled in."""
    if config.broker == "external":
        return config
    if server is None or server.mqtt is None:
        raise StartError("mqtt.broker is `embedded` and there is no embedded listener", "add a `bus.mqtt` section")
    access = server.mqtt
    return config.model_copy(
        update={
            "host": access.host,
            "port": access.port,
            "username": access.username,
            "password": access.password,
            "version": "3.1.1",  # all that nats-server speaks; trying 5 first leaves an error in its log
        }
    )


def port_of(loaded: Loaded, config: HttpConfig) -> HttpConfig:
    """Return the HTTP port's configuration with its files found beside the configuration file."""
    if config.tls is None:
        return config
    files = {name: beside(loaded, path) for name, path in config.tls if path is not None}
    return config.model_copy(update={"tls": config.tls.model_copy(update=files)})


def beside(loaded: Loaded, path: Path) -> Path:
    """Return where a path of the configuration leads: from the folder of its file."""
    return (loaded.folder / path).absolute()


def instance_of(data_dir: Path) -> str:
    """Return the name this installation has kept since its first start."""
    path = data_dir / "instance"
    if not path.exists():
        path.write_text(uuid.uuid4().hex[:12] + "\n", encoding="ascii")
    return path.read_text(encoding="ascii").strip()


def agreed_before(data_dir: Path) -> bool:
    """Tell whether there was an earlier start with something agreed to: then what was agreed to must be there still."""
    return (data_dir / _AGREED).exists()


def note_agreed(data_dir: Path) -> None:
    """Note that from now on it must be there. Raises StartError."""
    path = data_dir / _AGREED
    if path.exists():
        return
    try:
        write_synced(path, b"With this file and without safety/settings.json, nothing that moves is agreed to.\n")
    except OSError as exc:
        raise StartError(f"{path} cannot be written: {exc.strerror}", "look at the disk and its rights") from exc
