"""The import rule: who may import whom, and that importing a package starts nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_import_follows_the_arrow() -> None:
    """The layers of pyproject.toml hold."""
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    done = _python(code)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_subscriber_goes_through_the_host() -> None:
    """Registered anywhere else one could have FastStream's default policy, which loses what fails."""
    named = [
        (path.relative_to(ROOT).as_posix(), word)
        for folder in ("bridge", "connectors", "rules")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for word in re.findall(r"\.subscriber\(|\bfrom faststream\b|\bimport faststream\b", path.read_text())
    ]
    assert {path for path, _ in named} == {"bridge/bus/host.py"}
    host = (ROOT / "bridge/bus/host.py").read_text()
    assert host.count(".subscriber(") == 1
    assert set(re.findall(r"AckPolicy\.(\w+)", host)) == {"NACK_ON_ERROR"}


def test_importing_the_packages_imports_no_heavy_library() -> None:
    """`import bridge, connectors, rules` and the SDK start no event loop, no server and load no PyAV."""
    done = _python(
        "import sys, bridge, connectors, rules, bridge.sdk, bridge.cli;"
        "bad={'av','nats','faststream','uvicorn'} & set(sys.modules); print(bad); raise SystemExit(bool(bad))"
    )
    assert done.returncode == 0, done.stdout + done.stderr
