"""When one plate looks like another: for watch lists and suggestions, never for what opens a door.

A plate has a look: its canonical form in which characters that are printed or read alike are one. Two
plates are alike when their looks differ by so many slips of a reader at most: a character too many, too
few or another, or two neighbours exchanged (the optimal string alignment distance). Nothing here is
asked by exact comparison, which folds only what cannot change the vehicle: `canonical_plate`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping

from bridge.sdk import canonical_plate

HOMOGLYPHS: Mapping[str, str] = {
    "A": "ΑА",
    "B": "ΒВ",
    "C": "С",
    "D": "ĐÐ",
    "E": "ΕЕ",
    "G": "Ԍ",
    "H": "ΗН",
    "I": "ΙІӀ",
    "J": "ͿЈ",
    "K": "ΚК",
    "L": "Ł",
    "M": "ΜМ",
    "N": "Ν",
    "O": "ΟОØ",
    "P": "ΡР",
    "Q": "Ԛ",
    "S": "Ѕ",
    "T": "ΤТ",
    "V": "Ѵ",
    "W": "Ԝ",
    "X": "ΧХ",
    "Y": "ΥУҮ",
    "Z": "Ζ",
    "3": "З",
}
"""A Latin character, and those of the Greek, Cyrillic and wider Latin alphabets that are printed like it.

Accents are taken off before: Ё is Е is E. Hangul and all that is not here stays what it is.
"""
LOOK_ALIKES: Mapping[str, str] = {"0": "ODQ", "1": "IL", "2": "Z", "5": "S", "6": "G", "8": "B", "V": "U"}
"""A character, and those that readers of plates take for it."""

DEFAULT_DISTANCE = 1
MAX_DISTANCE = 2
FAR_ENTRIES = 10_000
"""Plates of a list that may be asked for at a distance of 2: each of them is looked at. At 1 any number is as quick."""
LONGEST = 16
"""Characters of a plate; what is longer is like nothing but itself."""
_CHARACTERS_FOR_ONE = 3
"""So many characters of the listed plate allow one slip, or short plates would be like everything."""


def _table() -> dict[int, str]:
    alike = {other: one for one, others in LOOK_ALIKES.items() for other in others}
    printed = {other: one for one, others in HOMOGLYPHS.items() for other in others}
    return {ord(other): alike.get(one, one) for other, one in {**alike, **printed}.items()}


_TO_LOOK = _table()


def look(text: str) -> str:
    """Return how a plate looks. Plates with the same look cannot be told apart by a glance."""
    plate = canonical_plate(text)
    if not plate.isascii():
        plate = unicodedata.normalize("NFC", "".join(map(_bare, plate))).upper()
    return plate.translate(_TO_LOOK)


def _bare(char: str) -> str:
    """Return a character without its accents; a syllable of Hangul is no accented character."""
    if "가" <= char <= "힣":
        return char
    return "".join(part for part in unicodedata.normalize("NFD", char) if not unicodedata.combining(part))


def slips(one: str, other: str, most: int) -> int:
    """Return by how many slips two looks differ; `most` + 1 stands for all that is more."""
    if one == other:
        return 0
    if abs(len(one) - len(other)) > most:
        return most + 1
    before, row = [0], list(range(len(other) + 1))
    for i, char in enumerate(one, 1):
        following = [i]
        for j, wanted in enumerate(other, 1):
            cost = min(row[j] + 1, following[-1] + 1, row[j - 1] + (char != wanted))
            if i > 1 and j > 1 and char == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, before[j - 2] + 1)
            following.append(cost)
        before, row = row, following
    return min(row[-1], most + 1)


def allowed(listed: str, distance: int) -> int:
    """Return by how much something may differ from a look that is asked for."""
    return min(distance, len(listed) // _CHARACTERS_FOR_ONE) if len(listed) <= LONGEST else 0


class Looks:
    """Some plates, to be found by what looks like them."""

    __slots__ = ("_alphabet", "_by_look", "_marks")

    def __init__(self, plates: Iterable[str]) -> None:
        by_look: dict[str, tuple[str, ...]] = {}
        for plate in plates:
            seen = look(plate)
            by_look[seen] = (*by_look.get(seen, ()), plate)
        self._by_look = by_look
        self._alphabet = "".join(sorted(set().union(*by_look)))
        self._marks: dict[str, int] | None = None

    def add(self, plate: str) -> None:
        """Let one more be found; one that is there already is there once."""
        seen = look(plate)
        known = self._by_look.get(seen, ())
        if plate not in known:
            self._by_look[seen] = (*known, plate)
            self._alphabet = "".join(sorted({*self._alphabet, *seen}))
            if self._marks is not None:
                self._marks[seen] = _mark(seen)

    def __len__(self) -> int:
        return len(self._by_look)

    def like(self, plate: str, distance: int) -> list[str]:
        """Return the plates that a plate is like, in their order as texts."""
        seen = look(plate)
        if distance == 0 or len(seen) > LONGEST:
            near: Iterable[str] = (seen,) if seen in self._by_look else ()
        else:
            near = self._one_slip(seen) if distance == 1 else self._more_slips(seen, distance)
        return sorted(found for one in near for found in self._by_look[one])

    def _one_slip(self, seen: str) -> set[str]:
        """Try all that differs by one slip: some hundred look-ups, however many plates there are."""
        known = self._by_look
        found = {one for one in _variants(seen, self._alphabet) if one in known and allowed(one, 1)}
        return found | {seen} if seen in known else found

    def _more_slips(self, seen: str, distance: int) -> Iterator[str]:
        """Look at all of them: first at which characters they have at all, which costs next to nothing."""
        if self._marks is None:
            self._marks = {one: _mark(one) for one in self._by_look}
        mark, most = _mark(seen), 2 * distance  # another character in its place is one more and one less
        for one, other in self._marks.items():
            if (mark ^ other).bit_count() <= most and slips(seen, one, distance) <= allowed(one, distance):
                yield one


def _variants(seen: str, alphabet: str) -> Iterator[str]:
    for place in range(len(seen) + 1):
        head, char, tail = seen[:place], seen[place : place + 1], seen[place + 1 :]
        if char:
            yield head + tail
            for other in alphabet:
                yield head + other + tail
        if tail:
            yield head + tail[0] + char + tail[1:]
        for other in alphabet:
            yield head + other + char + tail


def _mark(seen: str) -> int:
    """Return the set of a look's characters, some of them taken for one."""
    mark = 0
    for char in seen:
        mark |= 1 << (ord(char) & 63)
    return mark
