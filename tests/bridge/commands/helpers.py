"""What the command tests share: programs with bounded waits, and a site in a folder."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from typer.testing import CliRunner, Result

from bridge.cli import app

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 40.0
"""Seconds that anything may take; the machine may be busy."""


def environment() -> dict[str, str]:
    """Return the environment of a program: this checkout, and a terminal that is wide and has no colours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VMS_BRIDGE_")}
    return kept | {"PYTHONPATH": str(ROOT), "COLUMNS": "250", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}


signal.signal(signal.SIGINT, signal.default_int_handler)
"""Whoever is started in the background has interrupts ignored, and what we start would inherit that."""


def cli(*arguments: str, cwd: Path, said: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `vms-bridge` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "bridge", *arguments],
        cwd=cwd, env=environment() | variables, input=said, capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip


def here(*arguments: str) -> Result:
    """Run `vms-bridge` in this process, which is quicker than in one of its own; not inside an event loop."""
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "250", "NO_COLOR": "1"})


class Program:
    """A command that goes on; its lines are waited for with a bound."""

    def __init__(self, arguments: Sequence[str], cwd: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bridge", *arguments],
            cwd=cwd, env=environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._lines = {"out": queue.Queue[str](), "err": queue.Queue[str]()}
        self._readers = [
            threading.Thread(target=_read, args=(stream, self._lines[name]), daemon=True)
            for name, stream in (("out", self.process.stdout), ("err", self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def line(self, text: str = "", stream: str = "out") -> str:
        """Return the next line that holds a text. Fails when the program ends or the time is up."""
        seen = []
        while True:
            found = self._lines[stream].get(timeout=PATIENCE)
            seen.append(found)
            assert found, f"it ended; it said {seen}"
            if text in found:
                return found

    def lines(self, *texts: str, stream: str) -> list[str]:
        """Return the first line that holds each text, in whatever order they come."""
        found: dict[str, str] = {}
        while len(found) < len(texts):
            line = self.line(stream=stream)
            found |= {text: line for text in texts if text in line and text not in found}
        return [found[text] for text in texts]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            for reader in self._readers:
                reader.join(PATIENCE)
            for stream in (self.process.stdout, self.process.stderr):
                if stream is not None:
                    stream.close()


def _read(stream: IO[str], lines: queue.Queue[str]) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


@contextmanager
def going(*arguments: str, cwd: Path) -> Iterator[Program]:
    """A command that goes on, ended at the end."""
    program = Program(arguments, cwd)
    try:
        yield program
    finally:
        program.stop()


SITE = """\
site: home
zone: Europe/Berlin
http: {{port: {port}}}
clips: {{workers: 1}}
{more}
"""


def write_site(folder: Path, more: str = "", port: int = 0) -> Path:
    """Write a configuration and return its path."""
    path = folder / "bridge.yaml"
    path.write_text(SITE.format(port=port, more=more), encoding="utf-8")
    return path
