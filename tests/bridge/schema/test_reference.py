"""The events reference says what the models say."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.schema.event import Origin
from bridge.schema.reference import _ORIGIN_WORDS, PAGES

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("path", PAGES)
def test_the_committed_page_is_what_the_models_say(path: str) -> None:
    """Run `python -m bridge.schema.reference` after changing a model."""
    assert (ROOT / path).read_text(encoding="utf-8") == PAGES[path]()


def test_every_origin_is_explained() -> None:
    """No provenance without words."""
    assert set(_ORIGIN_WORDS) == set(Origin)
