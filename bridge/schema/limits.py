"""What one pushed body may hold: bounds for whoever reads it, the intake first and a vendor's decoder again.

What comes is from anybody with a token, so it is bounded before it is looked at; a real push has six
short members.
"""

from __future__ import annotations

from typing import Final

PUSH_ITEMS: Final = 1000
"""Items of an array."""
PUSH_DEPTH: Final = 16
"""Levels of objects and arrays in one item."""
PUSH_KEYS: Final = 200
"""Keys of one item, on all levels together."""
PUSH_TEXT: Final = 4096
"""Characters of one text."""
