"""Understand the messages of one connection in order: the little that must be remembered between them.

Three things a single message does not tell: whether it is the first of its topic and so the present
state, whose status codes the server uses, and whether motion really changed or is only told again. Everything else is
`decode.py`. One `MessageStream` a connection; it is thrown away with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from bridge.sdk import Origin, PayloadError, VmsEvent

from .decode import Control, DecodeContext, Decoded, classify, understand
from .read_channels import codes_in
from .topics import Topic
from .values import Dialect, codes_in_use

_MOTION = {"motion.started": True, "motion.ended": False}
_RENUMBERED = frozenset({"channel.swapped", "channel.added", "channel.removed"})


class MessageStream:
    """Decodes one connection's messages. What `context` says of one message alone is filled in here."""

    def __init__(self, context: DecodeContext) -> None:
        self._context = replace(context)
        self._begun: set[str] = set()
        self._codes = context.codes or context.dialect
        self._moving: dict[str | None, bool] = {}

    def decode(self, message: Mapping[str, Any], received: datetime) -> Control | Decoded:
        """Return the control message this is, or what was understood of it. Raises PayloadError."""
        if not isinstance(message, dict):
            raise PayloadError("not_object", "the message is no JSON object")
        found = classify(message, self._context.topic)
        if isinstance(found, Control):
            # A topic that is subscribed to again sends its present state again (v1).
            self._begun.difference_update(found.topics)
            return found
        context = self._context
        context.received = received
        context.snapshot = found.snapshot == "first" and found.name not in self._begun
        context.codes = self._learn_codes(found, message)
        decoded = understand(found, message, context)
        self._begun.add(found.name)
        return Decoded([self._as_news(event) for event in decoded.events], decoded.refused)

    def _learn_codes(self, found: Topic, message: Mapping[str, Any]) -> Dialect:
        if found.name == "channelStatus":
            self._codes = codes_in_use(codes_in(message), self._codes)
        return self._codes

    def _as_news(self, event: VmsEvent) -> VmsEvent:
        """Mark motion that is as it was: no change, but the present state told once more.

        It starts nothing twice and is written down only where something else is known by now, so that what the
        bridge gave up as stuck is known again as soon as the source repeats it.
        """
        if event.type in _RENUMBERED:
            self._moving.clear()
        if event.type not in _MOTION:
            return event
        before, now = self._moving.get(event.subject), _MOTION[event.type]
        self._moving[event.subject] = now
        repeated = before is now and event.origin is Origin.LIVE
        return event.model_copy(update={"origin": Origin.RESYNC}) if repeated else event
