"""Find a plate in what anybody wrote: JSON with or without escapes, also JSON within JSON, forms, XML, other encodings.

Pure, and linear in what it reads: a body can be anything that was ever sent. What is packed otherwise (Base64, a
picture) is not found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote_plus

from bridge.schema.plates import SEPARATOR

_BETWEEN = SEPARATOR + "{0,3}"
_ENCODINGS = ("cp949", "latin-1", "utf-16-le", "utf-16-be")
"""What devices write that do not write UTF-8."""
_WIDE = 0xFEE0
"""How far a full-width sign is from its own."""
_ESCAPE = re.compile(r"(?<!\\)\\++(?:u([0-9a-fA-F]{4})|[nrtbf])")
_ENTITY = re.compile(r"&#(?:[xX]([0-9a-fA-F]{1,6})|([0-9]{1,7}));?")


class Naming:
    """Finds one plate: in either case, with separators between, and not as a part of more."""

    def __init__(self, plate: str) -> None:
        """`plate` is canonical (`bridge.schema.plates`)."""
        signs = _BETWEEN.join(map(_any_of, plate))
        self._pattern = re.compile(rf"(?<!\w){signs}(?!\w)", re.IGNORECASE)

    def within(self, data: bytes) -> bool:
        """Tell whether the plate stands there."""
        return any(self._pattern.search(reading) for text in _texts(data) for reading in _readings(text))


def _any_of(sign: str) -> str:
    """Return what matches a sign, its full-width form, and what it is made of where it is composed."""
    forms = {sign, unicodedata.normalize("NFD", sign)}
    if "!" <= sign <= "~":
        forms.add(chr(ord(sign) + _WIDE))
    return f"(?:{'|'.join(map(re.escape, sorted(forms)))})"


def _texts(data: bytes) -> Iterator[str]:
    """Yield the text; all that it may be where it is not UTF-8."""
    yield data.decode(errors="replace")
    try:
        data.decode()
    except UnicodeDecodeError:
        pass
    else:
        if b"\0" not in data:  # UTF-16 of plain letters is UTF-8 too
            return
    for encoding in _ENCODINGS:
        yield data.decode(encoding, errors="replace")


def _readings(text: str) -> Iterator[str]:
    """Yield the text, and what it says with each kind of escapes taken away, as far as there are any."""
    yield text
    if "\\" in text:
        text = _ESCAPE.sub(_unescaped, text)
        yield text
    if "&#" in text:
        text = _ENTITY.sub(_sign_of, text)
        yield text
    if "%" in text or "+" in text:
        yield unquote_plus(text)


def _unescaped(found: re.Match[str]) -> str:
    return chr(int(found[1], 16)) if found[1] else " "


def _sign_of(found: re.Match[str]) -> str:
    number = int(found[1], 16) if found[1] else int(found[2])
    return chr(number) if number <= 0x10FFFF else " "
