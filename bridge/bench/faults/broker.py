"""A real MQTT broker, and somebody who listens to everything on it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from .common import UnavailableError, free_port, wait_for


class Listener:
    """Counts the plates it is told."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.plates: Counter[str] = Counter()
        self.subscribed = False
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="faults", protocol=MQTTProtocolVersion.MQTTv311)
        self._client.on_connect = lambda client, *_: client.subscribe("vms/faults/#", 1)
        self._client.on_subscribe = lambda *_: setattr(self, "subscribed", True)
        self._client.on_message = lambda _client, _data, message: self.plates.update([json.loads(message.payload)["p"]])
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def broker(folder: Path) -> Iterator[Listener]:
    """Run Mosquitto. Raises UnavailableError where it is not installed."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise UnavailableError("Mosquitto is not installed")
    port = free_port()
    (folder / "broker.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    with (folder / "broker.log").open("wb") as log:
        process = subprocess.Popen([program, "-c", folder / "broker.conf"], stdout=log, stderr=log)
    listener: list[Listener] = []

    def there() -> bool:
        try:
            listener.append(Listener(port))
        except OSError:
            return False
        return True

    try:
        wait_for(there, 10, lambda: "Mosquitto does not start")
        wait_for(lambda: listener[0].subscribed, 10, lambda: "Mosquitto does not let us listen")
        yield listener[0]
    finally:
        for each in listener:
            each.close()
        process.kill()
        process.wait()
