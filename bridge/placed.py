"""The configuration on this machine: its files found, its name kept, and the embedded broker's address filled in."""

from __future__ import annotations

import uuid
from pathlib import Path

from bridge.bus.server import EmbeddedServer
from bridge.config.load import Loaded
from bridge.config.models import HttpConfig, MqttConfig
from bridge.errors import StartError

_NAME = "instance"
"""File in the data directory with the name of the installation."""


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


def has_name(data_dir: Path) -> bool:
    """Tell whether this installation was started before."""
    return (data_dir / _NAME).exists()


def instance_of(data_dir: Path) -> str:
    """Return the name this installation has kept since its first start."""
    path = data_dir / _NAME
    if not path.exists():
        path.write_text(uuid.uuid4().hex[:12] + "\n", encoding="ascii")
    return path.read_text(encoding="ascii").strip()
