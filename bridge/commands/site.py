"""What several commands need of a site: its configuration, its registries, its rules."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from bridge.registry import Registry


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


DEFAULT_CONFIG = Path("bridge.yaml")
"""Where commands look when nobody says otherwise."""
