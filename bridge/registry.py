"""Names to specs: the connectors and actions that ship, and those that other packages bring.

Nothing is imported before it is asked for. A name that is taken twice is refused; an unknown one
is answered with the known ones.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from bridge.errors import ConfigError


class Registry:
    """Specs by name, loaded on first use."""

    def __init__(self, what: str, builtin: Mapping[str, str], group: str) -> None:
        self._what = what
        self._targets = dict(builtin)
        for point in entry_points(group=group):
            if point.name in self._targets:
                raise ConfigError(
                    f"{what} {point.name!r} is brought by {point.value} and exists already: remove one of the two"
                )
            self._targets[point.name] = point.value
        self._loaded: dict[str, Any] = {}

    @property
    def names(self) -> list[str]:
        """Every known name."""
        return sorted(self._targets)

    def get(self, name: str) -> Any:
        """Return the spec of that name. Raises ConfigError naming the nearest known one."""
        if name not in self._loaded:
            target = self._targets.get(name)
            if target is None:
                raise ConfigError(unknown(self._what, name, self.names))
            module, _, attribute = target.partition(":")
            self._loaded[name] = getattr(import_module(module), attribute)
        return self._loaded[name]


def unknown(what: str, name: str, known: list[str] | frozenset[str]) -> str:
    """Return the sentence for a name that does not exist, with the nearest one that does."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
    return f"unknown {what} {name!r}; {hint}"
