"""Write `store.tar.xz` beside this file: what a bridge of an earlier commit leaves when it is killed. See README.md."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import httpx

HERE = Path(__file__).resolve().parent
NOT_KEPT = ("api.json", "lock", "clips", "bus/nats.conf", "bus/nats-server.pid", "bus/server.json")
"""What each start writes anew, with ports, paths and passwords of the machine."""
PLATES = (
    ("OFTEN", "2020-01-01T12:00:00Z"),
    ("OFTEN", "2020-01-01T12:10:00Z"),
    ("OPEN", "2020-01-01T12:11:00Z"),
    ("FIRST", "2020-01-01T12:12:00Z"),
    ("", "2020-01-01T12:12:30Z"),
)


def push(url: str, **body: str) -> int:
    """Push one event, as a device does; return the status."""
    return httpx.post(f"{url}/api/push", json={"src": "F00001", **body}, auth=("gate", "s3cret")).status_code


def live(url: str) -> None:
    """Make events, state, a result, a dead letter and an order that is owed."""
    for plate, when in PLATES:
        print(plate, push(url, topic="LPR", plateNo=plate, when=when))
    call = {"event": "callStart", "device": "vendor/device", "camera": "1", "when": "2020-01-01T12:13:00Z"}
    print("call", push(url, topic="emergencyCall", **call))
    time.sleep(2)  # until all of that is decided and has ended
    print("TELL", push(url, topic="LPR", plateNo="TELL", when="2020-01-01T12:14:00Z"))
    time.sleep(1.5)  # until it was tried, and before `long-call` is due


def power_off(process: subprocess.Popen[str]) -> None:
    """End the bridge and its server at one moment."""
    process.send_signal(signal.SIGSTOP)
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    process.kill()
    process.wait()


def pack(data: Path, target: Path) -> None:
    """Pack a data directory without what belongs to one machine and one start."""

    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return None if entry.name.removeprefix("data/") in NOT_KEPT else entry

    with tarfile.open(target, "w:xz") as archive:
        archive.add(data, "data", filter=kept)


def main(checkout: Path) -> None:
    """Run the bridge of that checkout, and end it in the middle of its work."""
    with tempfile.TemporaryDirectory() as name:
        for file in ("bridge.yaml", "rules.yaml"):
            shutil.copy(HERE / file, name)
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge", "run"],
            cwd=name, env=os.environ | {"PYTHONPATH": str(checkout)}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        try:
            listening = (re.search(r"listening on (http://\S+);", line) for line in process.stderr)
            live(next(found[1] for found in listening if found))
        finally:
            power_off(process)
        pack(Path(name) / "data", HERE / "store.tar.xz")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
