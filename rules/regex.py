"""Patterns of RE2, bounded so that none can make an event slow: by their length, their program, and what they look at.

RE2 needs time for each step of its program and each byte of the text, whatever is written: so the product of the two
is bounded. Repetitions inside repetitions multiply the steps, not the characters of the pattern.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

MAX_PATTERN = 512
MAX_PROGRAM = 4_000
"""Steps of the compiled pattern; an ordinary one has twenty to sixty, a class of all letters some hundred."""
MAX_WORK = 400_000
"""Steps times bytes of one look at a text: about 5 ms at worst."""
MAX_SUBJECT = 4096
"""Bytes of a text that a pattern looks at; a longer one does not match."""
_MEMORY = 1 << 18


class Pattern:
    """A compiled pattern. A text that it is not made to look at (too long, half a surrogate pair) does not match."""

    __slots__ = ("_fullmatch", "_search", "longest", "steps")

    def __init__(self, pattern: str) -> None:
        """Compile. Raises ValueError with a sentence for the user."""
        compiled = _compiled(pattern)
        self._search, self._fullmatch = compiled.search, compiled.fullmatch
        self.steps: int = max(compiled.programsize, compiled.reverseprogramsize, 1)
        if self.steps > MAX_PROGRAM:
            raise ValueError(
                f"the pattern has {self.steps} steps when it is compiled, at most {MAX_PROGRAM}; "
                "repetitions such as {1,30} inside others multiply"
            )
        self.longest = min(MAX_SUBJECT, MAX_WORK // self.steps)

    def search(self, text: str) -> bool | None:
        """Tell whether it is found anywhere in a text; None for no, as `re` says it."""
        return self._look(self._search, text)

    def fullmatch(self, text: str) -> bool | None:
        """Tell whether it is the whole text; None for no."""
        return self._look(self._fullmatch, text)

    def _look(self, look: Any, text: str) -> bool | None:
        if len(text) > self.longest:
            return None
        try:
            raw = text.encode()
        except UnicodeEncodeError:  # half a surrogate pair, which RE2 cannot be given
            return None
        return None if len(raw) > self.longest or look(raw) is None else True


@lru_cache(maxsize=4096)
def pattern(text: str) -> Pattern:
    """Return a pattern, compiled once. Raises ValueError."""
    return Pattern(text)


def _compiled(text: str) -> Any:
    if len(text) > MAX_PATTERN:
        raise ValueError(f"the pattern is longer than {MAX_PATTERN} characters")
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    options.dot_nl = True
    options.never_capture = True
    try:
        return re2.compile(text, options)
    except UnicodeEncodeError as error:
        raise ValueError("the pattern is not text: it holds half a surrogate pair") from error
    except re2.error as error:
        why = error.args[0] if error.args else error
        why = why.decode(errors="replace") if isinstance(why, bytes) else why
        if "too large" in str(why) or "repetition size" in str(why):
            why = f"{why}; repetitions such as {{1,30}} inside others multiply"
        raise ValueError(f"not a pattern of RE2: {why}") from error
