"""The demo's site: a configuration and rules that a user can read, change and keep."""

from __future__ import annotations

import base64
import secrets
import shutil
from importlib import resources
from pathlib import Path

from bridge.bus.datadir import Lock
from bridge.errors import StartError

EXAMPLES = ("parking-gate.yaml", "emergency-call.yaml", "motion.yaml", "channel-down.yaml", "residents.csv")

_OURS = "# Written by `vms-bridge demo`."

_CONFIG = """\
{ours} It is an ordinary configuration: change it, then `vms-bridge run -c {path}`.
site: demo
zone: {zone}
latitude: 40.71
longitude: -74.0
data_dir: data

bus:
  mqtt: {{port: 0}}                 # open the MQTT listener of the embedded server, on a free port
mqtt:
  broker: embedded

http:
  port: 0                         # a free one; `http://127.0.0.1:<port>/metrics` and `/api/push`
  push:
    booth: {{username: booth, password: {push_password}}}

sources:
  nvr1:                           # the simulated server
    type: ts-api
    url: {simulator_url}
    username: admin
    password: admin

safety:
  hold_off: 0s                    # after a start nothing moves for 15s; a demo cannot wait, a site should
  trusted_clocks: [nvr1]          # the simulator's clock is ours

outputs:                          # relays that may be switched, and the position that is safe
  barrier: {{source: nvr1, channel: 1, relay: relay-1, idle: "off", class: actuating}}
  siren: {{source: nvr1, channel: 1, relay: relay-2, idle: "off", class: actuating, max_on: 5s}}
doors:
  main-gate: {{output: barrier, mode: act, pulse: 1s, max_age: 10s, cooldown: 5s, min_score: 90}}

webhooks:
  backoffice:
    url: {receiver_url}
    secret: {webhook_secret}
    allow_private: true           # the demo's receiver is on this machine

clips:
  dir: clips
rules:
  - rules/*.yaml
"""


def webhook_secret() -> str:
    """Return a new Standard Webhooks secret."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def prepare(folder: Path, *, simulator_url: str, receiver_url: str, secret: str, zone: str) -> Path:
    """Write the demo's site into a folder and return its configuration. Raises StartError if that cannot be.

    What an earlier demo left in the log is forgotten, or its cooldowns would still hold; its clips stay.
    """
    path = folder / "bridge.yaml"
    try:
        if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(_OURS):
            raise StartError(f"{folder} holds a site that is no demo's", "choose another folder with --dir")
        _forget(folder / "data")
        (folder / "rules").mkdir(parents=True, exist_ok=True)
        for name in EXAMPLES:
            (folder / "rules" / name).write_bytes(resources.files("rules").joinpath("examples", name).read_bytes())
        path.touch(mode=0o600)
        path.write_text(
            _CONFIG.format(
                ours=_OURS,
                path=path,
                zone=zone,
                simulator_url=simulator_url,
                receiver_url=receiver_url,
                webhook_secret=secret,
                push_password=secrets.token_urlsafe(12),
            ),
            encoding="utf-8",
        )
    except OSError as error:
        raise StartError(
            f"the demo cannot write its folder {folder}: {error.strerror or error}",
            "choose another one with --dir, or make room on the disk",
        ) from error
    return path


def _forget(data: Path) -> None:
    """Empty the data directory of an earlier demo. Raises StartError while one runs there, and OSError."""
    if not data.exists():
        return
    lock = Lock(data)
    lock.take()
    try:
        for entry in data.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != "lock":
                entry.unlink()
    finally:
        lock.release()
