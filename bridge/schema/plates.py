"""Number plates: the canonical form that lists, rules and doors compare.

Only what cannot change which vehicle is meant: Unicode form, width, case and separators. Look-alike
letters (0/O, Cyrillic А) are a matter for suggestions and watch lists, never for opening doors.
"""

from __future__ import annotations

import re
import unicodedata

SEPARATOR = r"[\s\-–—._·•:/\\|'\"()\[\]]"
"""What may stand between the signs of a plate and says nothing, as a pattern."""
_SEPARATORS = re.compile(SEPARATOR + "+")


def canonical_plate(text: str) -> str:
    """Return the plate as it is compared: NFKC (full-width to plain), upper case, no separators."""
    return _SEPARATORS.sub("", unicodedata.normalize("NFKC", text)).upper()
