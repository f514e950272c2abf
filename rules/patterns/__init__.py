"""The shapes that events make over time, each a pure function with a memory that the engine keeps for it."""

from rules.patterns.base import NO_WAIT, Fire, Memory, Now, OneEvent, Pattern, Reaction, Stands

__all__ = ["NO_WAIT", "Fire", "Memory", "Now", "OneEvent", "Pattern", "Reaction", "Stands"]
