"""In which modes of the site a rule acts. What the mode is, the log says: the last `mode.changed`."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue


@dataclass(frozen=True, slots=True)
class Modes:
    """Some modes; or, if `negated`, all others. As long as no mode was ever set the site is in none of them."""

    names: frozenset[str]
    negated: bool = False

    def hold(self, mode: JsonValue) -> bool:
        """Tell whether the site is in one of them. `mode` is None if it is in none."""
        return self.negated != (mode in self.names)

    def __str__(self) -> str:
        return ("not " if self.negated else "") + " or ".join(sorted(self.names))
