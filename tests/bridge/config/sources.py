"""Two small source types, so that configurations can be tried without any real connector."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from bridge.contracts import ConnectorConfig, ConnectorSpec, Relay, SourceContext
from bridge.registry import Registry


class CameraConfig(ConnectorConfig):
    """A system with a password, a certificate and relays."""

    type: Literal["camera"] = "camera"
    url: str = Field(description="Where it is.")
    username: str = Field("admin", description="Who we are.")
    password: SecretStr | None = Field(None, description="Our password.")
    ca_file: Path | None = Field(None, description="Trust this authority.")
    channels: tuple[int, ...] = Field((), description="Channels to listen to.")


class Camera:
    """Switches relays."""

    def __init__(self, config: CameraConfig, context: SourceContext) -> None:
        self.config = config

    async def relays(self, channel: str) -> list[Relay]:
        return []

    async def switch_relay(self, channel: str, relay: str, on: bool) -> None:
        return None

    async def aclose(self) -> None:
        return None


class SensorConfig(ConnectorConfig):
    """A system that can do nothing but tell."""

    type: Literal["sensor"] = "sensor"


class Sensor:
    """Switches nothing."""

    async def aclose(self) -> None:
        return None


def build_sensor(config: SensorConfig, context: SourceContext) -> Sensor:
    """Return a sensor."""
    return Sensor()


CAMERA = ConnectorSpec(name="camera", summary="A camera system.", config=CameraConfig, build=Camera)
SENSOR = ConnectorSpec(name="sensor", summary="A sensor.", config=SensorConfig, build=build_sensor)

REGISTRY = Registry(
    "source type",
    {
        "camera": "tests.bridge.config.sources:CAMERA",
        "sensor": "tests.bridge.config.sources:SENSOR",
        "broken": "tests.bridge.config.nowhere:SPEC",
    },
    "vms_bridge.tests.none",
)
