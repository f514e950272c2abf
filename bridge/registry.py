"""Names to specs: the connectors and actions that ship, and those that other packages bring.

Nothing is imported before it is asked for. A name that is taken twice is refused; an unknown one
is answered with the known ones.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from bridge.errors import ConfigError

_LONGEST = 100
"""Characters of a name that are shown; a longer one is like no other."""
_COMPARED = 400
"""Names that are compared with one."""
_SHOWN = 80
"""Known names that are listed."""


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


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return the sentence for a name that does not exist, with the nearest one that does."""
    names = sorted(known)
    near = nearest(name, names)
    hint = f"did you mean {near!r}?" if near else f"known: {_listed(names)}"
    return f"unknown {what} {shortened(name)!r}; {hint}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the name that was probably meant; None if there is none like it.

    Among very many names only those of about the same length and beginning or end are compared, and no more than
    some hundred: this is asked for each mistake of a file, and a file may be made of mistakes.
    """
    names = list(known)
    if len(name) > _LONGEST:
        return None
    if len(names) > _COMPARED:
        ends = {name[:1], name[-1:]}
        alike = [one for one in names if abs(len(one) - len(name)) <= 2 and ends & {one[:1], one[-1:]}]
        names = alike if len(alike) <= _COMPARED else [one for one in alike if one[:2] == name[:2]][:_COMPARED]
    near = difflib.get_close_matches(name, names, n=1)
    return near[0] if near else None


def shortened(name: str) -> str:
    """Return a name as it can be shown."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."


def _listed(names: Sequence[str]) -> str:
    if len(names) <= _SHOWN:
        return ", ".join(names) or "none"
    return f"{', '.join(names[:_SHOWN])}, ... ({len(names)})"
