"""What an expression of CEL may cost on an event, known before it is worked out.

CEL has no budget, and it copies: each time `event` is named, what lies below it, and each time `map` or `filter`
finds an item, all items before it. So the cost follows from how often things are named (seen when a file is read)
and how large the event is (seen when it comes). It is counted in values copied, 0.1 us each on two shared cores.
An expression that would cost too much on an event gives no answer for it, and the trace says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_COST = 25_000
"""Values copied: about 2.5 ms, and never seen to be more than 5."""
_CALL = 20
"""A function; the costliest are our own, called back from CEL."""
_TEXT = 200
"""Characters that cost what a value costs, where texts are joined or searched."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large what an expression looks at is: values in all, items of the longest list, characters of all texts."""

    values: int
    items: int
    characters: int

    @property
    def most(self) -> int:
        """Return a number that none of these is above, as far as they cost."""
        return max(self.values, self.items, self.characters // _TEXT)


@dataclass(slots=True)
class Counts:
    """What stands in a macro's body, or outside of all: how often variables are read, and so on."""

    collects: bool = False
    reads: int = 0
    own: int = 0
    """Of the macro's own variable."""
    calls: int = 0
    pluses: int = 0
    tokens: int = 0

    def each(self, size: Size) -> int:
        """Return what working it out once costs, without its own variable."""
        joined = self.pluses * (self.pluses + 1) // 2 * (size.items + size.characters // _TEXT)
        called = self.calls * (_CALL + size.characters // _TEXT)
        return self.reads * size.values + called + joined + self.tokens


@dataclass(slots=True)
class Tally:
    """Everything that is counted in an expression."""

    outside: Counts = field(default_factory=Counts)
    macros: list[Counts] = field(default_factory=list)
    items: int = 1
    """Of the longest list written in it."""

    def cost(self, size: Size) -> int:
        """Return what it costs at most on an event of this size."""
        items = max(size.items, self.items) * (1 + self.outside.pluses)
        # An item is at most a part of the event; but what a body takes from the event may be all of it, each time.
        made = max((size.values * one.reads for one in self.macros if one.collects), default=0)
        whole = size.values * (1 + self.outside.pluses) + items * made
        total = self.outside.each(size)
        for one in self.macros:
            total += items * one.each(size) + one.own * whole
            if one.collects:
                total += items * (items + whole) // 2
        return total

    def limit(self) -> int:
        """Return up to what size (`Size.most`) an event is certainly small enough, without working it out."""
        low, high = 0, MAX_COST
        while low < high:
            middle = (low + high + 1) // 2
            if self.cost(Size(middle, middle, middle * _TEXT)) <= MAX_COST:
                low = middle
            else:
                high = middle - 1
        return low
