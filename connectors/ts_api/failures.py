"""Say what a request that failed means: one place for queries and for commands.

A query that fails is a matter of the source, a command that fails is a matter of one order. The
question that counts for a command is whether the device may have acted: only then is it `unknown`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from bridge.sdk import (
    ActionError,
    ActionRejectedError,
    ActionUnavailableError,
    ActionUnknownError,
    ConnectorAuthError,
    ConnectorError,
    ConnectorUnavailableError,
    ConnectorUnsupportedError,
)


class Kind(StrEnum):
    """What went wrong."""

    UNREACHED = "unreached"
    """Nothing was sent: refused, no route, no such name, certificate not trusted."""
    UNANSWERED = "unanswered"
    """Sent, and no usable answer came."""
    NONSENSE = "nonsense"
    """An answer that no TS-API server gives: a web page, half a JSON, a redirect."""
    BUSY = "busy"
    """Turned away before anything was done: 429, 503."""
    UNAUTHORIZED = "unauthorized"
    """401."""
    FORBIDDEN = "forbidden"
    """403: the user or key lacks the right."""
    MISSING = "missing"
    """404 or 405: unknown path, feature not licensed, legacy API switched off."""
    INVALID = "invalid"
    """400 and its like: the server does not understand what was asked."""
    FAILED = "failed"
    """500: the server tried and could not."""


_CONNECTOR: Mapping[Kind, type[ConnectorError]] = {
    Kind.UNREACHED: ConnectorUnavailableError,
    Kind.UNANSWERED: ConnectorUnavailableError,
    Kind.NONSENSE: ConnectorUnavailableError,
    Kind.BUSY: ConnectorUnavailableError,
    Kind.UNAUTHORIZED: ConnectorAuthError,
    Kind.FORBIDDEN: ConnectorAuthError,
    Kind.MISSING: ConnectorUnsupportedError,
    Kind.INVALID: ConnectorUnsupportedError,
    Kind.FAILED: ConnectorUnavailableError,
}
_NOT_DONE = frozenset({Kind.UNREACHED, Kind.BUSY})
_REJECTED = frozenset({Kind.UNAUTHORIZED, Kind.FORBIDDEN, Kind.MISSING, Kind.INVALID})


@dataclass(frozen=True, slots=True)
class Failure:
    """A request without a usable answer. `message` says what was asked and what came; never a secret."""

    kind: Kind
    message: str
    status: int | None = None
    code: int | None = None
    retry_after: timedelta | None = None
    cause: Exception | None = None

    def of_source(self) -> ConnectorError:
        """Return the error for whoever listens or asks."""
        error = _CONNECTOR[self.kind](self.message)
        error.__cause__ = self.cause
        return error

    def of_order(self) -> ActionError:
        """Return the error for whoever wanted something done."""
        error: ActionError
        if self.kind in _NOT_DONE:
            error = ActionUnavailableError(self.message, self.retry_after)
        elif self.kind in _REJECTED:
            error = ActionRejectedError(self.message, self.kind.value)
        else:
            error = ActionUnknownError(self.message)
        error.__cause__ = self.cause
        return error


# --- result codes of device control, TS-API guide 0.9.20, "Device control" -----------------------------


_REJECTIONS: Mapping[int, tuple[str, str]] = {
    -1: ("forbidden", "the user lacks the right Control"),
    -2: ("unsupported", "the device does not support it"),
    -5: ("invalid_channel", "there is no such channel"),
    -6: ("invalid_token", "the device knows no such token"),
    -7: ("invalid_request", "the server does not know this request"),
    -8: ("invalid_parameters", "the server does not accept these parameters"),
}
_LATER: Mapping[int, tuple[str, timedelta]] = {
    -3: ("the device is not ready", timedelta(seconds=2)),
    -4: ("the device is busy with the previous command", timedelta(seconds=1)),
}
_DEVICE_ERROR = -9
INVALID_TOKEN, INVALID_REQUEST = "invalid_token", "invalid_request"


class DeviceFailedError(ActionUnknownError):
    """The device answered with an error, -9: it was told, and nobody knows what it did."""


def of_code(code: int, message: str, what: str) -> ActionError:
    """Return the error for a result code other than 0; only -3 and -4 are worth another try.

    The guide says of the codes down to -8 that the server or the device would not begin. Of -9, and of a code
    that it does not name, nobody knows whether something was switched.
    """
    if code in _LATER:
        words, wait = _LATER[code]
        return ActionUnavailableError(f"{what}: {words} (code {code}{_said(message)})", wait)
    if code in _REJECTIONS:
        reason, words = _REJECTIONS[code]
        return ActionRejectedError(f"{what}: {words} (code {code}{_said(message)})", reason)
    if code == _DEVICE_ERROR:
        return DeviceFailedError(f"{what}: the device answered with an error (code {code}{_said(message)})")
    return ActionUnknownError(f"{what}: an answer that nobody knows (code {code}{_said(message)})")


def _said(message: str) -> str:
    return f", {message[:200]!r}" if message else ""
