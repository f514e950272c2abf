"""Names on the bus: one function escapes, one place knows the shape of every subject.

Tokens are `[A-Za-z0-9_%-]`; anything else, and a literal `_` too, is percent-escaped byte by
byte, because a lone `_` means "none".
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from bridge.errors import PayloadError
from bridge.schema.event import VmsEvent

NONE = "_"
_SAFE = re.compile(r"[A-Za-z0-9-]+")
_UNSAFE = re.compile(rb"[^A-Za-z0-9-]")
MAX_TOKEN = 200
"""Characters of one token after escaping; NATS itself would take more, file names would not."""


def escape(text: str | None) -> str:
    """Return the token for a name; `_` for none. An empty name is not a name."""
    if text is None:
        return NONE
    if _SAFE.fullmatch(text) and len(text) <= MAX_TOKEN:
        return text
    token = _UNSAFE.sub(lambda m: b"%%%02X" % m[0][0], text.encode()).decode()
    if not token or len(token) > MAX_TOKEN:
        raise PayloadError("bad_name", f"a name of {len(token)} characters cannot be filed: {text[:40]!r}")
    return token


def unescape(token: str) -> str | None:
    """Return the name a token stands for."""
    return None if token == NONE else unquote(token, errors="strict")


class Subjects:
    """Every subject of one site."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.root = f"vms.{escape(site)}"
        self._sources: dict[str, str] = {}

    def event(self, event: VmsEvent) -> str:
        """`vms.<site>.event.<source>.<kind1>.<kind2>.<channel or _>`."""
        prefix = self._sources.get(event.source)
        if prefix is None:
            prefix = self._sources[event.source] = f"{self.root}.event.{escape(event.source_name)}"
        first, _, second = event.type.partition(".")
        return f"{prefix}.{first}.{escape(second)}.{escape(event.subject)}"

    def events(self, source: str | None = None, kind: str | None = None, channel: str | None = None) -> str:
        """The filter for all events, or those of one source, kind (`plate` for all of `plate.…`) or channel."""
        first, _, second = (kind or "").partition(".")
        what = [first or "*", escape(second) if second else "*"]
        tokens = [escape(source) if source else "*", *what, escape(channel) if channel else "*"]
        return f"{self.root}.event.{'.'.join(tokens)}"

    def head(self, partition: int = 0) -> str:
        """Where the engine's position and owner stand."""
        return f"{self.root}.head.{partition}"

    def state(self, rule: str, key: str, partition: int = 0) -> str:
        """One value of engine state."""
        return f"{self.root}.state.{partition}.{escape(rule)}.{escape(key)}"

    def order(self, order: str, partition: int = 0) -> str:
        """One order."""
        return f"{self.root}.order.{partition}.{escape(order)}"

    def effect(self, order: str) -> str:
        """The ledger record of one order."""
        return f"{self.root}.effect.{escape(order)}"

    def order_of(self, effect: str) -> str:
        """Return the order whose ledger record stands at a subject."""
        return unquote(effect.rpartition(".")[2], errors="strict")

    def result(self, action: str, outcome: str) -> str:
        """What came of orders of one type."""
        return f"{self.root}.result.{escape(action)}.{escape(outcome)}"

    def change(self, kind: str) -> str:
        """What the audit trail says of changes of one kind; a token more than the end of an order has."""
        first, _, second = kind.partition(".")
        return f"{self.root}.result.change.{escape(first)}.{escape(second)}"

    def dead(self, action_class: str, reason: str) -> str:
        """What was given up, and why."""
        return f"{self.root}.dlq.{escape(action_class)}.{escape(reason)}"

    def trace(self, rule: str) -> str:
        """Why a rule fired, or did not."""
        return f"{self.root}.trace.{escape(rule)}"
