"""The import rule: who may import whom, and that importing a package starts nothing."""

from __future__ import annotations

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


def test_importing_the_packages_imports_no_heavy_library() -> None:
    """`import bridge, connectors, rules` and the SDK start no event loop, no server and load no PyAV."""
    done = _python(
        "import sys, bridge, connectors, rules, bridge.sdk, bridge.cli;"
        "bad={'av','nats','faststream','uvicorn'} & set(sys.modules); print(bad); raise SystemExit(bool(bad))"
    )
    assert done.returncode == 0, done.stdout + done.stderr
