"""What several commands need of a site: its configuration, its registries."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.commands.output import err
from bridge.errors import ConfigError
from bridge.registry import Registry

if TYPE_CHECKING:
    from bridge.config.load import Examined, Loaded

DEFAULT_CONFIG = Path("bridge.yaml")
"""Where commands look when nobody says otherwise."""


@lru_cache(maxsize=1)
def connectors() -> Registry:
    """Return the registry of source types."""
    from connectors import BUILTIN

    return Registry("source type", BUILTIN, "vms_bridge.connectors")


@lru_cache(maxsize=1)
def actions() -> Registry:
    """Return the registry of actions."""
    from bridge.actions import BUILTIN

    return Registry("action", BUILTIN, "vms_bridge.actions")


def load_site(path: Path) -> Loaded:
    """Read a configuration, showing its warnings on standard error. Raises ConfigError."""
    found = examine_site(path)
    if found.problems or found.loaded is None:
        raise ConfigError(found.problems)
    return found.loaded


def examine_site(path: Path) -> Examined:
    """Read a configuration as far as it can be understood, showing its warnings. Raises ConfigError."""
    from bridge.config.load import examine

    if not path.exists():
        raise ConfigError(
            f"there is no configuration {path}: write one with `vms-bridge init`, or name another with --config"
        )
    found = examine(path, connectors())
    for warning in found.loaded.warnings if found.loaded is not None else ():
        err().print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
    return found
