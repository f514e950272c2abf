"""One table of reason codes for what cannot be understood, and nobody says another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from bridge.http import body
from bridge.schema.flaws import FLAWS
from connectors.ts_api.draft import MISSING, WRONG

ROOT = Path(__file__).resolve().parents[3]


def _codes() -> Iterator[str]:
    """Yield every code that is written where a PayloadError or a PushItem is made."""
    for folder in ("bridge", "connectors"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    place = {"PayloadError": 0, "PushItem": 2}.get(node.func.id)
                    if place is not None and len(node.args) > place:
                        said = node.args[place]
                        if isinstance(said, ast.Constant) and isinstance(said.value, str):
                            yield said.value


def test_every_code_is_in_the_table() -> None:
    """Also the two that are named, and what the judge of pushed items says."""
    used = set(_codes()) | {MISSING, WRONG}
    items = [
        3,
        {"a": [[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]},
        {str(n): n for n in range(300)},
        {"a": "x" * 9000},
        {"a": "\x00"},
    ]
    flaws = [body._flaw(item) for item in items]
    assert None not in flaws
    used |= {flaw[0] for flaw in flaws if flaw is not None} | {"duplicate_key"}
    assert used == set(FLAWS)
