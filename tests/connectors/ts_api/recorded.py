"""The vendor's documented messages, and the context the tests decode them in."""

from __future__ import annotations

import json
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from connectors.ts_api.draft import DecodeContext

DATA = Path(__file__).resolve().parent.parent / "data" / "ts_api"
RECEIVED = datetime(2026, 1, 20, 12, 0, tzinfo=UTC)
SEOUL = ZoneInfo("Asia/Seoul")


def load(name: str) -> Any:
    """Return one recorded message."""
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def manifest() -> list[str]:
    """Return the names of all recorded messages."""
    return [sample["file"] for sample in load("_manifest.json")["samples"]]


def context(name: str = "", *, zone: tzinfo = SEOUL, **changes: Any) -> DecodeContext:
    """Return a context; the dialect is the one the sample's name says."""
    fields: dict[str, Any] = {
        "site": "home",
        "source": "nvr1",
        "received": RECEIVED,
        "dialect": "v1" if name.startswith("v1.") else "v0",
        "zone": zone,
    }
    return DecodeContext(**fields | changes)


def utc(text: str) -> datetime:
    """Return a time written as `2018-07-20 21:05:45.956`, UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
