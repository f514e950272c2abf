"""Show in health and metrics how each source is. What a person can do about it stands in one table."""

from __future__ import annotations

from bridge.runtime.health import HealthBook, Level, Part
from bridge.runtime.metrics import Metrics
from bridge.runtime.supervisor import SourceState

_CURES = {
    "auth": "check its username, password or key in the configuration, and that the account is not locked",
    "unsupported": "check the system's licence and settings: it does not offer what is asked for",
    "unavailable": "check its address, that it runs, and the network between; it is tried again by itself",
    "store": "see the bus: events cannot be written down, so they are not fetched",
    "bug": "please report it with the log of this moment; it is tried again by itself",
}
"""What to do, by the code of an outage. A flaw's own message says what it needs."""


class SourceReport:
    """Takes the supervisor's reports; a `bridge.runtime.supervisor.Report`."""

    def __init__(self, book: HealthBook, metrics: Metrics) -> None:
        self._book, self._metrics = book, metrics
        self._parts: dict[str, Part] = {}

    def __call__(self, state: SourceState) -> None:
        """Note how a source is now."""
        part = self._parts.get(state.source)
        if part is None:
            part = self._parts[state.source] = self._book.register(f"source {state.source}", needed=False)
        self._metrics.source_up(state.source, up=state.up)
        if not state.up:
            part.down(state.code, state.message, _CURES.get(state.code, ""))
        elif state.flaws:
            codes = "+".join(code for code, _ in state.flaws)
            part.degraded(codes, "; ".join(message for _, message in state.flaws))
        else:
            part.up()

    def level(self, source: str) -> Level:
        """Return how a source is. Raises KeyError if nothing was ever heard of it."""
        return self._book[self._parts[source].name].level
